"""Across corpora: train on one corpus, test on another."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.labels import in_order
from soctk.errors import SoctkError, listing, plural
from soctk.features import settings as store_json
from soctk.features.interface import Store
from soctk.features.joined import JoinedStore
from soctk.features.store import FeatureStore
from soctk.mappings import differences
from soctk.parallel import Executor
from soctk.schema import Config
from soctk.scoring import predictions
from soctk.scoring.metrics import accuracies
from soctk.scoring.runs import RunDirectory
from soctk.training import distributed_runs
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

Value = TypeVar("Value")


@dataclass(frozen=True)
class Corpus:
    """A corpus and its features.

    Attributes:
        name: the name in the matrix.
        data: the utterances.
        store: the features of the utterances.
        dropped: dropped label -> the number of its utterances.
    """

    name: str
    data: DataDir
    store: FeatureStore
    dropped: Mapping[str, int]

    @property
    def summary(self) -> str:
        """The numbers of kept and dropped utterances, in one line."""
        dropped = ", ".join(f"{label} {count}" for label, count in self.dropped.items())
        return f"{plural(len(self.data.utterances), 'utterance')}, dropped: {dropped or 'none'}"


def with_common_classes(corpora: Sequence[Corpus], labels: Sequence[Mapping[str, str | None]]) -> list[Corpus]:
    """Rename the labels of corpora to classes, and keep the utterances of the classes that all corpora have.

    Args:
        corpora: corpora with their own labels.
        labels: the label map of each corpus, label -> class, or None to drop the label. A label that is not in the map
            is dropped too, unless it is the name of a class in the map.

    Raises:
        SoctkError: the corpora have fewer than two classes in common, or equal names, or features with different
            settings, or share recordings.
    """
    _check_names(corpora)
    _check_features(corpora)
    classes = [_classes(corpus.data, labels_of) for corpus, labels_of in zip(corpora, labels, strict=True)]
    shared = set.intersection(*({name for name in class_of.values() if name is not None} for class_of in classes))
    common = in_order(shared, {})
    if len(common) < 2:
        raise SoctkError(
            f"the corpora have {plural(len(common), 'class', 'classes')} in common: {', '.join(common) or 'none'}",
            remedy="Map each emotion to the same class in all label maps.",
            where="--corpus",
        )
    restricted = [_restricted(corpus, class_of, common) for corpus, class_of in zip(corpora, classes, strict=True)]
    _check_recordings(restricted)
    return restricted


def pair(train: Corpus, test: Corpus) -> tuple[DataDir, JoinedStore]:
    """Join two corpora into one with two folds for the protocol cross-corpus: fold 1 is `test`, fold 2 is `train`."""
    corpora = sorted((train, test), key=lambda corpus: corpus.name)
    fold_of = {test.name: 1, train.name: 2}
    data = DataDir(
        wav={f"{c.name}:{utt}": clip.path for c in corpora for utt, clip in c.data.clips.items()},
        speaker={f"{c.name}:{utt}": f"{c.name}:{spk}" for c in corpora for utt, spk in c.data.speaker.items()},
        emotion=_joined(corpora, lambda data: data.emotion),
        seconds=_joined(corpora, lambda data: data.seconds),
        gender=_joined(corpora, lambda data: data.gender),
        fold={f"{c.name}:{speaker}": fold_of[c.name] for c in corpora for speaker in c.data.speaker.values()},
        emotions=train.data.emotions,
        duplicates=frozenset(
            frozenset(f"{c.name}:{utt}" for utt in group) for c in corpora for group in c.data.duplicates
        ),
    )
    return data, JoinedStore({corpus.name: corpus.store for corpus in (train, test)})


def check(train: Corpus, test: Corpus, config: Config, exp: Path, seeds: Sequence[int]) -> None:
    """Check what `run` needs, without training.

    Raises:
        SoctkError: Experiment.check raises it; the message names the two corpora.
    """
    experiment, folds = _experiment(train, test, config, exp)
    try:
        experiment.check(folds, seeds)
    except SoctkError as error:
        raise SoctkError(
            f"trained on {train.name}, tested on {test.name}: {error.what}",
            remedy=f"{error.remedy} To train and test other pairs only, use --train and --test.",
            where=error.where,
        ) from error


def run(
    train: Corpus, test: Corpus, config: Config, exp: Path, seeds: Sequence[int], nj: int = 1, device: str = "cpu"
) -> float:
    """Train on one corpus and test on another, or on one corpus fold by fold if both are the same; return the UA.

    The experiment is `exp`/TRAIN-to-TEST, or `exp`/NAME for a corpus with itself. Finished runs are not repeated.

    Returns:
        The mean over folds and seeds of UA, the mean of the class recalls, in %.

    Raises:
        SoctkError: Experiment.run raises it; or the predictions are incomplete or inconsistent; or a training speaker
            is tested.
    """
    experiment, folds = _experiment(train, test, config, exp, device)
    experiment.run(folds, seeds, nj)
    return _mean_ua([RunDirectory(experiment.path, fold, seed) for fold in folds for seed in seeds], experiment.data)


def run_on(
    executor: Executor,
    pairs: Sequence[tuple[Corpus, Corpus]],
    config: Config,
    exp: Path,
    seeds: Sequence[int],
    device: str,
    max_bytes: float,
) -> None:
    """Train and test all pairs (`run`) as jobs of an executor; `run` then finds their finished runs.

    Args:
        executor: runs the jobs.
        pairs: pairs of a training corpus and a test corpus.
        config: the settings.
        exp: the directory of the experiments.
        seeds: the seeds.
        device: `cpu` or `cuda`.
        max_bytes: the bytes of frames to hold in the memory of each worker (Features).

    Raises:
        SoctkError: Experiment.run raises it.
    """
    experiments = [_experiment(train, test, config, exp, device) for train, test in pairs]
    for experiment, _ in experiments:
        experiment.features.max_bytes = max_bytes
    distributed_runs.run(executor, experiments, seeds)


def _experiment(
    train: Corpus, test: Corpus, config: Config, exp: Path, device: str = "cpu"
) -> tuple[Experiment, list[int]]:
    """Return the experiment of a pair, and its folds."""
    data: DataDir
    store: Store
    if train.name == test.name:
        path, folds = exp / train.name, train.data.folds
        data, store = train.data, train.store
        config = config.model_copy(update={"protocol": splits.protocol_of(data, "soctk")})
    else:
        path, folds = exp / f"{train.name}-to-{test.name}", [1]
        data, store = pair(train, test)
        config = config.model_copy(update={"protocol": "cross-corpus"})
    return Experiment(config, data, Features(store, data.utterances, device), path, device), folds


def _mean_ua(runs: Sequence[RunDirectory], data: DataDir) -> float:
    checked = predictions.read(runs)
    predictions.check_against(checked, data)
    by_run = checked.table.groupby(["fold", "seed"])
    return statistics.mean(accuracies(rows["ref"].to_numpy(), rows["hyp"].to_numpy())["UA"] for _, rows in by_run)


def _check_names(corpora: Sequence[Corpus]) -> None:
    for name, count in Counter(corpus.name for corpus in corpora).items():
        if count > 1:
            raise SoctkError(
                f"{count} corpora have the name {name}", remedy="Rename a data directory.", where="--corpus"
            )
        if ":" in name:  # JoinedStore joins corpus and utterance with a colon
            raise SoctkError(f"the name {name} contains a colon", remedy="Rename the data directory.", where="--corpus")


def _check_features(corpora: Sequence[Corpus]) -> None:
    first, *others = corpora
    for other in others:
        one, two = (store_json.compared(corpus.store.settings) for corpus in (first, other))
        lines = differences(one, two, names=(f"in {first.name}", f"in {other.name}"))
        if lines:
            raise SoctkError(
                f"the features of {first.name} and {other.name} have different settings\n{listing(lines)}",
                remedy="Extract both with the same upstream, layers and dtype.",
                where=other.store.path,
            )


def _check_recordings(corpora: Sequence[Corpus]) -> None:
    """Check that no two corpora share a recording: a model would be tested on recordings that it was trained on."""
    digests = {corpus.name: corpus.store.recordings for corpus in corpora}
    first: dict[str, tuple[str, str]] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for corpus in corpora:
        for utt in corpus.data.utterances:
            digest = digests[corpus.name].get(utt)
            if digest is None:  # without features; training lists such utterances
                continue
            name, other = first.setdefault(digest, (corpus.name, utt))
            if name != corpus.name:
                shared.setdefault((name, corpus.name), []).append(f"{other} of {name} = {utt} of {corpus.name}")
    if shared:
        lines = [line for pairs in shared.values() for line in pairs]
        counts = "; ".join(f"{one} and {two} share {len(pairs)}" for (one, two), pairs in shared.items())
        raise SoctkError(
            f"the corpora share recordings: {counts}\n{listing(lines)}",
            remedy="Leave out one of these corpora, or remove the shared recordings from one of them.",
            where="--corpus",
        )


def _classes(data: DataDir, labels: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return label -> class for all labels of a corpus; None for a label to drop."""
    return {label: labels.get(label, label if label in labels.values() else None) for label in data.emotions}


