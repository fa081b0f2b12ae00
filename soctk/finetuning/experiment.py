"""An experiment with a fine-tuned encoder: all folds and seeds of one configuration."""

import itertools
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from soctk import parallel, progress, provenance
from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import Split
from soctk.errors import SoctkError
from soctk.features.extract import Extraction
from soctk.features.upstream import Layers
from soctk.features.upstream.huggingface import HuggingFaceUpstream
from soctk.finetuning import checkpoint, checks, encoder, start, tuned
from soctk.finetuning.inputs import LayerInputs
from soctk.finetuning.model import TunedModel
from soctk.finetuning.recordings import EncodedFeatures, Recordings, Waveforms
from soctk.finetuning.start import HeadStart
from soctk.finetuning.trainer import FineTuner
from soctk.parallel import one_thread
from soctk.schema import Config, FineTuneConfig, LinearConfig
from soctk.scoring.choice import Choice
from soctk.scoring.runs import RunDirectory
from soctk.training import large, linear, trainable
from soctk.training.candidates import Candidate
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features
from soctk.training.local_runs import describe
from soctk.training.run_writer import RunWriter
from soctk.training.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class FineTuning(Experiment):
    """One configuration of fine-tuning on one corpus; runs are checked and claimed as in Experiment.

    Attributes:
        extraction: the settings of the encoder.
        recordings: the recordings of the corpus (`features.store`).
        family: the type of the encoder (soctk.finetuning.encoder.FAMILIES).
        revision: the commit of a hub id; None for the newest.
    """

    extraction: Extraction
    recordings: Recordings
    family: str
    revision: str | None = None

    @classmethod
    def of(
        cls, config: Config, data: DataDir, extraction: Extraction, revision: str | None = None, **options: Any
    ) -> "FineTuning":
        """Return an experiment, after reading each recording once for its digest.

        Args:
            config: the settings; those of fine-tuning are not None.
            data: the corpus.
            extraction: the settings of the encoder; the hidden states are those of `config`.
            revision: the commit of a hub id; by default the newest.
            options: the other attributes.

        Raises:
            SoctkError: the encoder cannot be fine-tuned, or recordings are unusable.
        """
        chosen = config.frames.layers
        layers: Layers = tuple(chosen) if isinstance(chosen, list) else "last" if chosen == "last" else "all"
        extraction = replace(extraction, layers=layers, dtype="float32", precision="float32")
        with progress.step(f"load the encoder {extraction.upstream}"):
            loaded = encoder.load(extraction, revision)
        recordings = Recordings(data, extraction, loaded)
        features = EncodedFeatures(recordings, data.utterances, extraction.device)
        return cls(
            config,
            data,
            features,
            device=extraction.device,
            extraction=extraction,
            recordings=recordings,
            family=loaded.model_type,
            revision=revision,
            **options,
        )

    @property
    def options(self) -> FineTuneConfig:
        """The settings of fine-tuning."""
        assert self.config.finetune is not None  # soctk.config.load gives them with `tune`
        return self.config.finetune

    @property
    def starts_linear(self) -> bool:
        """Whether the head starts from a linear fit to frozen descriptors."""
        if self.options.start == "auto":
            return isinstance(self.config.head, LinearConfig) and not self.config.dimensions
        return self.options.start == "linear"

    @property
    def refits(self) -> bool:
        """Whether the head is fitted again at the end, to training and validation utterances."""
        return self.starts_linear and self.options.refit and self.options.heads != "train"

    def check(self, folds: Sequence[int], seeds: Sequence[int]) -> list[str]:
        """See Experiment.check.

        Raises:
            SoctkError: Experiment.check raises it, or the settings of fine-tuning do not fit the model.
        """
        checks.check_settings(self.config, self.options, self.starts_linear)
        notes, rows = super().check(folds, seeds), self._rows()
        for candidate in self.candidates():
            encoder.check(self.options, max(candidate.layers), self.family)
        for fold, seed in itertools.product(folds, seeds):
            train = rows.split(fold, seed).train
            rows.target.check(rows.indices(train), fold)
            if self.starts_linear:
                checks.check_speakers(self.data, self.config, train, fold)
        return notes

    def trained(self, split: Split) -> list[str]:
        """Return the utterances that train the encoder or fit the head.

        Validation utterances choose the epoch. The last fit of the head (`refits`) uses them too.
        """
        return sorted(split.train + split.valid) if self.refits else split.train

    def train(self, runs: Sequence[RunDirectory], nj: int) -> list[str]:
        """Fine-tune and test claimed runs; see Experiment.train.

        Args:
            runs: the runs.
            nj: how many runs to do at a time on a CPU, each with one thread. On a GPU the runs follow each other, and
                `nj` threads and processes read recordings and fit heads.
        """
        if not runs:
            return []
        if self.options.tune == "lora":
            encoder.require_peft()  # not in `check`, because soctk-pack does without peft
        waveforms = Waveforms(
            self.recordings.utterances,
            self.recordings.settings["sample_rate"],
            self.data.channel,
            self.extraction.normalise,
        )
        waveforms.read(nj)
        # With a linear start, the inputs are computed before the runs, whose processes share them.
        is_shared = self.device != "cpu" or self.starts_linear
        inputs = LayerInputs(waveforms, self.device, processes=1 if is_shared else min(nj, len(runs)))
        rows = self._rows()
        starts: Sequence[HeadStart | None] = [None] * len(runs)
        if self.starts_linear:
            starts = self._starts(runs, inputs, nj)
        made_with = {**provenance.versions("soctk", "torch", "transformers", "peft"), "commit": provenance.commit()}
        made_with |= {"device": self.device}
        jobs = [
            partial(self._run_one_tuned, run, inputs, rows, start, made_with, nj if self.device != "cpu" else 1)
            for run, start in zip(runs, starts, strict=True)
        ]
        # Runs on one GPU would share its memory and its cores: they follow each other.
        results = parallel.run(jobs, nj if self.device == "cpu" else 1, self.device)
        lines = []
        for line in progress.track(results, "fine-tune", "run", len(jobs)):
            progress.message(line)
            lines.append(line)
        return lines

    def _load(self) -> HuggingFaceUpstream:
        """Return the pre-trained encoder."""
        return encoder.load(self.extraction, self.revision)

    def _rows(self) -> TrainingData:
        """Return the rows of utterances and copies, without descriptors."""
        copies = 1 + len(self.features.speeds(self.config))
        return TrainingData(self.config, self.data, copies, copies, {}, None, self.candidates())

    def _starts(self, runs: Sequence[RunDirectory], inputs: LayerInputs, nj: int) -> list[HeadStart]:
        """Return the linear fits of runs to the descriptors of the pre-trained encoder."""
        frozen = encoder.TunedEncoder(self._load(), self.options, self.recordings.layers)
        data = self._described(frozen, inputs, self.config, nj)
        assert isinstance(self.config.head, LinearConfig)
        pairs = [(data.split(run.fold, run.seed), run.seed) for run in runs]
        for run, (split, _) in zip(runs, pairs, strict=True):
            trainable.check_inputs(data, run.fold, run.seed, data.rows(split.train))
        return start.fit(data, self.config.head, pairs, self.options.heads == "crossed", nj)

    def _described(self, own: encoder.TunedEncoder, inputs: LayerInputs, config: Config, nj: int) -> TrainingData:
        """Return the descriptors of all rows, for an encoder in its present state."""

        def encode(rows: Sequence[int], layers: Sequence[int]) -> list[torch.Tensor]:
            with torch.no_grad():
                return own.states(inputs.clean(own, rows))

        # Descriptors are pooled on the CPU, by nj threads: they are too many for the memory of most GPUs.
        features = Features(self.recordings.encoded_by(encode, own.layers), self.data.utterances, "cpu")
        with one_thread() if self.device == "cpu" else nullcontext():
            return TrainingData.load(config, self.data, features, is_trained=False, nj=nj)

    def _refit(self, model: TunedModel, inputs: LayerInputs, split: Split, start: HeadStart, nj: int) -> None:
        """Fit the head again, to the training and validation utterances as the trained encoder describes them."""
        config = start.candidate.settings(self.config)
        model.train(False)
        data = self._described(model.encoder, inputs, config, nj)
        assert isinstance(config.head, LinearConfig)
        utterances = sorted(split.train + split.valid)
        if data.is_large:
            weight, bias, _ = large.solve(data, start.candidate, config.head, utterances, start.C, nj)
            linear.set_weights(model.head, weight, bias)
        else:
            linear.fit(model.head, data.blocks.values(), data.target, data.rows(utterances), start.C, config.head)

    def _run_one_tuned(
        self,
        run: RunDirectory,
        inputs: LayerInputs,
        rows: TrainingData,
        head: HeadStart | None,
        made_with: dict[str, str],
        nj: int,
    ) -> str:
        """Fine-tune and test one run, with nj threads for the last fit; return a line about its validation scores."""
        split = rows.split(run.fold, run.seed)
        determining = {"fold": run.fold, "seed": run.seed, **self._settings(), "made_with": made_with}
        settings = {**determining, "made_from": self._sources(run)}
        writing = RunWriter.opened(run, self.tensorboard, kept=checkpoint.NAME)
        with one_thread() if self.device == "cpu" else nullcontext(), writing as writer:
            writer.write_settings(settings)
            model, tuner = self._tuner(run, inputs, rows, split, head, partial(self._save, writer, determining))
            done = checkpoint.read(writer.directory, determining)
            chosen = {**(head.candidate.record() if self.config.is_choice else {}), "head_C": head.C} if head else {}
            for record in tuner.train(done):
                writer.write_record({**chosen, **record})
            if head and self.refits:
                self._refit(model, inputs, split, head, nj)
            writer.write_model(model.classifier)
            tuned.write(writer.directory, model.encoder.changed())
            predicted = tuner.predict(split.test)
            if predicted.isnan().any():
                raise SoctkError(
                    f"the predictions of fold {run.fold} are NaN",
                    remedy="Lower the learning rates (--set finetune.lr_encoder=1e-5).",
                    where=self.path,
                )
            writer.write_predictions(rows.target.table(self.data, split.test, predicted.cpu().numpy()))
            (writer.directory / checkpoint.NAME).unlink()
        return describe(run, Choice.of(writer.records))

    def _save(self, writer: RunWriter, settings: dict[str, Any], state: checkpoint.Checkpoint) -> None:
        checkpoint.write(writer.directory, state, settings)

    def _tuner(self, run, inputs, rows, split, head, save) -> tuple[TunedModel, FineTuner]:
        """Return the model of a run at its start, and what trains it."""
        candidate: Candidate = head.candidate if head else self.candidates()[0]
        torch.manual_seed(run.seed)
        classifier = self.new_model(candidate).to(self.device)
        layers = [self.recordings.select([layer])[1][0] for layer in candidate.layers]
        tuned_encoder = encoder.TunedEncoder(self._load(), self.options, layers)
        precision = self.options.precision
        autocast = torch.autocast(self.device, getattr(torch, precision), enabled=precision != "float32")
        model = TunedModel(tuned_encoder, classifier, inputs, self.config.frames.layer_norm, autocast)
        if head:
            model.start_from(head, self.options.heads, self.data.utterances)
        own_target = rows.target.of_run(rows.rows(split.train), self.device)
        tuner = FineTuner(model, rows, own_target, split, self.options, run.seed, head is not None, save)
        return model, tuner

    def _sources(self, run: RunDirectory) -> dict[str, str]:
        """Return the paths of the data directory and, if it is a folder, the encoder, relative to the run."""
        sources = {"data": self.data.path, "encoder": tuned.folder(self.extraction)}
        return {name: os.path.relpath(path.resolve(), run.path.resolve()) for name, path in sources.items() if path}
