"""An experiment: all folds and seeds of one configuration; the directory of a run appears when the run is complete."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from soctk import parallel, progress, provenance
from soctk.corpus import duplicates, independence, splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import Split
from soctk.errors import SoctkError, listing
from soctk.features import settings as store_json
from soctk.mappings import differences, read_yaml
from soctk.parallel import one_thread
from soctk.schema import OF_ONE_RUN, Config, LinearConfig
from soctk.scoring import recorded
from soctk.scoring.choice import Choice
from soctk.scoring.runs import RunDirectory
from soctk.training import large, target, trainable
from soctk.training.candidates import Candidate, list_candidates
from soctk.training.claim import claim
from soctk.training.classifier import EmotionClassifier
from soctk.training.frames import Frames
from soctk.training.inputs import Features
from soctk.training.loop import Diverged
from soctk.training.outer_fits import OuterFit, fit_runs
from soctk.training.run_writer import RunWriter, require_tensorboard
from soctk.training.together import shares_projection
from soctk.training.trainers import MLPTrainer, Part
from soctk.training.training_data import TrainingData

# The most parameters of the models of a stack. Five numbers are kept for each, and four are copied in some steps: 2 GB.
_MOST_PARAMETERS = 1 << 26
_MOST_OF_STREAMED = 8  # models that share frames which are read for each batch, but not the product with them


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
            nj: the number of processor cores to use; it does not change the results. Each stack of runs (`_stacks`) is
                a process; if there are fewer of them than `nj`, they use several threads.

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
        if not runs:
            return []
        inputs = TrainingData.load(self.config, self.data, self.features, self.new_model().is_trained, nj)
        for run in runs:
            fitted = inputs.rows(self.trained(inputs.split(run.fold, run.seed)))
            trainable.check_inputs(inputs, run.fold, run.seed, fitted)
        made_with = {**provenance.versions("soctk", "torch"), "commit": provenance.commit(), "device": self.device}
        jobs: list[Callable[[], list[str]]]
        say: Callable[[str], None] | None = None
        if isinstance(self.config.head, LinearConfig):
            pairs = [(inputs.split(run.fold, run.seed), run.seed) for run in runs]
            fits = fit_runs(inputs, self.config.head, pairs, nj, self.device)
            inputs = replace(inputs, blocks={})
            jobs = [partial(self._run_linear, *pair, inputs, made_with) for pair in zip(runs, fits, strict=True)]
        else:
            stacks = self._stacks(runs, inputs)
            threads = max(1, nj // len(stacks)) if self.device == "cpu" else 1
            # In this process, the line of a run is printed when it ends, not when its whole stack ends.
            say = progress.message if min(nj, len(stacks)) == 1 else None
            jobs = [partial(self._run_stack, stack, inputs, made_with, threads, say) for stack in stacks]
        lines = []
        done = itertools.chain.from_iterable(parallel.run(jobs, nj, self.device))
        for line in progress.track(done, "train", "run", len(runs)):
            if say is None:
                progress.message(line)
            lines.append(line)
        return lines

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

    def _stacks(self, runs: Sequence[RunDirectory], inputs: TrainingData) -> list[list[RunDirectory]]:
        """Divide runs of the head mlp into stacks, the runs that are trained together; `nj` has no influence on it.

        On a GPU all runs are a stack. On a CPU, a stack has the folds of one seed, which share an order and therefore
        frames. Models that cannot share the product with the frames would each keep their own: there is one of them in
        a stack, or a few, if the frames are read from the store for each batch.
        """
        model = self.new_model()
        learner = model.head if inputs.frames is None else model
        most = max(1, _MOST_PARAMETERS // sum(parameter.numel() for parameter in learner.parameters()))
        groups: dict[int, list[RunDirectory]] = {}
        for run in runs:
            groups.setdefault(run.seed if self.device == "cpu" else 0, []).append(run)
        if inputs.frames is not None and not shares_projection(model):
            most = min(most, 1 if isinstance(inputs.frames, Frames) else _MOST_OF_STREAMED)
        return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]

    def _run_stack(
        self,
        runs: Sequence[RunDirectory],
        inputs: TrainingData,
        made_with: Mapping[str, str],
        threads: int,
        say: Callable[[str], None] | None,
    ) -> list[str]:
        """Train and test runs of the head mlp together; return a line about the validation scores of each.

        `say` gets each line as soon as its run is finished.
        """
        assert self.config.train is not None  # soctk.config.load gives every head but linear a section `train`
        parts, lines = [], []
        for run in runs:
            torch.manual_seed(run.seed)
            parts.append(Part(self.new_model().to(self.device), inputs.split(run.fold, run.seed), run.seed))
        # torch itself uses one thread, so that the results of a run do not depend on `nj`.
        with one_thread(), ExitStack() as all_runs:
            opened = [all_runs.enter_context(ExitStack()) for _ in runs]
            writers = [one.enter_context(self._opened(run, made_with)) for one, run in zip(opened, runs, strict=True)]
            trainer = MLPTrainer(parts, inputs, self.device, self.config.train, threads)
            try:
                for number, record, is_last in trainer.train():
                    writers[number].write_record(record)
                    if is_last:
                        model, split, _ = parts[number]
                        self._finish(writers[number], model, inputs, split, trainer.predict_test(number))
                        opened[number].close()  # gives the directory its final name
                        lines.append(describe(runs[number], Choice.of(writers[number].records)))
                        if say:
                            say(lines[-1])
            except Diverged as error:
                raise SoctkError(error.what, error.remedy, where=runs[error.number].path) from error
        return lines

    def _run_linear(
        self, run: RunDirectory, fit: OuterFit, inputs: TrainingData, made_with: Mapping[str, str]
    ) -> list[str]:
        """Train and test a run of the head linear; return a line about its validation scores."""
        model, split = self.new_model(fit.candidate), inputs.split(run.fold, run.seed)
        with one_thread(), self._opened(run, made_with) as writer:
            for record in fit.records:
                writer.write_record(record)
            predicted = fit.apply(model.head, inputs, split)
            self._finish(writer, model, inputs, split, predicted)
        return [describe(run, Choice.of(fit.records))]

    @contextmanager
    def _opened(self, run: RunDirectory, made_with: Mapping[str, str]) -> Iterator[RunWriter]:
        """Yield the writer of a run, which has written the settings."""
        settings = {"fold": run.fold, "seed": run.seed, **self._settings()}
        settings |= {"made_with": dict(made_with), "made_from": self._sources(run)}
        with RunWriter.opened(run, self.tensorboard) as writer:
            writer.write_settings(settings)
            yield writer

    def _finish(
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


def describe(run: RunDirectory, choice: Choice) -> str:
    """Return a line about the validation scores of a run."""
    return f"fold {run.fold}, seed {run.seed}: {choice.describe()}; validation {choice.scores()}"
