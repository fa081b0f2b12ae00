"""Packing: an experiment becomes a folder with one model that classifies recordings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soctk import progress, provenance
from soctk.corpus import audio, datadir, level
from soctk.errors import SoctkError
from soctk.features import settings as store_json
from soctk.features import upstream
from soctk.features.shards import is_imported
from soctk.features.store import FeatureStore
from soctk.features.upstream import Upstream
from soctk.files import atomic_directory
from soctk.inference import bundle as bundles
from soctk.inference import card, encoders
from soctk.inference.bundle import Bundle, EncoderSettings, ModelSettings
from soctk.inference.onnx.form import OnnxWeights
from soctk.schema import Config
from soctk.scoring import recorded, score
from soctk.scoring.runs import RunDirectory
from soctk.training import final
from soctk.training.experiment import Experiment
from soctk.training.final import FinalModel
from soctk.training.inputs import Features

# Of the frames of an encoder, relative to the stored ones: above float16 and other processors, below another encoder.
_LARGEST_ERROR = 0.01


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
    _check_onnx(packing, experiment)
    if packing.fold is None:
        trained = final.on_all_speakers(experiment, runs, runs[0].seed, packing.nj)
        bundle = _bundle(experiment, runs[0], trained, "all")
    else:
        bundle = of_run(experiment, runs[0], packing.nj)
    with atomic_directory(folder) as unfinished:
        if packing.encoder is not None:
            bundle = _include_encoder(bundle, packing.encoder, experiment, unfinished)
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
        SoctkError: its data directory or store is missing or has changed, or its features are imported.
    """
    shared = recorded.read(runs)
    if recorded.nested_choice(shared.settings):
        raise SoctkError(
            "this is a choice among the points of a sweep in each fold, not one model",
            remedy="Pack one of the points, such as the best on validation utterances: soctk-pack SWEEP/POINT MODEL.",
            where=packing.experiment,
        )
    data_path = _find(packing, "data", packing.data or shared.made_from.get("data"))
    store_path = _find(packing, "feats", packing.store or shared.made_from.get("features"))
    config = Config.model_validate(
        {name: shared.settings[name] for name in Config.model_fields.keys() & shared.settings}
    )
    data = datadir.read(data_path, recordings=False)
    store = FeatureStore.open(store_path)
    if is_imported(store.settings):
        raise SoctkError(
            f"the features {store.settings['upstream']} were made by another program (soctk-import-features), so a "
            "model could not encode recordings",
            remedy="Train on features of an encoder (soctk-extract); --upstream MODULE:CLASS takes your own.",
            where=packing.experiment,
        )
    features = Features(store, data.utterances, packing.device)
    experiment = Experiment(config, data, features, packing.experiment, packing.device)
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
    experiment = replace(experiment, config=trained.config)  # with what was chosen among several candidates
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
    settings = ModelSettings(
        format=bundles.FORMAT,
        emotions=[] if config.dimensions else list(data.emotions),
        channel=data.channel,
        speeds=experiment.features.speeds(config),
        normalise=experiment.features.store.settings.get("normalise", "none"),
        encoder=_encoder_settings(experiment),
        experiment=config,
        training=training,
        made_with={**provenance.versions("soctk", "torch", "transformers"), "commit": provenance.commit()},
    )
    digests = experiment.features.store.recordings
    recordings = sorted({digests[utt] for utt in trained.utterances})
    weights = {name: weight.numpy() for name, weight in trained.classifier.state_dict().items()}
    prior = {} if trained.prior is None else {bundles.PRIOR: trained.prior.numpy()}
    return Bundle(settings, {**weights, **prior}, recordings)


def _encoder_settings(experiment: Experiment) -> EncoderSettings:
    stored = experiment.features.store.settings
    return EncoderSettings(
        name=stored["upstream"],
        hub=stored.get("hub", ""),
        source=stored["source"],
        layers=experiment.features.layers(experiment.config),
        hidden_size=stored["hidden_size"],
        sample_rate=stored["sample_rate"],
        frame_shift_ms=stored.get("frame_shift_ms"),
        precision=stored["precision"],
        dtype=stored["dtype"],
        has_units=stored.get(store_json.HAS_UNITS, False),
    )


