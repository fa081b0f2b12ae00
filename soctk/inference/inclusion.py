"""The inclusion of an encoder in a packed model, after a check that it is the one of the experiment's features."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soctk.corpus import audio, level
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.features.interface import Store
from soctk.features.upstream import Upstream
from soctk.inference import encoders
from soctk.inference.bundle import Bundle, EncoderSettings
from soctk.training.experiment import Experiment

# Of the frames of an encoder, relative to the stored ones: above float16 and other processors, below another encoder.
_LARGEST_ERROR = 0.01


def include_encoder(bundle: Bundle, source: Path, experiment: Experiment, model: Path) -> Bundle:
    """Copy an encoder into the folder of the model; return the bundle with the checksum of the copy.

    Raises:
        SoctkError: it is not an encoder of the feature stores.
    """
    number, settings = _which_encoder(bundle, source, experiment)
    from soctk.features.upstream.checkpoints import compute_checksum  # imports transformers, which takes seconds

    checksum = f"sha256:{compute_checksum(encoders.include(source, model, number))}"
    every = [*bundle.settings.encoders]
    every[number] = settings.model_copy(update={"source": checksum})
    changed = bundle.settings.model_copy(update={"encoder": every[0], "more_encoders": every[1:]})
    return replace(bundle, settings=changed)


def _which_encoder(bundle: Bundle, source: Path, experiment: Experiment) -> tuple[int, EncoderSettings]:
    """Return the number and the settings of the encoder in the folder `source`."""
    candidates = [
        (number, settings)
        for number, settings in enumerate(bundle.settings.encoders)
        if not encoders.is_own(settings) and not encoders.package(settings)
    ]
    if not candidates:
        raise _in_no_folder(bundle.settings.encoder, source)
    for number, settings in candidates:
        found = upstream.load(str(source.absolute()), precision=settings.precision)
        is_same = found.source == settings.source
        if not encoders.has_checksum(settings):  # from the hub
            store = _store_of(settings, experiment)
            is_same = _gives_the_stored_frames(found, experiment.data, store, settings.layers)
        if is_same:
            return number, settings
    raise SoctkError(
        f"this encoder is not {'one' if len(candidates) > 1 else 'the one'} of the feature store: it has "
        f"{found.source}, and the features are from {' and '.join(settings.source for _, settings in candidates)}",
        remedy=f"Give the folder of {' or '.join(settings.name for _, settings in candidates)}.",
        where=f"--with-encoder {source}",
    )


def _store_of(settings: EncoderSettings, experiment: Experiment) -> Store:
    """Return the feature store of an encoder."""
    return next(store for store in experiment.features.store.parts if store.settings["source"] == settings.source)


def _in_no_folder(settings: EncoderSettings, source: Path) -> SoctkError:
    if encoders.is_own(settings):
        return SoctkError(
            f"the features are from {settings.name}, which is a Python class, and models contain no code",
            remedy="Leave out --with-encoder: soctk-predict --encoder names the class.",
            where=f"--with-encoder {source}",
        )
    package = encoders.package(settings)
    return SoctkError(
        f"the features are from {settings.name} of {package}, which is not read from a folder",
        remedy=f"Leave out --with-encoder: the model loads it from {package}.",
        where=f"--with-encoder {source}",
    )


def _gives_the_stored_frames(encoder: Upstream, data: DataDir, store: Store, layers: Sequence[int]) -> bool:
    """Return whether an encoder gives the stored frames `(T, L, D)` of the shortest utterance."""
    shortest = min(data.seconds, key=data.seconds.__getitem__)
    if any(encoder.hidden_sizes[layer : layer + 1] != [store.settings["hidden_size"]] for layer in layers):
        return False
    waveform = audio.load(data.clip(shortest), encoder.sample_rate, channel=data.channel)
    waveform = level.normalise(waveform, store.settings.get("normalise", "none"))
    (frames,) = encoder.hidden_states([waveform], layers)
    stored = store.load([shortest], layers).float()
    error = frames.transpose(0, 1) - stored if len(stored) == frames.shape[1] else stored
    return bool(error.norm() < _LARGEST_ERROR * stored.norm())
