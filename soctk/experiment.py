"""An experiment: folds x seeds of one configuration, each run left as a directory that is there whole or not at all."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from joblib import delayed
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from soctk import linear, parallel, protocol, provenance
from soctk.config import OF_ONE_RUN, Config, LinearConfig, differences, read_yaml
from soctk.datadir import DataDir
from soctk.errors import SoctkError, listing
from soctk.files import atomic_directory
from soctk.model import EmotionClassifier
from soctk.parallel import one_thread
from soctk.protocol import Split
from soctk.store import FeatureStore, Frames
from soctk.train import Descriptors, Inputs, describe, predict, train


@dataclass(frozen=True)
class Experiment:
    """One configuration on one corpus; its runs, a fold with a seed each, are left as `path`/foldK/seedS directories.

    Attributes:
        config: everything but fold and seed.
        data: the corpus.
        store: its features.
        path: the experiment's directory.
        device: `cpu` or `cuda`.
    """

    config: Config
    data: DataDir
    store: FeatureStore
    path: Path
    device: str = "cpu"

    def run(self, folds: Sequence[int], seeds: Sequence[int], nj: int = 1) -> int:
        """Train and test each fold with each seed, and return how many of these runs were done now.

        A run that is already there is not repeated. One that is interrupted leaves
        `seedS.unfinished`, and is started afresh.

        Args:
            folds: folds to test, from 1.
            seeds: of initialisation and order, and of the validation draw of `--protocol emobox`.
            nj: how many runs go on at a time, each a process with one thread; the results do not depend on it.

        Raises:
            SoctkError: an unknown fold or pooling option, features missing from the store, finished runs with other
                settings, a loss that is no longer finite.
        """
        self._check(folds)
        pending = [(fold, seed) for fold in folds for seed in seeds if not self._directory(fold, seed).exists()]
        made_with = {**provenance.versions("soctk", "torch"), "commit": provenance.commit(), "device": self.device}
        given = self._given() if pending else {}
        jobs = [delayed(self._run_one)(fold, seed, made_with, **given) for fold, seed in pending]
        for line in tqdm(parallel.run(jobs, nj), desc="train", total=len(pending), unit="run", disable=None):
            tqdm.write(line)
        return len(pending)

    def _check(self, folds: Sequence[int]) -> None:
        """Raise what is wrong with the settings before anything is trained."""
        self._model()
        for fold in folds:
            protocol.split(self.data, fold, self.config.protocol, seed=0)
        for finished in sorted(self.path.glob("fold*/seed*/config.yaml")):
            there = {key: value for key, value in read_yaml(finished).items() if key not in OF_ONE_RUN}
            lines = differences(there, self._settings())
            if lines and not finished.parent.name.endswith(".unfinished"):
                raise SoctkError(
                    f"this run was made with other settings\n{listing(lines)}",
                    remedy="Give the new settings a name of their own (--tag), or remove the experiment.",
                    where=finished.parent,
                )

    @property
    def _input_size(self) -> int:
        return self.store.settings["hidden_size"]

    def _directory(self, fold: int, seed: int) -> Path:
        return self.path / f"fold{fold}" / f"seed{seed}"

    def _settings(self) -> dict[str, Any]:
        """Return all that determines the results, as config.yaml records it beside fold and seed."""
        features = {key: value for key, value in self.store.settings.items() if key != "versions"}
        return {
            "data": self.data.checksum(),
            "features": {**features, "recordings": self.store.checksum()},
            **self.config.model_dump(),
        }

    def _sources(self, directory: Path) -> dict[str, str]:
        """Return where corpus and features lie, relative to a run's directory: for reports, which look there."""
        sources = {"data": self.data.path, "features": self.store.path}
        return {name: os.path.relpath(path.resolve(), directory.resolve()) for name, path in sources.items() if path}

    def _model(self) -> EmotionClassifier:
        return EmotionClassifier(self._input_size, len(self.data.emotions), self.config).to(self.device)

    def _frames(self) -> Frames:
        frames = self.store.load(self.data.utterances)
        if not frames.block.isfinite().all():
            each = zip(self.data.utterances, frames.block.split(frames.lengths), strict=True)
            wrong = [utt for utt, its_frames in each if not its_frames.isfinite().all()]
            raise SoctkError(
                f"{len(wrong)} utterances have features that are NaN or infinite, such as {wrong[0]}",
                remedy="Remove the store and extract again (stage 1).",
                where=self.store.path,
            )
        return frames.to(self.device)

    def _given(self) -> dict[str, list]:
        """Return what is the same in every run: where the pooling has no parameters, the descriptors, and for the
        linear head their inner products.
        """
        if self._model().pooling.is_trained:
            return {}
        descriptors = self._descriptors()
        if isinstance(self.config.head, LinearConfig):
            return {"descriptors": descriptors, "products": [linear.gram(block) for block in descriptors]}
        return {"descriptors": descriptors}

    def _descriptors(self) -> list[np.ndarray]:
        """Return the descriptors of all utterances, a block `(N, P)` for each pooling layer."""
        frames = self._frames()
        alone = (self.config.model_copy(update={"pooling": {name: o}}) for name, o in self.config.pooling.items())
        models = (EmotionClassifier(self._input_size, len(self.data.emotions), config) for config in alone)
        return [describe(model.to(self.device).describe, frames).numpy() for model in models]

    def _run_one(
        self,
        fold: int,
        seed: int,
        made_with: dict[str, str],
        descriptors: list[np.ndarray] | None = None,
        products: list[np.ndarray | None] | None = None,
    ) -> str:
        """Train and test one fold with one seed; return a line that says how it went."""
        torch.manual_seed(seed)
        model = self._model()
        learner, inputs = (model, self._frames()) if descriptors is None else (model.head, self._inputs(descriptors))
        split = protocol.split(self.data, fold, self.config.protocol, seed)
        # One thread a run, so that its numbers do not depend on how many runs go on.
        with one_thread(), atomic_directory(self._directory(fold, seed)) as directory:
            settings = {"fold": fold, "seed": seed, **self._settings(), "made_with": made_with}
            settings["made_from"] = self._sources(self._directory(fold, seed))
            (directory / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
            if products is None:
                records = self._train(learner, inputs, split, seed)
            else:
                records = self._fit(learner, descriptors, products, split)
            records = _log(records, directory / "train.jsonl")
            (directory / "model.safetensors").write_bytes(save(model.state_dict()))
            log_posteriors = predict(learner, inputs, self._indices(split.test))
            predictions = _predictions(self.data, split.test, log_posteriors)
            predictions.to_csv(directory / "predictions.tsv", sep="\t", index=False)
        best = min(records, key=lambda record: record["valid_loss"])
        chosen = f"epoch {best['epoch']}" if "epoch" in best else f"C {best['C']:g}"
        return (
            f"fold {fold} seed {seed}: {chosen} of {len(records)}, with validation "
            f"WA {100 * best['valid_WA']:.1f} UA {100 * best['valid_UA']:.1f}"
        )

    def _inputs(self, descriptors: list[np.ndarray]) -> Descriptors:
        return Descriptors([torch.from_numpy(block).to(self.device) for block in descriptors])

    def _train(self, learner: nn.Module, inputs: Inputs, split: Split, seed: int) -> Iterable[dict[str, Any]]:
        train_indices, valid_indices = self._indices(split.train), self._indices(split.valid)
        labels = torch.tensor(self._labels, device=self.device)
        return train(learner, inputs, labels, train_indices, valid_indices, self.config.train, seed)

    def _fit(
        self, head: nn.Linear, descriptors: list[np.ndarray], products: list[np.ndarray | None], split: Split
    ) -> Iterable[dict[str, Any]]:
        pairs = protocol.inner_splits(self.data, split, self.config.protocol)
        inner = [(self._indices(fitted), self._indices(scored)) for fitted, scored in pairs]
        everything = self._indices(sorted(split.train + split.valid))
        return linear.fit(head, descriptors, products, np.array(self._labels), everything, inner, self.config.head)

    @property
    def _labels(self) -> list[int]:
        return [self.data.emotions.index(emotion) for emotion in self.data.emotion.values()]

    def _indices(self, utterances: Sequence[str]) -> list[int]:
        return [self._index[utt] for utt in utterances]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {utt: i for i, utt in enumerate(self.data.utterances)}


def _log(epochs: Iterable[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Run through the epochs, writing each one's record as a line; return the records."""
    records = []
    with path.open("w", encoding="utf-8") as log:
        for record in epochs:
            records.append(record)
            print(json.dumps(record), file=log, flush=True)
    return records


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
