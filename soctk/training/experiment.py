"""An experiment: all folds and seeds of one configuration; the directory of a run appears when the run is complete."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from soctk import progress
from soctk.corpus import duplicates, independence, splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import Split
from soctk.errors import SoctkError, listing
from soctk.features import settings as store_json
from soctk.mappings import differences, read_yaml
from soctk.schema import OF_ONE_RUN, Config, LinearConfig
from soctk.scoring import recorded
from soctk.scoring.runs import RunDirectory
from soctk.training import large, local_runs, target, trainable
from soctk.training.candidates import Candidate, list_candidates
from soctk.training.claim import claim
from soctk.training.classifier import EmotionClassifier
from soctk.training.inputs import Features
from soctk.training.run_writer import RunWriter, require_tensorboard
from soctk.training.training_data import TrainingData


@dataclass(frozen=True)
class Experiment:
    """One configuration on one corpus; a run is one fold with one seed.

    Attributes:
        config: all settings but fold and seed.
        data: the corpus.
        features: the features of the corpus.
        path: the directory of the experiment; its runs are `path`/foldK/seedS (soctk.scoring.runs).
        device: `cpu` or `cuda`.
        tensorboard: whether runs write a log for TensorBoard too.
    """

    config: Config
    data: DataDir
    features: Features
    path: Path
    device: str = "cpu"
    tensorboard: bool = False

    def run(self, folds: Sequence[int], seeds: Sequence[int], nj: int = 1) -> int:
        """Train and test each fold with each seed; return the number of new runs.

        Finished runs are not repeated. An interrupted run leaves `seedS.unfinished` and starts again from its
        beginning. The inner fits of the linear head are done before all runs and are not kept.

        Args:
            folds: the folds to test, from 1.
            seeds: each determines the initial weights, the order of utterances, and the utterances that
                `--protocol emobox` and `--enrol` draw.
            nj: the number of processor cores to use; it does not change the results.

        Raises:
            SoctkError: `check` raises it, another process is training one of the runs, features are missing, NaN or
                infinite, the training descriptors of a fold are equal, or the loss becomes infinite or NaN.
        """
        with self.claimed(folds, seeds) as pending:
            return len(self.train(pending, nj))

    @contextmanager
    def claimed(self, folds: Sequence[int], seeds: Sequence[int]) -> Iterator[list[RunDirectory]]:
        """Check, print the notes, and claim the runs that are not finished during the block; yield these runs.

        Raises:
            SoctkError: `check` raises it, or another process is training one of the runs.
        """
        notes = self.check(folds, seeds)
        runs = [RunDirectory(self.path, fold, seed) for fold in folds for seed in seeds]
        pending = [run for run in runs if not run.path.exists()]
        if not pending:
            yield []
            return
        for note in notes:
            progress.message(f"{self.path}: {note}")
        with claim(self.path, pending):
            # Another process may have finished runs before their claim.
            yield [run for run in pending if not run.path.exists()]

    def check(self, folds: Sequence[int], seeds: Sequence[int]) -> list[str]:
        """Check the settings, the folds, shared recordings, and the settings of finished runs, without training.

        Returns:
            Notes on recordings that are shared but allowed, and on classes without training utterances.

        Raises:
            SoctkError: a setting, a fold or an option of the pooling is wrong; the store lacks hidden states or copies
                of the settings; a fold has training utterances of one class only; training, validation and test
                utterances share recordings; or finished runs have other settings.
        """
        is_trained = self.new_model().is_trained
        if is_trained and len(self.features.store.parts) > 1:
            raise trainable.several_encoders()
        if is_trained and self.config.recentre.by != "none":
            raise SoctkError(
                "only descriptors without trained parameters can be re-centred",
                remedy="Choose poolings without trained parameters; for several layers, --combine concat.",
                where="--recentre",
            )
        if self.config.recentre.by != "none" and self.data.unknown:
            raise SoctkError(
                f"the speakers of {len(self.data.unknown)} of {len(self.data.utterances)} utterances are unknown, and "
                "re-centring subtracts the mean of the speaker",
                remedy="Train without re-centring.",
                where="--recentre",
            )
        if self.features.has_one_frame:
            trainable.check_poolings(self.config.pooling)
        self.features.check_copies(self.config)
        if isinstance(self.config.head, LinearConfig) and self.features.are_large(self.config):
            large.check(self.config)
        if self.tensorboard:
            require_tensorboard()
        is_drawn = self.config.protocol not in ("soctk", "utterance-folds") and not splits.has_dev(self.data)
        seeds = seeds if is_drawn else seeds[:1]
        notes, labels = [], target.make(self.config, self.data)
        index = {utt: i for i, utt in enumerate(self.data.utterances)}
        for fold in folds:
            for seed in seeds:
                split = splits.split(self.data, fold, self.config.protocol, seed)
                notes.append(labels.check([index[utt] for utt in self.trained(split)], fold))
        recordings = self.features.store.recordings
        allowed = duplicates.check_splits(self.data, recordings, self.config.protocol, folds, seeds)
        if allowed:
            notes.append(duplicates.describe_allowed(allowed))
        for run in RunDirectory.of_experiment(self.path):
            if run.config.exists():
                self._check_settings(run)
        return list(dict.fromkeys(filter(None, notes)))

    def train(self, runs: Sequence[RunDirectory], nj: int) -> list[str]:
        """Train and test claimed runs; print and return a line about the validation scores of each.

        Raises:
            SoctkError: see `run`.
        """
        return local_runs.train([(self, run) for run in runs], nj)

    def trained(self, split: Split) -> list[str]:
        """Return the utterances to which the head is fitted."""
        return sorted(split.train + split.valid) if isinstance(self.config.head, LinearConfig) else split.train

    def _check_settings(self, run: RunDirectory) -> None:
        stored = {key: value for key, value in read_yaml(run.config).items() if key not in OF_ONE_RUN}
        lines = differences(stored, self._settings())
        if lines:
            raise SoctkError(
                f"this run was made with other settings\n{listing(lines)}",
                remedy="Give the new settings another EXPERIMENT (run.sh: --tag), or remove the old experiment.",
                where=run.path,
            )

    def _settings(self) -> dict[str, Any]:
        """Return the settings for config.yaml: all that determine the results, except fold and seed."""
        overlaps = independence.find_overlaps(self.data)
        return {
            "data": self.data.checksum(),
            **({"speaker_overlap": overlaps} if overlaps else {}),
            **{
                name: {**store_json.compared(part.settings), "recordings": part.checksum()}
                for name, part in recorded.by_name(self.features.store.parts).items()
            },
            **self.config.recorded(),
        }

    def _sources(self, run: RunDirectory) -> dict[str, str]:
        """Return the paths of the data directory and the feature stores, relative to the run, for reports."""
        stores = recorded.by_name([store.path for store in self.features.store.parts])
        sources = {"data": self.data.path, **stores}
        return {name: os.path.relpath(path.resolve(), run.path.resolve()) for name, path in sources.items() if path}

    def candidates(self) -> list[Candidate]:
        """Return what a fold may choose (soctk.training.candidates)."""
        return list_candidates(self.config, self.features)

    def new_model(self, candidate: Candidate | None = None) -> EmotionClassifier:
        """Return a classifier with initial weights, which torch's random state determines.

        Args:
            candidate: what a fold chose; None for the settings of the experiment, without a choice.
        """
        config = candidate.settings(self.config) if candidate else self.config
        layers, outputs = self.features.layers(config), len(config.dimensions or self.data.emotions)
        return EmotionClassifier(self.features.hidden_sizes(layers), len(layers), outputs, config)

    @contextmanager
    def opened(self, run: RunDirectory, made_with: Mapping[str, str]) -> Iterator[RunWriter]:
        """Yield the writer of a run, which has written the settings."""
        settings = {"fold": run.fold, "seed": run.seed, **self._settings()}
        settings |= {"made_with": dict(made_with), "made_from": self._sources(run)}
        with RunWriter.opened(run, self.tensorboard) as writer:
            writer.write_settings(settings)
            yield writer

    def finish(
        self, writer: RunWriter, model: EmotionClassifier, inputs: TrainingData, split: Split, predicted: torch.Tensor
    ) -> None:
        """Write a trained model and its predictions for the test utterances."""
        if predicted.isnan().any():
            raise SoctkError(
                f"the predictions of fold {writer.run.fold} are NaN",
                remedy="Check the store for extreme features, or use --set frames.layer_norm=true.",
                where=self.features.store.where,
            )
        writer.write_model(model)
        writer.write_predictions(inputs.target.table(self.data, split.test, predicted.cpu().numpy()))


def run_together(
    experiments: Sequence[Experiment], folds: Sequence[int], seeds: Sequence[int], nj: int = 1, several: bool = True
) -> int:
    """Do the missing runs of experiments that are trained together; return their number (Experiment.run).

    Args:
        experiments: all have the same corpus, features and device, and equal settings local_runs.in_common.
        folds: as in Experiment.run.
        seeds: as in Experiment.run.
        nj: as in Experiment.run.
        several: whether the printed lines name the experiment.

    Raises:
        SoctkError: Experiment.run raises it.
    """
    with ExitStack() as claims:
        pending = [
            (experiment, run)
            for experiment in experiments
            for run in claims.enter_context(experiment.claimed(folds, seeds))
        ]
        return len(local_runs.train(pending, nj, several))
