"""Functions that write a corpus for Kaldi's own scripts."""

from pathlib import Path

from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.corpus.kaldi_files import write_lines
from soctk.errors import SoctkError


def write(path: Path, data: DataDir) -> None:
    """Write a data directory with spk2utt, for Kaldi's own scripts; they ignore the files that are soctk's own.

    Raises:
        SoctkError: the sorted utterances are not in the order of their speakers, as Kaldi's scripts require; or
            soctk.corpus.datadir.write raises it.
    """
    if sorted(data.speaker) != sorted(data.speaker, key=lambda utt: (data.speaker[utt], utt)):
        raise SoctkError(
            "the sorted utterances are not in the order of their speakers, as Kaldi requires",
            remedy="Begin each utterance id with its speaker and '-', as soctk-import does.",
            where=path,
        )
    datadir.write(path, data)
    utterances: dict[str, list[str]] = {}
    for utt in sorted(data.speaker):
        utterances.setdefault(data.speaker[utt], []).append(utt)
    write_lines(path / "spk2utt", [" ".join([speaker, *utts]) for speaker, utts in utterances.items()])
