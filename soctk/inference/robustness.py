"""Predictions for disturbed test recordings by the models of their own fold, which were not trained on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from soctk import parallel, progress, provenance
from soctk.corpus import independence, splits
from soctk.corpus.audio import AudioInfo
from soctk.corpus.disturbance import CLEAN, Condition, Sounds, digest, read_noises
from soctk.errors import SoctkError, listing, plural
from soctk.features import upstream
from soctk.features.upstream import Upstream, own
from soctk.files import atomic_directory
from soctk.inference import encoders, pack
from soctk.inference.bundle import Bundle, EncoderSettings
from soctk.inference.fold_test import FoldTest, Model, SharedEncoder
from soctk.inference.pack import Packing
from soctk.inference.recogniser import Recogniser
from soctk.inference.torch_runtime import TorchRuntime
from soctk.scoring import prediction_file, recorded
from soctk.scoring.robustness import Answers
from soctk.scoring.runs import RunDirectory
from soctk.training import target
from soctk.training.experiment import Experiment

_TOGETHER = 16  # utterances of a job
# Clean recordings may differ from the predictions of the run by this much: in posteriors, or in standard deviations of
# the labels of a dimension. Training read frames that another processor, or more than one thread, may have computed.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Options:
    """How experiments are tested.

    Attributes:
        conditions: the conditions, with `clean`.
        noise: the folder with noise recordings; None without it.
        data: the data directory; by default the one that the runs recorded.
        store: the feature store; by default the one that the runs recorded.
        encoders: the encoders that were in folders or are classes (soctk.inference.encoders.load).
        nj: the number of processes; on a GPU there is one.
        device: `cpu` or `cuda`.
    """

    conditions: Sequence[Condition]
    noise: Path | None = None
    data: Path | None = None
    store: Path | None = None
    encoders: Sequence[Path] = ()
    nj: int = 1
    device: str = "cpu"


def test(runs: Sequence[RunDirectory], options: Options) -> int:
    """Predict the disturbed test recordings of the runs of one or several experiments; return the number of new files.

    A file has the predictions of one run under one condition; finished ones are not repeated. Experiments on the same
    data with the same encoders share the encoding of the recordings, and so do the seeds of a fold.

    Raises:
        SoctkError: finished predictions belong to other versions of the runs; a model, its encoder, its data or the
            recordings are missing or were changed; or the predictions for clean recordings are not those of the run.
    """
    noises = read_noises(options.noise) if options.noise else {}
    noise_digest = digest(noises)
    missing = []
    for run in runs:
        for condition in options.conditions:
            answers = Answers(run, condition)
            if answers.path.is_dir():
                answers.check(noise_digest)
            else:
                missing.append(answers)
    experiments = {
        path: _open(path, [answers.run for answers in missing if answers.run.experiment == path], options)
        for path in dict.fromkeys(answers.run.experiment for answers in missing)
    }
    given = _identify(options.encoders, experiments)
    together: dict[Any, list[Answers]] = {}
    for answers in missing:
        experiment = experiments[answers.run.experiment]
        together.setdefault((_shared(experiment), answers.run.fold), []).append(answers)
    for (_, fold), group in together.items():
        with progress.step(f"load the models of fold {fold}"):
            models = _load(group, experiments, given, options, noises)
        _run(models, group, options, noise_digest)
    return len(missing)


def _open(path: Path, runs: Sequence[RunDirectory], options: Options) -> Experiment:
    if recorded.read(runs).settings.get("finetune"):  # before the corpus is read
        raise SoctkError(
            "the runs of a fine-tuned experiment have different encoders, and this test computes with one",
            remedy="Pack one run (soctk-pack --fold K), and score the model on recordings: soctk-predict --score.",
            where=path,
        )
    packing = Packing(path, data=options.data, store=options.store, nj=options.nj, device=options.device)
    experiment = pack.open_experiment(packing, sorted(set(runs)))
    if experiment.config.recentre.by != "none":
        _check_recentring(experiment)
    return experiment


def _check_recentring(experiment: Experiment) -> None:
    """Refuse re-centring where the means of the test speakers do not follow from their test recordings."""
    if not isinstance(experiment.new_model().head, nn.Linear):
        raise SoctkError(
            "re-centring with the head mlp would need the descriptors of all recordings of a speaker at a time",
            remedy="Test an experiment with the head linear, or without re-centring.",
            where=experiment.path,
        )
    if overlaps := independence.find_overlaps(experiment.data):
        raise SoctkError(
            "re-centring subtracts the mean over all recordings of a training speaker, and here test speakers are "
            f"training speakers too ({'; '.join(overlaps.values())}), whose training recordings are not disturbed",
            remedy="Test an experiment without re-centring.",
            where=experiment.path,
        )


def _shared(experiment: Experiment) -> tuple[Any, ...]:
    """Return a key that is equal for experiments whose test recordings can be encoded together."""
    parts = experiment.features.store.parts
    of_encoders = [(part.settings["source"], part.settings["precision"]) for part in parts]
    return experiment.data.checksum(), experiment.data.path, tuple(of_encoders)


def _identify(given: Sequence[Path], experiments: Mapping[Path, Experiment]) -> dict[str, Path]:
    """Return source of an encoder -> its path, for the encoders from folders and the user's own classes.

    Raises:
        SoctkError: one of them is not given, or none of the experiments needs one that is given.
    """
    found: dict[str, Path] = {}
    for each in given:
        if own.is_own(str(each)):
            found[upstream.load(str(each)).source] = each
        else:
            # Imported here, because transformers takes seconds.
            from soctk.features.upstream.checkpoints import compute_checksum

            found[f"sha256:{compute_checksum(each)}"] = each
    needed = {}
    for path, experiment in experiments.items():
        for part in experiment.features.store.parts:
            source = part.settings["source"]
            needed[source] = part.settings["upstream"]
            if source not in found and source.startswith(("sha256:", own.SOURCE)):
                others = f", and --encoder has {', '.join(found)}" if found else ""
                raise SoctkError(
                    f"the features are from the encoder {needed[source]} ({source}), which was a folder or a class of "
                    f"yours{others}",
                    remedy="Give it: --encoder DIR, MODULE:CLASS or FILE.py:CLASS.",
                    where=path,
                )
    for source, each in found.items():
        if experiments and source not in needed:
            raise SoctkError(
                f"no experiment has features from this encoder ({source}); they are from "
                f"{', '.join(f'{name} ({other})' for other, name in needed.items())}",
                remedy="Leave it out, or give another one.",
                where=f"--encoder {each}",
            )
    return found


def _load(
    group: Sequence[Answers],
    experiments: Mapping[Path, Experiment],
    given: Mapping[str, Path],
    options: Options,
    noises: Mapping[Path, AudioInfo],
) -> FoldTest:
    """Load the models of a fold, and their encoders."""
    runs = sorted({answers.run for answers in group})
    bundles = {run: pack.of_run(experiments[run.experiment], run, options.nj) for run in runs}
    shared = _load_encoders(list(bundles.values()), given, options.device)
    models = []
    for run, bundle in bundles.items():
        first, *others = cast(list[Upstream], [shared[_identity(each)] for each in bundle.settings.encoders])
        runtime = TorchRuntime(bundle, first, options.device, others)
        models.append(Model(run, experiments[run.experiment], Recogniser(bundle, runtime)))
    experiment = experiments[runs[0].experiment]
    data = experiment.data
    utterances = splits.split(data, runs[0].fold, experiment.config.protocol, runs[0].seed).test
    clips = data.clips
    sounds = Sounds({utt: clips[utt] for utt in utterances}, data.speaker, data.channel, noises)
    return FoldTest(models, data, utterances, sounds, list(shared.values()))


def _load_encoders(
    bundles: Sequence[Bundle], given: Mapping[str, Path], device: str
) -> dict[tuple[str, str], SharedEncoder]:
    """Load each encoder that some of the models use, once; models may leave out some of several encoders."""
    uses: dict[tuple[str, str], list[tuple[Bundle, int]]] = {}
    for bundle in bundles:
        for number, settings in enumerate(bundle.settings.encoders):
            uses.setdefault(_identity(settings), []).append((bundle, number))
    shared = {}
    for identity, places in uses.items():
        (bundle, number), *_ = places
        encoder = encoders.load(bundle, given.get(bundle.settings.encoders[number].source), device, number)
        layers = [layer for of, place in places for layer in of.settings.encoders[place].layers]
        shared[identity] = SharedEncoder(encoder, layers)
    return shared


def _identity(encoder: EncoderSettings) -> tuple[str, str]:
    """Return a key that is equal for models that can share an encoder."""
    return encoder.source, encoder.precision


def _run(test: FoldTest, group: Sequence[Answers], options: Options, noise_digest: str) -> None:
    """Predict the test recordings of a fold under each condition, and write the predictions."""
    wanted: dict[Condition, list[Answers]] = {}
    for answers in sorted(group, key=lambda answers: answers.condition.place):  # clean first
        wanted.setdefault(answers.condition, []).append(answers)
    parts = [test.utterances[start : start + _TOGETHER] for start in range(0, len(test.utterances), _TOGETHER)]
    jobs = [
        partial(_answer, test, condition, number, part) for condition in wanted for number, part in enumerate(parts)
    ]
    done: dict[Condition, dict[int, list[list[np.ndarray]]]] = {condition: {} for condition in wanted}
    made_with = {**provenance.versions("soctk", "torch"), "commit": provenance.commit(), "device": options.device}
    nj = options.nj if options.device == "cpu" else 1
    description = f"fold {test.models[0].run.fold}, {plural(len(wanted), 'condition')}"
    with progress.counter(description, "utt", len(wanted) * len(test.utterances)) as report:
        for condition, number, outputs in parallel.run(jobs, nj, options.device):
            done[condition][number] = outputs
            report.update(len(parts[number]))
            if len(done[condition]) == len(parts):
                in_order = [outputs for _, outputs in sorted(done.pop(condition).items())]
                for answers in wanted[condition]:
                    _finish(test, answers, in_order, noise_digest, made_with)


def _answer(
    test: FoldTest, condition: Condition, number: int, utterances: Sequence[str]
) -> tuple[Condition, int, list[list[np.ndarray]]]:
    return condition, number, test.answer(condition, utterances)


def _finish(
    test: FoldTest,
    answers: Answers,
    parts: Sequence[list[list[np.ndarray]]],
    noise_digest: str,
    made_with: Mapping[str, str],
) -> None:
    """Write the predictions of a run under a condition."""
    index = next(index for index, model in enumerate(test.models) if model.run == answers.run)
    model = test.models[index]
    outputs = np.stack([row for part in parts for row in part[index]], axis=1)
    outputs = model.recentred(outputs, test.utterances)
    experiment = model.experiment
    labels = target.make(experiment.config, experiment.data)
    predicted = labels.predictions(torch.from_numpy(outputs)).numpy()
    table = labels.table(experiment.data, test.utterances, predicted)
    if answers.condition.kind == CLEAN:
        _check_clean(answers.run, table)
    if answers.path.is_dir():  # another process was faster
        return
    with atomic_directory(answers.path) as folder:
        settings = {**answers.settings(noise_digest), "made_with": dict(made_with)}
        (folder / answers.config.name).write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        prediction_file.write(folder / answers.predictions.name, table)


def _check_clean(run: RunDirectory, table: pd.DataFrame) -> None:
    """Compare the predictions for clean recordings with those of the run.

    Raises:
        SoctkError: they differ by more than _TOLERANCE.
    """
    own = prediction_file.read_run(run.predictions)
    places = own.table.set_index("utt").index.get_indexer(pd.Index(table["utt"]))
    if own.emotions:
        error = np.abs(table[list(own.emotions)].to_numpy(float) - own.posteriors[places]).max(1)
        what = "posteriors"
    else:
        names = [f"hyp_{name}" for name in own.dimensions]
        spread = own.table[[f"ref_{name}" for name in own.dimensions]].to_numpy().std(0).clip(1e-12)
        error = (np.abs(table[names].to_numpy(float) - own.table[names].to_numpy()[places]) / spread).max(1)
        what = "values, in standard deviations of the labels,"
    error = np.where(places < 0, np.inf, error)
    if not error.max() <= _TOLERANCE:
        wrong = [i for i in np.argsort(-error) if not error[i] <= _TOLERANCE]
        raise SoctkError(
            f"the test recordings as they are do not give the predictions of the run: the {what} of {len(wrong)} of "
            f"{len(error)} utterances differ by more than {_TOLERANCE:g}\n"
            + listing((f"{table['utt'].iloc[i]} {error[i]:.3f}" for i in wrong), at_most=5),
            remedy="The recordings or the encoder have changed since the features were extracted, or the features have "
            "another precision. Extract and train again (stages 1 and 2).",
            where=run.path,
        )
