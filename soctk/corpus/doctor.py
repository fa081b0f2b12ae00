"""The data doctor: what in a corpus would change a result, or is worth a look, before anything is extracted."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import soundfile

from soctk.corpus import audio, datadir, recordings
from soctk.corpus.audio import AudioInfo
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError

UPSTREAM_RATE = 16000  # Hz: what the upstreams want; of less, the upper part of their band is empty
CLIPPED_SHARE = 1e-3  # of the samples: from here on a recording counts as clipped
# How the complaints of soctk.corpus.audio begin -> what they are called here.
_UNUSABLE = {
    "no such file": "missing",
    "not a file": "missing",
    "cannot be decoded": "unreadable",
    "cut short": "cut short",
    "empty": "empty",
    "too short": f"shorter than {1000 * audio.MIN_SECONDS:g} ms, what upstreams need",
    "NaN": "NaN or infinite samples",
}


@dataclass(frozen=True)
class Finding:
    """What was looked for, and found.

    Attributes:
        what: what was looked for.
        cases: those found, each as a line.
        changes_results: whether it stops the extraction or moves a score, rather than is worth a look.
    """

    what: str
    cases: list[str]
    changes_results: bool


def check(path: Path) -> tuple[str, list[Finding]]:
    """Open every recording of a data directory, or below another directory; return a summary, and what was looked for.

    Raises:
        SoctkError: an invalid data directory, or a directory without recordings.
    """
    data = datadir.read(path) if (path / "wav.scp").is_file() else None
    results = audio.inspect(data.wav if data else _recordings_below(path))
    usable = {utt: info for utt, info in results.items() if isinstance(info, AudioInfo)}
    findings = _unusable(results) + _oddities(usable)
    if data:
        return datadir.summary(data), findings + _repeated_in(data, usable) + _unlearnable(data)
    hours = sum(info.seconds for info in usable.values()) / 3600
    repeated = [" = ".join(group) for group in _same_content(usable)]
    summary = f"{len(results)} recordings, {hours:.2f} h"
    return summary, [*findings, Finding("the same recording more than once", repeated, True)]


def _recordings_below(path: Path) -> dict[str, Path]:
    suffixes = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".opus", ".sph"}
    files = [file for file in recordings.below(path) if file.suffix.lower() in suffixes - {".raw"}]
    if not files:
        raise SoctkError("no recordings in it", remedy="Give a data directory or a folder of recordings.", where=path)
    return {str(file.relative_to(path)): file for file in files}


def _unusable(results: Mapping[str, AudioInfo | ValueError]) -> list[Finding]:
    cases: dict[str, list[str]] = {what: [] for what in _UNUSABLE.values()}
    for utt, problem in results.items():
        if isinstance(problem, ValueError):
            (what,) = [what for start, what in _UNUSABLE.items() if str(problem).startswith(start)]
            cases[what].append(f"{utt}: {problem}")
    return [Finding(what, lines, True) for what, lines in cases.items()]


def _oddities(usable: Mapping[str, AudioInfo]) -> list[Finding]:
    rates = Counter(info.sample_rate for info in usable.values())
    usual = max(rates, key=rates.__getitem__, default=UPSTREAM_RATE)
    odd = {utt: info for utt, info in usable.items() if info.sample_rate != usual or usual < UPSTREAM_RATE}
    clipped = {utt: info.clipped for utt, info in usable.items() if info.clipped >= CLIPPED_SHARE}
    several = {utt: info.channels for utt, info in usable.items() if info.channels > 1}
    return [
        Finding("digital silence", [utt for utt, info in usable.items() if info.is_silent], True),
        Finding("clipped", [f"{utt}: {100 * share:.1f}% of its samples" for utt, share in clipped.items()], False),
        Finding("several channels (the first is read)", [f"{utt}: {n}" for utt, n in several.items()], False),
        Finding(
            f"sample rate below {UPSTREAM_RATE} Hz or unlike most ({usual} Hz)",
            [f"{utt}: {info.sample_rate} Hz" for utt, info in odd.items()],
            False,
        ),
    ]


def _same_content(usable: Mapping[str, AudioInfo]) -> list[list[str]]:
    groups = defaultdict(list)
    for utt, info in usable.items():
        groups[info.digest].append(utt)
    return [group for group in groups.values() if len(group) > 1]


def _repeated_in(data: DataDir, usable: Mapping[str, AudioInfo]) -> list[Finding]:
    """Return the recordings that stand in a corpus more than once: across folds they leak, otherwise weigh double."""
    cases: dict[str, list[str]] = {"folds": [], "emotions": [], "nothing": []}
    for group in _same_content(usable):
        folds = {data.fold[data.speaker[utt]] for utt in group}
        emotions = {data.emotion[utt] for utt in group}
        differs = "folds" if len(folds) > 1 else "emotions" if len(emotions) > 1 else "nothing"
        cases[differs].append(" = ".join(f"{utt} ({data.emotion[utt]})" for utt in group))
    return [
        Finding("the same recording in several folds: a speaker shared between them", cases["folds"], True),
        Finding("the same recording under several emotions", cases["emotions"], True),
        Finding("the same recording twice, in one fold and emotion", cases["nothing"], True),
    ]


def _unlearnable(data: DataDir) -> list[Finding]:
    folds_with = defaultdict(set)
    for utt, emotion in data.emotion.items():
        folds_with[emotion].add(data.fold[data.speaker[utt]])
    without = [emotion for emotion in data.emotions if not folds_with[emotion]]
    in_one = [f"{emotion}: fold {min(folds)}" for emotion, folds in folds_with.items() if len(folds) == 1]
    return [
        Finding("an emotion without utterances", without, True),
        Finding("an emotion in one fold alone, which nothing else can teach", in_one, True),
    ]
