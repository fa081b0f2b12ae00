"""Checks of a corpus before extraction: faults that would change a result, and oddities."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from soctk.corpus import audio, datadir, quick_checks, recordings
from soctk.corpus.audio import AudioInfo, Fault, UnusableRecording
from soctk.corpus.datadir import DataDir
from soctk.corpus.quick_checks import Finding
from soctk.errors import SoctkError, plural

UPSTREAM_RATE = 16000  # Hz, the input of the upstreams; recordings with a lower rate lack the upper frequencies
CLIPPED_SHARE = 1e-3  # a recording counts as clipped if at least this share of its samples is clipped


@dataclass(frozen=True)
class Diagnosis:
    """The result of `check`.

    Attributes:
        summary: the corpus in one line.
        findings: a Finding for each check.
        data: the corpus; None for a folder that is no data directory.
        usable: the properties of the recordings that can be used, with their conditions.
    """

    summary: str
    findings: list[Finding]
    data: DataDir | None
    usable: Mapping[str, AudioInfo]


def check(path: Path) -> Diagnosis:
    """Decode every recording of a data directory, or of any other folder, and look for faults.

    Raises:
        SoctkError: the data directory is invalid, or the folder has no recordings.
    """
    data = datadir.read(path) if (path / "wav.scp").is_file() else None
    clips, channel = (data.clips, data.channel) if data else (_find_recordings(path), "1")
    results = audio.inspect(clips, channel, has_conditions=data is not None)
    unusable = {utt: result for utt, result in results.items() if isinstance(result, UnusableRecording)}
    usable = {utt: result for utt, result in results.items() if isinstance(result, AudioInfo)}
    findings = _list_unusable(unusable) + _list_oddities(usable)
    if data:
        findings += quick_checks.check_channels(usable, data.channel) + quick_checks.check_durations(data.seconds)
        findings.append(quick_checks.check_headers(usable))
        findings += quick_checks.check_copies(data, usable) + quick_checks.check_labels(data)
        return Diagnosis(datadir.summary(data), findings, data, usable)
    seconds = {utt: info.seconds for utt, info in usable.items()}
    findings += quick_checks.check_channels(usable) + quick_checks.check_durations(seconds)
    findings.append(quick_checks.check_headers(usable))
    repeated = [" = ".join(group) for group in quick_checks.find_copies(usable)]
    summary = f"{plural(len(results), 'recording')}, {sum(seconds.values()) / 3600:.2f} h"
    findings.append(Finding("the same recording more than once", repeated, True))
    return Diagnosis(summary, findings, None, usable)


def _find_recordings(path: Path) -> dict[str, Path]:
    files = [file for file in recordings.list_files(path) if file.suffix.lower() in audio.SUFFIXES]
    if not files:
        raise SoctkError(
            "no recordings in this folder", remedy="Give a data directory or a folder of recordings.", where=path
        )
    return {str(file.relative_to(path)): file for file in files}


def _list_unusable(unusable: Mapping[str, UnusableRecording]) -> list[Finding]:
    by_fault: dict[Fault, dict[str, UnusableRecording]] = {fault: {} for fault in Fault}
    for utt, error in unusable.items():
        by_fault[error.fault][utt] = error
    return [
        Finding(
            fault.value, [f"{utt}: {error}" for utt, error in errors.items()], True, audio.remedies(errors.values())
        )
        for fault, errors in by_fault.items()
    ]


def _list_oddities(usable: Mapping[str, AudioInfo]) -> list[Finding]:
    rates = Counter(info.sample_rate for info in usable.values())
    usual = max(rates, key=rates.__getitem__, default=UPSTREAM_RATE)
    odd_rate = {utt: info for utt, info in usable.items() if info.sample_rate != usual or usual < UPSTREAM_RATE}
    clipped = {utt: info.clipped for utt, info in usable.items() if info.clipped >= CLIPPED_SHARE}
    return [
        Finding("clipped", [f"{utt}: {100 * share:.1f}% of its samples" for utt, share in clipped.items()], False),
        Finding(
            f"sample rate below {UPSTREAM_RATE} Hz, or not the most frequent one ({usual} Hz)",
            [f"{utt}: {info.sample_rate} Hz" for utt, info in odd_rate.items()],
            False,
        ),
    ]
