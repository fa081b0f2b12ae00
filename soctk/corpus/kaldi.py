"""Functions that write a corpus for Kaldi's own scripts."""

from pathlib import Path

from soctk.corpus.content import TABLES, DataDir
from soctk.corpus.kaldi_files import write_lines, write_table
from soctk.errors import SoctkError


def write(path: Path, data: DataDir) -> None:
    """Write a data directory for Kaldi's own scripts: with spk2utt, but without spk2fold and emotions.

    Raises:
        SoctkError: the sorted utterances are not in the order of their speakers, as Kaldi's scripts require.
    """
    if sorted(data.speaker) != sorted(data.speaker, key=lambda utt: (data.speaker[utt], utt)):
        raise SoctkError(
            "the sorted utterances are not in the order of their speakers, as Kaldi requires",
            remedy="Begin each utterance id with its speaker and '-', as soctk-import does.",
            where=path,
        )
    for name, table in TABLES.items():
        values = getattr(data, table.attribute)
        if name != "spk2fold" and values:
            write_table(path / name, values)
        elif name == "segments":
            (path / name).unlink(missing_ok=True)
    utterances: dict[str, list[str]] = {}
    for utt in sorted(data.speaker):
        utterances.setdefault(data.speaker[utt], []).append(utt)
    write_lines(path / "spk2utt", [" ".join([speaker, *utts]) for speaker, utts in utterances.items()])
