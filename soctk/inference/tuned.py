"""Packing of fine-tuned experiments: their data and encoder are found again, and the model includes its encoder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.features.extract import Extraction
from soctk.features.upstream.checkpoints import compute_checksum
from soctk.finetuning import tuned
from soctk.finetuning.experiment import FineTuning
from soctk.inference.bundle import ENCODER, Bundle
from soctk.schema import Config, UpstreamConfig
from soctk.scoring.runs import RunDirectory
from soctk.training.experiment import Experiment

_REVISION = "revision:"


def open_experiment(
    path: Path, config: Config, data: DataDir, stored: Mapping[str, Any], encoder: Path | None, device: str
) -> FineTuning:
    """Return a fine-tuned experiment.

    Args:
        path: its directory.
        config: its settings.
        data: its corpus.
        stored: the recorded settings of its encoder (`features` in a config.yaml).
        encoder: the folder of the pre-trained encoder; None if the recorded folder is missing.
        device: `cpu` or `cuda`.

    Raises:
        SoctkError: the pre-trained encoder is not available.
    """
    if encoder is None and not stored.get("hub"):
        raise SoctkError(
            f"the pre-trained encoder {stored['upstream']} is not where it was",
            remedy="Give its folder: --with-encoder DIR.",
            where=path,
        )
    source = str(encoder.absolute()) if encoder else stored["hub"]
    shape = UpstreamConfig(
        source=source,
        layers=stored["num_layers"] - 1,
        hidden_size=stored["hidden_size"],
        frame_shift_ms=stored["frame_shift_ms"],
    )
    extraction = Extraction(
        stored["upstream"],
        device=device,
        known=shape,
        speeds=tuple(stored.get("speeds", ())),
        normalise=stored.get("normalise", "none"),
    )
    return FineTuning.of(config, data, extraction, revision=_revision(stored["source"]), path=path)


def check(fold: int | None, path: Path) -> None:
    """Check that one run of a fine-tuned experiment is to be packed.

    Raises:
        SoctkError: no fold is given.
    """
    if fold is None:
        raise SoctkError(
            "each run of a fine-tuned experiment has an encoder of its own, and soctk-pack does not fine-tune another "
            "one on all speakers",
            remedy="Pack the run of a fold, such as --fold 1. Its test speakers did not train it.",
            where=path,
        )


def include_encoder(bundle: Bundle, experiment: Experiment, run: RunDirectory, model: Path) -> Bundle:
    """Write the fine-tuned encoder into the folder of the model; return the bundle with its checksum.

    The hub id of the pre-trained encoder, if it has one, becomes `base_model` in the settings `training`.

    Raises:
        SoctkError: the encoder of the run is missing or damaged.
    """
    assert isinstance(experiment, FineTuning)  # `open_experiment` returned it
    folder = model / ENCODER
    folder.mkdir()
    settings = bundle.settings.encoder
    tuned.write_checkpoint(run, tuned.source(experiment.extraction), _revision(settings.source), folder)
    changed = settings.model_copy(update={"source": f"sha256:{compute_checksum(folder)}", "hub": ""})
    training = {**bundle.settings.training, **({"base_model": settings.hub} if settings.hub else {})}
    return replace(bundle, settings=bundle.settings.model_copy(update={"encoder": changed, "training": training}))


def _revision(source: str) -> str | None:
    return source.removeprefix(_REVISION) if source.startswith(_REVISION) else None
