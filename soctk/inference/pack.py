"""Packing: an experiment becomes a folder with one model that classifies recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soctk import progress, provenance
from soctk.corpus import datadir
from soctk.errors import SoctkError
from soctk.features import settings as store_json
from soctk.features import side_by_side
from soctk.features.shards import is_imported
from soctk.files import atomic_directory
from soctk.inference import bundle as bundles
from soctk.inference import card, encoders, inclusion
from soctk.inference.bundle import Bundle, EncoderSettings, ModelSettings
from soctk.inference.onnx.form import OnnxWeights
from soctk.schema import Config
from soctk.scoring import recorded, score
from soctk.scoring.runs import RunDirectory
from soctk.training import final
from soctk.training.experiment import Experiment
from soctk.training.final import FinalModel
from soctk.training.inputs import Features


@dataclass(frozen=True)
class Packing:
    """What to pack.

    Attributes:
        experiment: the directory of the experiment.
        fold: the fold whose model is packed; None to train a model on all speakers.
        seed: the seed; by default the smallest one of the experiment.
        data: the data directory; by default the one that the runs recorded.
        store: the feature store; by default the one that the runs recorded.
        encoder: the folder of the encoder to include in the model.
        nj: how many fits are done at a time.
        device: `cpu` or `cuda`.
        onnx: the data type of the weights in an ONNX form of the encoder (soctk.inference.onnx); None for no such form.
        more_encoders: the folders of further encoders to include, for an experiment with several.
    """

    experiment: Path
    fold: int | None = None
    seed: int | None = None
    data: Path | None = None
    store: Path | None = None
    encoder: Path | None = None
    nj: int = 1
    device: str = "cpu"
    onnx: OnnxWeights | None = None
    more_encoders: Sequence[Path] = ()


def pack(packing: Packing, folder: Path) -> Bundle:
    """Write a packed model into a new folder; return the model.

    Raises:
        SoctkError: the folder exists; the experiment has no finished runs, or not this fold or seed; its data directory
            or store is missing or has changed; training fails (soctk.training.final); or the encoder to include is not
            that of the store; or the model has no ONNX form (soctk.inference.onnx.export).
    """
    if folder.exists():
        raise SoctkError("it exists already", remedy="Remove it, or choose another name.", where=folder)
    runs = _runs(packing)
    experiment, scores = open_experiment(packing, runs), score.score([packing.experiment], packing.data)
    _check_classes(packing, experiment)
    _check_onnx(packing, experiment)
    if packing.fold is None:
        trained = final.on_all_speakers(experiment, runs, runs[0].seed, packing.nj)
        bundle = _bundle(experiment, runs[0], trained, "all")
    else:
        bundle = of_run(experiment, runs[0], packing.nj)
    with atomic_directory(folder) as unfinished:
        if experiment.config.finetune:
            from soctk.inference import tuned

            bundle = tuned.include_encoder(bundle, experiment, runs[0], unfinished)
        else:
            for source in (packing.encoder, *packing.more_encoders) if packing.encoder else ():
                bundle = inclusion.include_encoder(bundle, source, experiment, unfinished)
        bundles.write(unfinished, bundle)
        if packing.onnx is not None:
            _write_onnx(replace(bundle, path=unfinished), packing.onnx)
        text = card.write(bundle, experiment.data, scores, packing.onnx)
        (unfinished / bundles.CARD).write_text(text, encoding="utf-8")
    return replace(bundle, path=folder)


def of_run(experiment: Experiment, run: RunDirectory, nj: int = 1) -> Bundle:
    """Return the model of a finished run, without writing it.

    Raises:
        SoctkError: soctk.training.final.of_fold raises it.
    """
    return _bundle(experiment, run, final.of_fold(experiment, run, nj), f"all but {run.fold}")


def _runs(packing: Packing) -> list[RunDirectory]:
    """Return the finished runs to pack: those of one seed, and of one fold if it is given."""
    runs = RunDirectory.of_experiment(packing.experiment)
    if not runs:
        raise SoctkError(
            "no finished runs", remedy="Give the folder of an experiment, such as exp/NAME.", where=packing.experiment
        )
    seed = runs[0].seed if packing.seed is None else packing.seed
    chosen = [run for run in runs if run.seed == seed and packing.fold in (None, run.fold)]
    if not chosen:
        raise SoctkError(
            f"no finished run {RunDirectory(packing.experiment, packing.fold or 1, seed)}",
            remedy=f"Finished runs: {', '.join(map(str, runs))}.",
            where=packing.experiment,
        )
    return chosen


def open_experiment(packing: Packing, runs: Sequence[RunDirectory]) -> Experiment:
    """Return the experiment, after checking that data and features are those of its runs.

    Raises:
        SoctkError: its data directory or store is missing or has changed, its features are imported, or it has two
            corpora.
    """
    shared = recorded.read(runs)
    if recorded.nested_choice(shared.settings):
        raise SoctkError(
            "this is a choice among the points of a sweep in each fold, not one model",
            remedy="Pack one of the points, such as the best on validation utterances: soctk-pack SWEEP/POINT MODEL.",
            where=packing.experiment,
        )
    if shared.settings.get("protocol") == "cross-corpus":
        raise SoctkError(
            "this experiment has two corpora (soctk-cross), and no data directory has both",
            remedy="Train on one corpus (soctk-train), pack this model, and score it on the other: soctk-predict "
            "--score.",
            where=packing.experiment,
        )
    data_path = _find(packing, "data", packing.data or shared.made_from.get("data"))
    names = recorded.by_name(recorded.encoders(shared.settings))
    config = Config.model_validate(
        {name: shared.settings[name] for name in Config.model_fields.keys() & shared.settings}
    )
    data = datadir.read(data_path, recordings=False)
    if config.finetune:
        from soctk.inference import tuned  # imports transformers, which takes seconds

        tuned.check(packing.fold, packing.experiment)
        encoder = packing.encoder or shared.made_from.get("encoder")
        encoder = encoder if encoder and encoder.is_dir() else None
        stored = shared.settings["features"]
        return _checked(tuned.open_experiment(packing.experiment, config, data, stored, encoder, packing.device), runs)
    given = {"features": packing.store} if packing.store else {}
    paths = [_find(packing, "feats", ({**shared.made_from, **given}).get(name)) for name in names]
    store = side_by_side.open_stores(*paths)
    imported = [part.settings["upstream"] for part in store.parts if is_imported(part.settings)]
    if imported:
        raise SoctkError(
            f"the features {imported[0]} were made by another program (soctk-import-features), so a "
            "model could not encode recordings",
            remedy="Train on features of an encoder (soctk-extract); --upstream MODULE:CLASS takes your own.",
            where=packing.experiment,
        )
    features = Features(store, data.utterances, packing.device)
    return _checked(Experiment(config, data, features, packing.experiment, packing.device), runs)


def _checked(experiment: Experiment, runs: Sequence[RunDirectory]) -> Experiment:
    """Return the experiment, after comparing its settings with those of its runs."""
    experiment.check([run.fold for run in runs], [runs[0].seed])
    return experiment


def _find(packing: Packing, option: str, path: Path | None) -> Path:
    """Return the directory that a run recorded or a user gave, if it exists."""
    if path is None or not path.is_dir():
        raise SoctkError(
            f"the experiment's directory for --{option} is not where it was: {path or 'it was not recorded'}",
            remedy=f"Give it: --{option} DIR.",
            where=packing.experiment,
        )
    return path


def _bundle(experiment: Experiment, run: RunDirectory, trained: FinalModel, folds: str) -> Bundle:
    experiment = replace(experiment, config=trained.config)  # contains the choice among several candidates
    config, data = experiment.config, experiment.data
    training = {
        "corpus": data.path.name if data.path else "",
        "experiment": experiment.path.resolve().name,
        "folds": folds,
        "seed": run.seed,
        "utterances": len(trained.utterances),
        "speakers": len({data.speaker[utt] for utt in trained.utterances if utt not in data.unknown}),
        **trained.chosen,
    }
    first, *others = _encoder_settings(experiment)
    settings = ModelSettings(
        format=bundles.FORMAT,
        emotions=[] if config.dimensions else list(data.emotions),
        channel=data.channel,
        speeds=experiment.features.speeds(config),
        normalise=experiment.features.store.settings.get("normalise", "none"),
        encoder=first,
        more_encoders=others,
        experiment=config,
        training=training,
        made_with={**provenance.versions("soctk", "torch", "transformers"), "commit": provenance.commit()},
    )
    digests = experiment.features.store.recordings
    recordings = sorted({digests[utt] for utt in trained.utterances})
    weights = {name: weight.numpy() for name, weight in trained.classifier.state_dict().items()}
    prior = {} if trained.prior is None else {bundles.PRIOR: trained.prior.numpy()}
    return Bundle(settings, {**weights, **prior}, recordings)


def _encoder_settings(experiment: Experiment) -> list[EncoderSettings]:
    """Return the settings of each encoder, with the hidden states that the model uses."""
    selected = [experiment.features.store.select([layer]) for layer in experiment.features.layers(experiment.config)]
    layers = [[own for of, (own,) in selected if of is store] for store in experiment.features.store.parts]
    pairs = zip(experiment.features.store.parts, layers, strict=True)
    return [_settings_of(store.settings, own) for store, own in pairs if own]


def _settings_of(stored: Mapping[str, Any], layers: list[int]) -> EncoderSettings:
    return EncoderSettings(
        name=stored["upstream"],
        hub=stored.get("hub", ""),
        source=stored["source"],
        layers=layers,
        hidden_size=stored["hidden_size"],
        sample_rate=stored["sample_rate"],
        frame_shift_ms=stored.get("frame_shift_ms"),
        precision=stored["precision"],
        dtype=stored["dtype"],
        has_units=stored.get(store_json.HAS_UNITS, False),
    )


def _check_classes(packing: Packing, experiment: Experiment) -> None:
    """Refuse Python classes among several encoders: soctk-predict --encoder names one class for the whole model."""
    used = _encoder_settings(experiment)
    own = [settings.name for settings in used if encoders.is_own(settings)]
    if own and len(used) > 1:
        raise SoctkError(
            f"the encoder {own[0]} is a Python class, and a model of several encoders cannot have one",
            remedy="Train on the features of this encoder alone, or of other encoders.",
            where=packing.experiment,
        )


def _check_onnx(packing: Packing, experiment: Experiment) -> None:
    """Check, before training, what can be checked about the ONNX form of the model."""
    if packing.onnx is None:
        return
    from soctk.inference.onnx import export

    settings, *others = _encoder_settings(experiment)
    if others:
        raise SoctkError("a model of several encoders has no ONNX form", remedy="Leave out --onnx.", where="--onnx")
    export.check(experiment.config, settings)
    if encoders.is_own(settings):
        raise SoctkError(
            f"the encoder {settings.name} is a Python class, which has no ONNX form in soctk",
            remedy="Leave out --onnx.",
            where="--onnx",
        )
    if encoders.has_checksum(settings) and packing.encoder is None and not experiment.config.finetune:
        raise SoctkError(
            f"the ONNX form is made from the encoder {settings.name}, whose folder is not given",
            remedy="Give it: --with-encoder DIR. The copy in the model is for torch; you may remove it afterwards.",
            where="--onnx",
        )


def _write_onnx(bundle: Bundle, weights: OnnxWeights) -> None:
    from soctk.inference.onnx import export

    with progress.step("export to ONNX"):
        export.write(bundle, encoders.load(bundle), weights)
