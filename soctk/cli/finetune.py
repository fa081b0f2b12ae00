"""soctk-finetune: train the encoder too, for all folds and seeds of one configuration."""

from pathlib import Path
from typing import Any, Literal

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    device_option,
    folds_option,
    nj_option,
    normalise_option,
    option,
    seeds_option,
    speed_option,
)
from soctk.cli.model_options import Tune, model_options, target_option


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("experiment", type=Directory())
@option(
    "--upstream",
    required=True,
    help="Encoder to start from: a folder or a Hugging Face hub id of wav2vec 2.0, HuBERT, WavLM or Whisper, or a name "
    "in conf/upstream.",
)
@option(
    "--tune",
    type=Tune(),
    default="lora",
    metavar="lora|top:N|all",
    help="Parameters of the encoder to train: lora (low-rank matrices beside its linear layers; extra finetune), top:N "
    "(the last N transformer layers before the highest hidden state that is used), or all.",
)
@model_options
@target_option
@speed_option
@normalise_option
@folds_option
@seeds_option
@option(
    "--protocol",
    type=click.Choice(["soctk", "emobox", "cross-lingual"]),
    default="soctk",
    help="Validation utterances, as in soctk-train.",
)
@option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    help="Number format of the encoder's computation in training; bfloat16 uses autocast. Predictions use float32.",
    show_default="float32, from conf/finetune.yaml",
)
@option(
    "--tensorboard", is_flag=True, help="Also write the training log in TensorBoard's format, beside each train.jsonl."
)
@nj_option
@device_option
def main(
    data: Path,
    experiment: Path,
    upstream: str,
    tune: str,
    speeds: tuple[float, ...],
    normalise: Literal["none", "level"],
    folds: list[int],
    seeds: list[int],
    protocol: Literal["soctk", "emobox", "cross-lingual"],
    precision: Literal["float32", "bfloat16"] | None,
    tensorboard: bool,
    nj: int,
    device: str,
    **model: Any,
) -> None:
    """Train encoder, pooling and head on the recordings of the data directory DATA; write EXPERIMENT/foldK/seedS.

    Finished runs with the same settings are not repeated; interrupted ones go on after their last complete epoch. The
    settings are in conf/finetune.yaml (--set finetune.KEY=VALUE). On a CPU, --nj runs are trained at a time; on a GPU,
    --nj is the number of threads and processes that read recordings and fit heads.
    """
    from soctk import config
    from soctk.corpus import datadir, splits
    from soctk.device import resolve
    from soctk.errors import plural
    from soctk.features.extract import Extraction
    from soctk.finetuning.experiment import FineTuning
    from soctk.training import settings

    corpus = datadir.read(data)
    if precision:
        model["overrides"] = [*model["overrides"], f"finetune.precision={precision}"]
    utterances = len(corpus.utterances)
    resolved = settings.resolve(
        **model, tune=tune, protocol=splits.protocol_of(corpus, protocol), utterances=utterances
    )
    known = config.load_upstream(config.conf_directories(given=model["conf_dirs"]), upstream)
    extraction = Extraction(upstream, device=resolve(device), known=known, speeds=speeds, normalise=normalise)
    new = FineTuning.of(resolved, corpus, extraction, path=experiment, tensorboard=tensorboard)
    folds = folds or corpus.folds
    done = new.run(folds, seeds, nj)
    click.echo(
        f"{experiment}: {plural(len(folds), 'fold')} x {plural(len(seeds), 'seed')}, "
        f"{done} of {len(folds) * len(seeds)} trained now"
    )
