"""An experiment: folds x seeds of one configuration, each run left as a directory that is there whole or not at all."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import save
from tqdm import tqdm

from soctk import parallel, provenance
from soctk.config import OF_ONE_RUN, Config, LinearConfig
from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import Split
from soctk.errors import SoctkError, listing
from soctk.files import atomic_directory
from soctk.mappings import differences, read_yaml
from soctk.parallel import one_thread
from soctk.training import linear
from soctk.training.classifier import EmotionClassifier
from soctk.training.inputs import Descriptors, Features, Frames, StreamedFrames
from soctk.training.linear import Block
from soctk.training.loop import Inputs, predict, train
from soctk.training.recentre import Recentring

# An inner fit: the seed of what is drawn for it, and the utterances that it is fitted on.
_InnerFit = tuple[int, tuple[int, ...]]

# What logs a run as it goes on, and what then gives the log-posteriors of its test utterances.
_Running = tuple[Iterable[dict[str, Any]], Callable[[], torch.Tensor]]


@dataclass(frozen=True)
class _Given:
    """What all runs of an experiment start from.

    Attributes:
        blocks: descriptors; none where they are trained.
        frames: where descriptors are trained.
        inner: what `linear.posteriors` returns of each inner fit; of the head linear.
    """

    blocks: list[Block]
    frames: Frames | StreamedFrames | None
    inner: Mapping[_InnerFit, np.ndarray]


@dataclass(frozen=True)
class Experiment:
    """One configuration on one corpus; its runs, a fold with a seed each, are left as `path`/foldK/seedS directories.

    Attributes:
        config: everything but fold and seed.
        data: the corpus.
        features: of its utterances.
        path: the experiment's directory.
        device: `cpu` or `cuda`.
        tensorboard: whether runs leave a log for TensorBoard too.
    """

    config: Config
    data: DataDir
    features: Features
    path: Path
    device: str = "cpu"
    tensorboard: bool = False

    def run(self, folds: Sequence[int], seeds: Sequence[int], nj: int = 1) -> int:
        """Train and test each fold with each seed, and return how many of these runs were done now.

        A run that is already there is not repeated. One that is interrupted leaves
        `seedS.unfinished`, and is started afresh; so is the choice of C, which comes before all runs of the head
        linear.

        Args:
            folds: folds to test, from 1.
            seeds: of initialisation and order, and of the draws of `--protocol emobox` and `--enrol`.
            nj: how many runs go on at a time, each a process with one thread; the results do not depend on it.

        Raises:
            SoctkError: an unknown fold or pooling option, features missing from the store, finished runs with other
                settings, a loss that is no longer finite.
        """
        self.check(folds)
        pending = [(fold, seed) for fold in folds for seed in seeds if not self._directory(fold, seed).exists()]
        if not pending:
            return 0
        made_with = {**provenance.versions("soctk", "torch"), "commit": provenance.commit(), "device": self.device}
        run = replace(self, features=replace(self.features))  # without the descriptors kept: `given` has those needed
        given = self._given(nj)
        if isinstance(self.config.head, LinearConfig):
            given = replace(given, inner=run._fit_inner(pending, given, nj))
        jobs = [partial(run._run_one, fold, seed, made_with, given) for fold, seed in pending]
        lines = parallel.run(jobs, nj, self.device)
        for line in tqdm(lines, desc="train", total=len(pending), unit="run", disable=None):
            tqdm.write(line)
        return len(pending)

    def check(self, folds: Sequence[int]) -> None:
        """Raise what `run` would, as far as the settings and what is there already tell it."""
        model = self._model()
        if model.is_trained and self.config.recentre.by != "none":
            raise SoctkError(
                "descriptors that are still being trained cannot be re-centred",
                remedy="Choose poolings without trained parameters, and of several layers --combine concat.",
                where="--recentre",
            )
        if self.tensorboard:
            _summary_writer()
        for fold in folds:
            splits.split(self.data, fold, self.config.protocol, seed=0)
        for finished in sorted(self.path.glob("fold*/seed*/config.yaml")):
            if finished.parent.suffix == ".unfinished":
                continue
            there = {key: value for key, value in read_yaml(finished).items() if key not in OF_ONE_RUN}
            lines = differences(there, self._settings())
            if lines:
                raise SoctkError(
                    f"this run was made with other settings\n{listing(lines)}",
                    remedy="Give the new settings a name of their own (--tag), or remove the experiment.",
                    where=finished.parent,
                )

    def _directory(self, fold: int, seed: int) -> Path:
        return self.path / f"fold{fold}" / f"seed{seed}"

    def _settings(self) -> dict[str, Any]:
        """Return all that determines the results, as config.yaml records it beside fold and seed."""
        store = self.features.store
        features = {key: value for key, value in store.settings.items() if key != "versions"}
        return {
            "data": self.data.checksum(),
            "features": {**features, "recordings": store.checksum()},
            **self.config.model_dump(),
        }

    def _sources(self, directory: Path) -> dict[str, str]:
        """Return where corpus and features lie, relative to a run's directory: for reports, which look there."""
        sources = {"data": self.data.path, "features": self.features.store.path}
        return {name: os.path.relpath(path.resolve(), directory.resolve()) for name, path in sources.items() if path}

    def _model(self) -> EmotionClassifier:
        layers = self.features.layers(self.config)
        return EmotionClassifier(
            self.features.store.settings["hidden_size"], len(layers), len(self.data.emotions), self.config
        )

    def _given(self, nj: int) -> "_Given":
        """Return what all runs start from: descriptors, or the frames that they train on."""
        if not self._model().is_trained:
            return _Given(self.features.blocks(self.config, nj), None, {})
        frames = self.features.frames(self.config, self.features.layers(self.config))
        return _Given([], frames, {})

    def _fit_inner(self, pending: Sequence[tuple[int, int]], given: "_Given", nj: int) -> dict[_InnerFit, np.ndarray]:
        """Return the posteriors by every distinct inner fit.

        Under protocol soctk the fit without folds k and l serves both: k scores l by it, and l scores k. Seeds share
        fits too, unless they draw the utterances that speakers are re-centred by.
        """
        wanted = {}
        for fold, seed in pending:
            split = splits.split(self.data, fold, self.config.protocol, seed)
            wanted |= {self._inner_fit(fitted, seed): None for fitted, _ in self._inner_splits(split)}
        jobs = [partial(self._fit_one_inner, seed, fitted, given) for seed, fitted in wanted]
        return dict(tqdm(parallel.run(jobs, nj, self.device), "choose C", len(jobs), unit="fit", disable=None))

    def _fit_one_inner(self, seed: int, fitted: tuple[int, ...], given: "_Given") -> tuple[_InnerFit, np.ndarray]:
        rows, count = self._with_copies(fitted), len(self.data.emotions)
        found = linear.posteriors(given.blocks, self._labels, rows, self.config.head, count, self._recentring(seed))
        of_copies = found.reshape(len(found), -1, len(self.data.utterances), count)
        return (seed, fitted), of_copies.mean(1)

    def _inner_fit(self, fitted: Sequence[int], seed: int) -> _InnerFit:
        is_drawn = self.config.recentre.by != "none" and self.config.recentre.enrol != "all"
        return seed if is_drawn else 0, tuple(fitted)

    def _run_one(self, fold: int, seed: int, made_with: dict[str, str], given: "_Given") -> str:
        """Train and test one fold with one seed; return a line that says how it went."""
        torch.manual_seed(seed)
        model = self._model().to(self.device)
        split = splits.split(self.data, fold, self.config.protocol, seed)
        run = self._fit if isinstance(self.config.head, LinearConfig) else self._train
        # One thread a run, so that its numbers do not depend on how many runs go on.
        with one_thread(), atomic_directory(self._directory(fold, seed)) as directory:
            settings = {"fold": fold, "seed": seed, **self._settings(), "made_with": made_with}
            settings["made_from"] = self._sources(self._directory(fold, seed))
            (directory / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
            records, predict_test = run(model, given, split, seed)
            records = _log(records, directory, self.tensorboard)
            (directory / "model.safetensors").write_bytes(save(model.state_dict()))
            predictions = _predictions(self.data, split.test, predict_test())
            predictions.to_csv(directory / "predictions.tsv", sep="\t", index=False, quoting=csv.QUOTE_NONE)
        best = min(records, key=lambda record: record["valid_loss"])
        chosen = f"epoch {best['epoch']}" if "epoch" in best else f"C {best['C']:g}"
        return (
            f"fold {fold} seed {seed}: {chosen} of {len(records)}, with validation "
            f"WA {100 * best['valid_WA']:.1f} UA {100 * best['valid_UA']:.1f}"
        )

    def _train(self, model: EmotionClassifier, given: "_Given", split: Split, seed: int) -> "_Running":
        """Return what trains the model, and what then predicts the test utterances."""
        fitted = self._with_copies(self._indices(split.train))
        learner, inputs = (
            (model.head, self._descriptors(given, fitted, seed)) if given.blocks else (model, given.frames)
        )
        inputs, labels = inputs.to(self.device), torch.tensor(self._labels).to(self.device)
        valid = self._with_copies(self._indices(split.valid))
        records = train(learner, inputs, labels, fitted, valid, self.config.train, seed, self._copies)
        return records, lambda: self._predict(learner, inputs, split)

    def _fit(self, model: EmotionClassifier, given: "_Given", split: Split, seed: int) -> "_Running":
        """Fit the linear head; return how it was chosen, and what predicts the test utterances."""
        fitted = self._with_copies(self._indices(sorted(split.train + split.valid)))
        inner = [(scored, given.inner[self._inner_fit(others, seed)]) for others, scored in self._inner_splits(split)]
        records = linear.scores(self._labels, inner, self.config.head)
        best = min(records, key=lambda record: record["valid_loss"])["C"]
        linear.fit(model.head, given.blocks, self._labels, fitted, best, self.config.head, self._recentring(seed))
        inputs = self._descriptors(given, fitted, seed).to(self.device)
        return records, lambda: self._predict(model.head, inputs, split)

    def _predict(self, learner: torch.nn.Module, inputs: Inputs, split: Split) -> torch.Tensor:
        return predict(learner, inputs, self._with_copies(self._indices(split.test)), self._copies)

    def _inner_splits(self, split: Split) -> list[tuple[list[int], list[int]]]:
        pairs = splits.inner_splits(self.data, split, self.config.protocol)
        return [(self._indices(fitted), self._indices(scored)) for fitted, scored in pairs]

    def _descriptors(self, given: "_Given", fitted: Sequence[int], seed: int) -> Descriptors:
        return Descriptors.of([block.descriptors for block in given.blocks], self._recentring(seed), fitted)

    def _recentring(self, seed: int) -> Recentring | None:
        options = self.config.recentre
        if options.by == "none":
            return None
        enrol = None if options.enrol == "all" else options.enrol
        recentring = Recentring.of(list(self.data.speaker.values()), enrol, options.relevance, seed)
        return recentring.with_copies(self._copies - 1)

    @cached_property
    def _labels(self) -> np.ndarray:
        """The classes of all utterances and copies."""
        labels = [self.data.emotions.index(emotion) for emotion in self.data.emotion.values()]
        return np.tile(labels, self._copies)

    def _with_copies(self, indices: Sequence[int]) -> list[int]:
        """Return the indices of utterances, and then of their copies at each speed, as `Features` has them."""
        count = len(self.data.utterances)
        return [i + k * count for k in range(self._copies) for i in indices]

    @property
    def _copies(self) -> int:
        """How many there are of each utterance, itself counted."""
        return 1 + len(self.features.speeds(self.config))

    def _indices(self, utterances: Sequence[str]) -> list[int]:
        return [self._index[utt] for utt in utterances]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {utt: i for i, utt in enumerate(self.data.utterances)}


def _log(records: Iterable[dict[str, Any]], directory: Path, tensorboard: bool) -> list[dict[str, Any]]:
    """Run through the records, an epoch or a C each, writing each as a line; return them."""
    kept = []
    with (directory / "train.jsonl").open("w", encoding="utf-8") as log, _scalars(directory, tensorboard) as write:
        for record in records:
            kept.append(record)
            print(json.dumps(record), file=log, flush=True)
            write(record, len(kept))
    return kept


@contextmanager
def _scalars(directory: Path, wanted: bool) -> Iterator[Callable[[dict[str, Any], int], None]]:
    """Yield a function that writes a record for TensorBoard, if that is wanted."""
    if not wanted:
        yield lambda record, step: None
        return
    with _summary_writer()(directory / "tensorboard") as writer:
        yield lambda record, step: [writer.add_scalar(name, value, step) for name, value in record.items()]


def _summary_writer() -> type:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SoctkError(
            "the package tensorboard is not there", remedy="bin/setup tensorboard", where="--tensorboard"
        ) from error
    return SummaryWriter


def _predictions(data: DataDir, utterances: list[str], log_posteriors: torch.Tensor) -> pd.DataFrame:
    best = log_posteriors.argmax(-1).tolist()
    columns = {
        "utt": utterances,
        "spk": [data.speaker[utt] for utt in utterances],
        "ref": [data.emotion[utt] for utt in utterances],
        "hyp": [data.emotions[i] for i in best],
    }
    posteriors = log_posteriors.exp().cpu().T.tolist()
    return pd.DataFrame(
        columns | {e: [f"{p:.6f}" for p in ps] for e, ps in zip(data.emotions, posteriors, strict=True)}
    )
