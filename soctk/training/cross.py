"""Across corpora: train on one, test on another, and the matrix of UA over all pairs."""

import csv
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd
import yaml
from sklearn.metrics import recall_score
from tabulate import tabulate

from soctk import provenance
from soctk.config import Config
from soctk.corpus.datadir import DataDir
from soctk.corpus.labels import in_order
from soctk.corpus.splits import DESCRIPTIONS
from soctk.errors import SoctkError, listing
from soctk.features.joined import JoinedStore
from soctk.features.store import FeatureStore
from soctk.files import atomic
from soctk.mappings import differences
from soctk.reporting.tables import RECENTRED, RECENTRING
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features


@dataclass(frozen=True)
class Corpus:
    """A corpus, its features, and what of it was left out.

    Attributes:
        name: what it is called in the matrix.
        data: its utterances.
        store: their features.
        dropped: class -> how many utterances of it were left out.
    """

    name: str
    data: DataDir
    store: FeatureStore
    dropped: Mapping[str, int]


def with_common_classes(corpora: Sequence[Corpus], labels: Sequence[Mapping[str, str | None]]) -> list[Corpus]:
    """Return the corpora with classes for labels, and with those classes alone that all of them have.

    Args:
        corpora: with their own labels.
        labels: of each, what its labels are called across corpora; a label that is not there is dropped, unless it is
            called so already.

    Raises:
        SoctkError: fewer than two classes are common to all, or two corpora have the same name, or features that were
            made differently.
    """
    _check_are_of_one_kind(corpora)
    classes = [_classes(corpus.data, labels_of) for corpus, labels_of in zip(corpora, labels, strict=True)]
    common = in_order(set.intersection(*(set(class_of.values()) for class_of in classes)) - {None}, {})
    if len(common) < 2:
        raise SoctkError(
            f"the corpora have {len(common)} classes in common: {', '.join(common) or 'none'}",
            remedy="Give label maps that call the same emotions the same.",
            where="--corpus",
        )
    return [_restricted(corpus, class_of, common) for corpus, class_of in zip(corpora, classes, strict=True)]


def pair(train: Corpus, test: Corpus) -> tuple[DataDir, JoinedStore]:
    """Return two corpora as one of two folds, for the protocol cross-corpus: fold 1 is `test`, fold 2 is `train`."""
    columns = {
        column: {
            f"{corpus.name}:{key}": f"{corpus.name}:{value}" if column == "speaker" else value
            for corpus in sorted((train, test), key=lambda corpus: corpus.name)
            for key, value in getattr(corpus.data, column).items()
        }
        for column in ("wav", "speaker", "emotion", "seconds", "gender")
    }
    fold = {f"{corpus.name}:{speaker}": k for k, corpus in ((1, test), (2, train)) for speaker in corpus.data.fold}
    data = DataDir(**columns, fold=fold, emotions=train.data.emotions)
    return data, JoinedStore({corpus.name: corpus.store for corpus in (train, test)})


def run(
    train: Corpus, test: Corpus, config: Config, exp: Path, seeds: Sequence[int], nj: int = 1, device: str = "cpu"
) -> Path:
    """Train on one corpus, test on another, and return the experiment's directory; a corpus with itself, fold by fold.

    Runs that are already there are not repeated.
    """
    if train.name == test.name:
        path, folds = exp / train.name, train.data.folds
        data, store = train.data, train.store
        config = config.model_copy(update={"protocol": "soctk"})
    else:
        path, folds = exp / f"{train.name}-to-{test.name}", [1]
        data, store = pair(train, test)
        config = config.model_copy(update={"protocol": "cross-corpus"})
    features = Features(store, data.utterances, device)
    Experiment(config, data, features, path, device).run(folds, seeds, nj)
    return path


def mean_ua(experiment: Path, seeds: Iterable[int]) -> float:
    """Return the mean, over the folds and these seeds of an experiment, of UA: the mean of the class recalls, in %."""
    values = []
    for seed in seeds:
        for path in experiment.glob(f"fold*/seed{seed}/predictions.tsv"):
            as_written = {"sep": "\t", "dtype": str, "keep_default_na": False, "quoting": csv.QUOTE_NONE}
            table = pd.read_csv(path, usecols=["ref", "hyp"], **as_written)
            classes = sorted(table["ref"].unique())
            recall = recall_score(table["ref"], table["hyp"], labels=classes, average="macro", zero_division=0)
            values.append(100 * recall)
    return statistics.mean(values)