def _include_encoder(bundle: Bundle, source: Path, experiment: Experiment, model: Path) -> Bundle:
    """Copy the encoder into the folder of the model; return the bundle with the checksum of the copy.

    Raises:
        SoctkError: it is not the encoder of the feature store.
    """
    settings = bundle.settings
    if encoders.is_own(settings.encoder):
        raise SoctkError(
            f"the features are from {settings.encoder.name}, which is a Python class, and models contain no code",
            remedy="Leave out --with-encoder: soctk-predict --encoder names the class.",
            where=f"--with-encoder {source}",
        )
    if package := encoders.package(settings.encoder):
        raise SoctkError(
            f"the features are from {settings.encoder.name} of {package}, which is not read from a folder",
            remedy=f"Leave out --with-encoder: the model loads it from {package}.",
            where=f"--with-encoder {source}",
        )
    # Imported here, because transformers takes seconds.
    from soctk.features.upstream.huggingface import compute_checksum

    found = upstream.load(str(source.absolute()), precision=settings.encoder.precision)
    is_same = found.source == settings.encoder.source
    if not encoders.has_checksum(settings.encoder):  # from the hub
        is_same = _gives_the_stored_frames(found, experiment, settings.encoder.layers)
    if not is_same:
        raise SoctkError(
            f"this encoder is not the one of the feature store: it has {found.source}, and the features are from "
            f"{settings.encoder.source}",
            remedy=f"Give the folder of {settings.encoder.name}.",
            where=f"--with-encoder {source}",
        )
    checksum = f"sha256:{compute_checksum(encoders.include(source, model))}"
    encoder = settings.encoder.model_copy(update={"source": checksum})
    return replace(bundle, settings=settings.model_copy(update={"encoder": encoder}))


def _gives_the_stored_frames(encoder: Upstream, experiment: Experiment, layers: Sequence[int]) -> bool:
    """Return whether an encoder gives the stored frames `(T, L, D)` of the shortest utterance."""
    data, store = experiment.data, experiment.features.store
    shortest = min(data.seconds, key=data.seconds.__getitem__)
    if any(encoder.hidden_sizes[layer : layer + 1] != [store.settings["hidden_size"]] for layer in layers):
        return False
    waveform = audio.load(data.clip(shortest), encoder.sample_rate, channel=data.channel)
    waveform = level.normalise(waveform, store.settings.get("normalise", "none"))
    (frames,) = encoder.hidden_states([waveform], layers)
    stored = store.load([shortest], layers).float()
    error = frames.transpose(0, 1) - stored if len(stored) == frames.shape[1] else stored
    return bool(error.norm() < _LARGEST_ERROR * stored.norm())


def _check_onnx(packing: Packing, experiment: Experiment) -> None:
    """Check, before training, what can be checked about the ONNX form of the model."""
    if packing.onnx is None:
        return
    from soctk.inference.onnx import export

    settings = _encoder_settings(experiment)
    export.check(experiment.config, settings)
    if encoders.is_own(settings):
        raise SoctkError(
            f"the encoder {settings.name} is a Python class, which has no ONNX form in soctk",
            remedy="Leave out --onnx.",
            where="--onnx",
        )
    if encoders.has_checksum(settings) and packing.encoder is None:
        raise SoctkError(
            f"the ONNX form is made from the encoder {settings.name}, whose folder is not given",
            remedy="Give it: --with-encoder DIR. The copy in the model is for torch; you may remove it afterwards.",
            where="--onnx",
        )


def _write_onnx(bundle: Bundle, weights: OnnxWeights) -> None:
    from soctk.inference.onnx import export

    with progress.step("export to ONNX"):
        export.write(bundle, encoders.load(bundle), weights)