def _joined(corpora: Sequence[Corpus], column: Callable[[DataDir], Mapping[str, Value]]) -> dict[str, Value]:
    """Return a column of all corpora; its keys get the name of their corpus as a prefix."""
    return {f"{corpus.name}:{key}": value for corpus in corpora for key, value in column(corpus.data).items()}


def _restricted(corpus: Corpus, class_of: Mapping[str, str | None], classes: tuple[str, ...]) -> Corpus:
    """Return the corpus with labels renamed to classes, without utterances of other labels and empty speakers."""
    data = corpus.data
    kept = {label: name for label, name in class_of.items() if name is not None and name in classes}
    emotion = {utt: kept[label] for utt, label in data.emotion.items() if label in kept}
    data = data.only(emotion)
    folds = data.folds
    restricted = replace(
        data,
        emotion=emotion,
        fold={name: 1 + folds.index(fold) for name, fold in data.fold.items()},
        utterance_fold={utt: 1 + folds.index(fold) for utt, fold in data.utterance_fold.items()},
        emotions=classes,
        path=None,  # the data directory at this path has all utterances with their original labels
    )
    counts = Counter(corpus.data.emotion.values())
    dropped = {label: counts[label] for label in corpus.data.emotions if label not in kept}
    return replace(corpus, data=restricted, dropped=dropped)
