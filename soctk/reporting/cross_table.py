"""CROSS.md: the matrix of UA over pairs of corpora."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import yaml

from soctk import provenance
from soctk.corpus import independence
from soctk.corpus.splits import DESCRIPTIONS, protocol_of
from soctk.files import atomic
from soctk.reporting.text import markdown, table
from soctk.reporting.wording import OVERLAPPING, RECENTRED, RECENTRING, describe_missing
from soctk.schema import Config, Protocol
from soctk.training.cross import Corpus


def write(
    path: Path, corpora: Sequence[Corpus], matrix: Mapping[tuple[str, str], float], config: Config, seeds: Sequence[int]
) -> str:
    """Write the matrix as a Markdown file, and return its text.

    Args:
        path: the file.
        corpora: the corpora, with their common classes.
        matrix: (training corpus, test corpus) -> UA in %.
        config: the settings of all experiments, except the protocol, which follows from the pair of corpora.
        seeds: the seeds over which UA was averaged.
    """
    text = as_markdown(corpora, matrix, config, seeds)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return text


def as_markdown(
    corpora: Sequence[Corpus], matrix: Mapping[tuple[str, str], float], config: Config, seeds: Sequence[int]
) -> str:
    """Return the text of CROSS.md."""
    is_recentred = config.recentre.by != "none"
    found = {corpus.name: independence.find_overlaps(corpus.data) for corpus in corpora}
    overlaps = {name: dict.fromkeys(reasons.values()) for name, reasons in found.items() if reasons}
    classes = corpora[0].data.emotions
    versions = {**provenance.versions("soctk", "torch"), "commit": provenance.commit()}
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# Across corpora",
        "",
        f"Written by `soctk-cross` on {date.today()}. UA is the mean of the class recalls, in %; chance is "
        f"{100 / len(classes):.2f}. Rows are training corpora, columns test corpora.",
        "",
        f"- Classes: {markdown(', '.join(classes))}.",
        *(f"- {markdown(f'{corpus.name}: {corpus.summary}.')}" for corpus in corpora),
        f"- Different corpora: protocol cross-corpus: {DESCRIPTIONS['cross-corpus']}. UA is the mean over seeds.",
        *_own_protocols(corpora),
        *(f"- {markdown(f'{corpus.name}: {sentence}')}" for corpus in corpora for sentence in _missing_classes(corpus)),
        *([f"- {RECENTRING}"] if is_recentred else []),
        *(
            f"- {markdown(f'{OVERLAPPING} {name}, trained and tested on itself: {reason}.')}"
            for name, reasons in overlaps.items()
            for reason in reasons
        ),
        f"- Pooling {'+'.join(config.pooling)}, head {config.head.name}, seeds {', '.join(map(str, seeds))}.",
        f"- Features: {corpora[0].store.settings['upstream']}. Trained with {made_with}.",
        "",
        _table(matrix, RECENTRED if is_recentred else "", overlaps.keys()),
        "",
        "All settings except the protocol:",
        "",
        "```yaml",
        yaml.safe_dump(config.model_dump(exclude={"protocol"}), sort_keys=False).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _own_protocols(corpora: Sequence[Corpus]) -> Iterator[str]:
    """Yield a line for each protocol that corpora are trained and tested with on themselves."""
    names: dict[Protocol, list[str]] = {}
    for corpus in corpora:
        names.setdefault(protocol_of(corpus.data, "soctk"), []).append(corpus.name)
    for protocol, its_names in names.items():
        which = f" ({markdown(', '.join(its_names))})" if len(names) > 1 else ""
        over = "all tests together and seeds" if protocol == "partition" else "folds and seeds"
        yield f"- The same corpus{which}: protocol {protocol}: {DESCRIPTIONS[protocol]}. UA is the mean over {over}."


def _missing_classes(corpus: Corpus) -> Iterator[str]:
    """Yield sentences about the folds of a corpus that lack classes."""
    data, missing = corpus.data, {}
    for fold in data.folds:
        tested = {data.emotion[utt] for utt in data.utterances_of([fold])}
        missing[fold] = [emotion for emotion in data.emotions if emotion not in tested]
    lacking = {fold: emotions for fold, emotions in missing.items() if emotions}
    yield from describe_missing(data.emotions, data.folds, lacking)


def _table(matrix: Mapping[tuple[str, str], float], mark: str, overlapping: Collection[str]) -> str:
    """Return the matrix with `mark` after each value; the cell of a pair that was not trained is empty.

    The values of corpora whose test speakers may be in their own training data have a second mark.
    """

    def marked(train: str, test: str) -> str:
        marks = mark + (OVERLAPPING if train == test and train in overlapping else "")
        return f"{matrix[train, test]:.2f} {marks}".rstrip()

    trained, tested = (list(dict.fromkeys(names)) for names in zip(*matrix, strict=True))
    rows = [[train, *(marked(train, test) if (train, test) in matrix else "" for test in tested)] for train in trained]
    return table(rows, ["trained on", *tested], "github")
