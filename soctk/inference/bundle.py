"""A packed model: a folder with all that is needed to classify recordings, except the encoder (unless it is included).

- `config.yaml`: the format, the classes, the encoder and the settings of the experiment (`ModelSettings`).
- `model.safetensors`: the weights of the classifier, and `recentre.prior` for a model with re-centring.
- `recordings.txt`: the digests of the training recordings, so that a test on one of them is noticed.
- `encoder/`: the encoder, if it is included; of several, also `encoder2/`, ...
- `README.md`: the model card.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field, ValidationError, field_validator, model_serializer, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from soctk.errors import SoctkError
from soctk.mappings import read_yaml
from soctk.schema import Config, Normalisation, Section

# The format of the folder. A change that makes folders unreadable for older versions of soctk increases it.
FORMAT = 1
SETTINGS, WEIGHTS, RECORDINGS, ENCODER, CARD = (
    "config.yaml",
    "model.safetensors",
    "recordings.txt",
    "encoder",
    "README.md",
)
PRIOR, _BIAS = "recentre.prior", "head.bias"


class EncoderSettings(Section):
    """The encoder of a packed model, and how its frames are stored in a feature store.

    Attributes:
        name: its name in feature stores.
        hub: its id on the Hugging Face hub; empty for a folder, s3prl and opensmile.
        source: the release, revision or checksum that identifies its weights.
        layers: the hidden states that the model uses.
        hidden_size: D, the width of a frame.
        sample_rate: of its input, in Hz.
        frame_shift_ms: the time between two frames, in ms; None for one frame for each waveform.
        precision: the data type of autocast.
        dtype: the data type to which frames are rounded, as in the feature store that trained the model.
        has_units: whether the values of a frame have different units, so that frames are not layer-normalised.
    """

    name: str
    hub: str = ""
    source: str
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    hidden_size: int = Field(gt=0)
    sample_rate: int = Field(gt=0)
    frame_shift_ms: float | None = Field(default=None, gt=0)
    precision: Literal["float32", "bfloat16", "float16"]
    dtype: Literal["float16", "float32"]
    has_units: bool = False

    @model_serializer(mode="wrap")
    def _without_default(self, dump):
        """Leave out has_units if it is False: earlier versions of soctk refuse unknown keys."""
        return {name: value for name, value in dump(self).items() if name != "has_units" or value}


class ModelSettings(Section):
    """The content of config.yaml.

    Attributes:
        format: the format of the folder.
        emotions: the classes, in the order of the logits; empty for a model of dimensions.
        channel: the channel of the recordings: 1, 2, ..., or mix for the mean of all channels.
        speeds: the speeds of the copies whose posteriors are averaged (soctk.features.copies), without 1.
        normalise: `level` if all waveforms are scaled to one level before the encoder (soctk.corpus.level), or `none`.
        encoder: the encoder.
        more_encoders: further encoders, whose descriptors follow those of the first.
        experiment: the settings of the experiment.
        training: what was trained: corpus, speakers, utterances, the chosen C or number of epochs, and the hub id of
            the encoder before fine-tuning (`base_model`); for readers.
        made_with: the versions of the packages that made the model; for readers.
    """

    format: Annotated[int, Field(strict=True)]
    emotions: list[str]
    channel: Annotated[str, Field(pattern="^(mix|[1-9][0-9]{0,3})$")]
    speeds: list[Annotated[float, Field(gt=0)]]
    normalise: Normalisation = "none"
    encoder: EncoderSettings
    more_encoders: list[EncoderSettings] = Field(default_factory=list)
    experiment: Config
    training: dict[str, Any]
    made_with: dict[str, str]

    @field_validator("emotions", "speeds")
    @classmethod
    def _check_no_repetition(cls, values):
        if len(set(values)) < len(values):
            raise ValueError("a value is given twice")
        return values

    @model_validator(mode="after")
    def _check_emotions(self):
        if len(self.emotions) < 2 and not self.experiment.dimensions:
            raise ValueError("two or more emotions are needed")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump):
        """Leave out normalise and more_encoders if they are not used: earlier versions of soctk refuse unknown keys."""
        defaults = {"normalise": "none", "more_encoders": []}
        return {name: value for name, value in dump(self).items() if defaults.get(name) != value}

    @property
    def encoders(self) -> list[EncoderSettings]:
        """All encoders, in the order of their descriptors."""
        return [self.encoder, *self.more_encoders]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs of the head: the classes, or the dimensions."""
        return list(self.experiment.dimensions) or self.emotions