def write_report(
    path: Path, corpora: Sequence[Corpus], matrix: Mapping[tuple[str, str], float], config: Config, seeds: Sequence[int]
) -> str:
    """Write the matrix of UA, given as (train, test) -> %, as a Markdown file; return its text."""
    trained, tested = (list(dict.fromkeys(names)) for names in zip(*matrix, strict=True))
    is_recentred = config.recentre.by != "none"
    mark = f" {RECENTRED}" if is_recentred else ""
    rows = [
        [train, *(f"{matrix[train, test]:.2f}{mark}" if (train, test) in matrix else "" for test in tested)]
        for train in trained
    ]
    alignment = ["left", *["right"] * len(tested)]
    classes = corpora[0].data.emotions
    versions = {**provenance.versions("soctk", "torch"), "commit": provenance.commit()}
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# Across corpora",
        "",
        f"Written by `soctk-cross` on {date.today()}. UA, the mean of the class recalls, in %; chance is "
        f"{100 / len(classes):.2f}. A row is what was trained on, a column what was tested.",
        "",
        f"- Classes: {', '.join(classes)}.",
        *(f"- {corpus.name}: {describe(corpus)}." for corpus in corpora),
        f"- Another corpus: protocol cross-corpus: {DESCRIPTIONS['cross-corpus']}. The value is the mean over seeds.",
        f"- The same corpus: protocol soctk: {DESCRIPTIONS['soctk']}. The value is the mean over folds and seeds.",
        *([f"- {RECENTRING}"] if is_recentred else []),
        f"- Pooling {'+'.join(config.pooling)}, head {config.head.name}, seeds {', '.join(map(str, seeds))}.",
        f"- Features: {corpora[0].store.settings['upstream']}. Written with {made_with}.",
        "",
        tabulate(rows, ["trained on", *tested], "github", colalign=alignment, disable_numparse=True),
        "",
        "All settings, but the protocol:",
        "",
        "```yaml",
        yaml.safe_dump(config.model_dump(exclude={"protocol"}), sort_keys=False).rstrip(),
        "```",
    ]
    text = "\n".join(lines) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def describe(corpus: Corpus) -> str:
    """Return in a line how many utterances there are, and of which classes how many were dropped."""
    dropped = ", ".join(f"{label} {count}" for label, count in corpus.dropped.items())
    return f"{len(corpus.data.wav)} utterances, dropped: {dropped or 'none'}"


def _check_are_of_one_kind(corpora: Sequence[Corpus]) -> None:
    for name, count in Counter(corpus.name for corpus in corpora).items():
        if count > 1:
            raise SoctkError(f"{count} corpora are called {name}", remedy="Rename a data directory.", where="--corpus")
        if ":" in name:  # what joined corpora have between the name and an utterance
            raise SoctkError(f"{name}: no name with a colon", remedy="Rename the data directory.", where="--corpus")
    first, *others = corpora
    for other in others:
        settings = [
            {key: value for key, value in corpus.store.settings.items() if key != "versions"}
            for corpus in (first, other)
        ]
        lines = differences(*settings)
        if lines:
            raise SoctkError(
                f"the features were made with other settings than those of {first.name}\n{listing(lines)}",
                remedy="Extract both with the same upstream, layer and dtype.",
                where=other.store.path,
            )


def _classes(data: DataDir, labels: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what each label of a corpus is called across corpora; one that is called so already stays."""
    return {label: labels.get(label, label if label in labels.values() else None) for label in data.emotions}


def _restricted(corpus: Corpus, class_of: Mapping[str, str | None], classes: tuple[str, ...]) -> Corpus:
    """Return the corpus with classes for labels, without utterances of others, and speakers without any."""
    data = corpus.data
    kept = {utt for utt, label in data.emotion.items() if class_of[label] in classes}
    columns = {
        column: {utt: value for utt, value in getattr(data, column).items() if utt in kept}
        for column in ("wav", "speaker", "seconds")
    }
    speakers = set(columns["speaker"].values())
    fold = {speaker: k for speaker, k in data.fold.items() if speaker in speakers}
    number = {k: i for i, k in enumerate(sorted(set(fold.values())), start=1)}
    restricted = replace(
        data,
        **columns,
        emotion={utt: class_of[label] for utt, label in data.emotion.items() if utt in kept},
        gender={speaker: sex for speaker, sex in data.gender.items() if speaker in speakers},
        fold={speaker: number[k] for speaker, k in fold.items()},
        emotions=classes,
        extra={name: {utt: values[utt] for utt in kept} for name, values in data.extra.items()},
        path=None,  # what lies there is the whole corpus, under its own labels
    )
    counts = Counter(data.emotion.values())
    dropped = {label: counts[label] for label in data.emotions if class_of[label] not in classes}
    return replace(corpus, data=restricted, dropped=dropped)