@dataclass(frozen=True)
class Bundle:
    """The content of a packed model, without the encoder.

    Attributes:
        settings: the content of config.yaml.
        weights: the parameters of pooling and head, by their names in soctk.training.classifier.EmotionClassifier; and
            `recentre.prior` `(P,)` with re-centring: the mean of the mean descriptors of the training speakers
            (soctk.training.recentre).
        recordings: the digests of the training recordings, sorted.
        path: the folder; None for a model that is not written yet.
    """

    settings: ModelSettings
    weights: Mapping[str, np.ndarray]
    recordings: Sequence[str]
    path: Path | None = None

    @property
    def prior(self) -> np.ndarray | None:
        """The weight `recentre.prior`; None without re-centring."""
        return self.weights.get(PRIOR)

    def check_weights(self, shapes: Mapping[str, tuple[int, ...]], descriptor_size: int) -> None:
        """Check names, shapes and data types of the weights.

        Args:
            shapes: those of the classifier that the settings describe.
            descriptor_size: its P.

        Raises:
            SoctkError: they differ.
        """
        prior = {} if self.settings.experiment.recentre.by == "none" else {PRIOR: (descriptor_size,)}
        expected = {name: (tuple(shape), _dtype(name)) for name, shape in {**shapes, **prior}.items()}
        if {name: (weight.shape, weight.dtype) for name, weight in self.weights.items()} != expected:
            raise self.damaged(WEIGHTS, f"its weights are not those of the model in {SETTINGS}")

    def damaged(self, name: str, what: str) -> SoctkError:
        """Return the error for a damaged file of the model, such as WEIGHTS."""
        return damaged(self.path / name if self.path else name, what)


def write(folder: Path, bundle: Bundle) -> None:
    """Write all files of a packed model except the encoder and the model card into an existing folder."""
    settings = yaml.safe_dump(bundle.settings.model_dump(), sort_keys=False, allow_unicode=True)
    (folder / SETTINGS).write_text(settings, encoding="utf-8")
    (folder / WEIGHTS).write_bytes(save(dict(bundle.weights)))
    (folder / RECORDINGS).write_text("".join(f"{digest}\n" for digest in bundle.recordings), encoding="ascii")


def read(folder: Path) -> Bundle:
    """Read a packed model.

    The runtime checks that the weights are those of the model in config.yaml (Bundle.check_weights).

    Raises:
        SoctkError: the folder is not a packed model, has another format, or is damaged.
    """
    if not folder.is_dir():
        raise SoctkError("no such folder", remedy="Give the folder that soctk-pack wrote.", where=folder)
    if not (folder / SETTINGS).is_file():
        raise SoctkError(
            f"not a packed model: it has no {SETTINGS}",
            remedy="Give the folder that soctk-pack wrote.",
            where=folder,
        )
    settings = _read_settings(folder / SETTINGS)
    weights = _read_weights(folder / WEIGHTS)
    try:
        recordings = (folder / RECORDINGS).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(folder / RECORDINGS, str(error)) from error
    return Bundle(settings, weights, recordings, folder)


def _read_settings(path: Path) -> ModelSettings:
    content = read_yaml(path)
    version = content.get("format")
    if isinstance(version, int) and version != FORMAT:
        raise SoctkError(
            f"the model has the format {version}, and this version of soctk reads format {FORMAT}",
            remedy="Install a newer soctk." if version > FORMAT else "Pack the experiment again (soctk-pack).",
            where=path,
        )
    try:
        return ModelSettings.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise damaged(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        weights = load(path.read_bytes())
    except (OSError, SafetensorError, KeyError) as error:  # KeyError: a data type that numpy lacks
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    for name, weight in weights.items():
        # The linear head gives a class without training utterances the bias -inf (soctk.training.linear).
        usable = np.isfinite(weight) | (weight == -np.inf) if name == _BIAS else np.isfinite(weight)
        if not usable.all():
            raise damaged(path, "NaN or infinite weights")
    return weights


def _dtype(name: str) -> np.dtype:
    return np.dtype(np.int64 if name.endswith("num_batches_tracked") else np.float32)


def damaged(path: str | PathLike, what: str) -> SoctkError:
    """Return the error for a damaged file of a packed model."""
    return SoctkError(f"damaged ({what})", remedy="Copy the folder again, or pack the experiment again.", where=path)
