"""soctk-pack: make a model for use on other recordings from an experiment."""

import shlex
from pathlib import Path

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    data_option,
    device_option,
    feats_option,
    nj_option,
    option,
)
from soctk.errors import plural


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("experiment", type=Directory())
@click.argument("model", type=Directory())
@option(
    "--fold",
    type=click.IntRange(min=1),
    help="Pack the model of this fold, which was not trained on its test speakers.",
    show_default="train a model on all speakers",
)
@option(
    "--seed",
    type=click.IntRange(min=0),
    help="Seed of the runs to pack, and of the training.",
    show_default="the smallest one of the experiment",
)
@option(
    "--with-encoder",
    "encoder",
    metavar="DIR",
    type=Directory(),
    multiple=True,
    help="Copy the encoder in this folder into the model, so that the model needs nothing else. With several encoders, "
    "give it for each.",
    show_default="none",
)
@option(
    "--onnx",
    is_flag=True,
    help="Write an ONNX form of the encoder too, for soctk-predict --runtime onnx, which needs no torch (extra onnx).",
)
@option(
    "--int8",
    is_flag=True,
    help="With --onnx: round the encoder's weights to 8 bits. The form is smaller, and its posteriors differ.",
)
@option(
    "--push",
    metavar="USER/NAME",
    help="Upload the model to the Hugging Face hub under this name too. It needs a login: hf auth login.",
    show_default="off",
)
@option("--private", is_flag=True, help="With --push: only you, or your organisation, see the model.")
@data_option
@feats_option
@nj_option
@device_option
def main(
    experiment: Path,
    model: Path,
    fold: int | None,
    seed: int | None,
    encoder: tuple[Path, ...],
    onnx: bool,
    int8: bool,
    push: str | None,
    private: bool,
    data: Path | None,
    feats: Path | None,
    nj: int,
    device: str,
) -> None:
    """Train the settings of the experiment once more, on all its speakers, and write the model to the new folder MODEL.

    EXPERIMENT is a folder that soctk-train wrote, such as exp/NAME. soctk-predict uses the model on other recordings.
    The head linear chooses C by cross-validation over all folds. The head mlp is trained for the median of the best
    epochs of the folds. MODEL/README.md is a model card with the scores of the experiment.
    """
    if private and not push:
        raise click.UsageError("--private works with --push only")
    if int8 and not onnx:
        raise click.UsageError("--int8 works with --onnx only")
    from soctk.device import resolve
    from soctk.inference import encoders, hub
    from soctk.inference.onnx.form import OnnxWeights
    from soctk.inference.pack import Packing, pack

    if push:
        hub.check_access(push, private)
    weights: OnnxWeights | None = "int8" if int8 else "float32" if onnx else None
    first, more = encoder[0] if encoder else None, encoder[1:]
    packing = Packing(experiment, fold, seed, data, feats, first, nj, resolve(device), weights, more)
    packed = pack(packing, model)
    settings = packed.settings
    training = settings.training
    verb = "predicts" if settings.experiment.dimensions else "recognises"
    chosen = next(f"{name} {training[name]:g}" for name in ("C", "epochs", "seed") if name in training)
    speakers = plural(training["speakers"], "speaker") if training["speakers"] else "unknown speakers"
    click.echo(
        f"{model}: {verb} {', '.join(settings.outputs)}; trained on "
        f"{plural(training['utterances'], 'utterance')} of {speakers}, folds {training['folds']}, {chosen}"
    )
    needs_class = encoders.is_own(settings.encoder)
    lacking = [each.name for each in encoders.not_included(packed)]
    argument = " --encoder DIR" if lacking else f" --encoder {settings.encoder.name}" if needs_class else ""
    if needs_class:
        click.echo(f"It needs the class {settings.encoder.name}, which it does not contain.")
    for name in lacking:
        click.echo(f"It needs the encoder {name} from a folder; --with-encoder DIR includes it.")
    if lacking and len(settings.encoders) > 1:
        click.echo("soctk-predict takes no folder for several encoders: pack the model with --with-encoder for each.")
    click.echo(f"soctk-predict {shlex.quote(str(model))} RECORDING.wav{argument}")
    if push:
        commit = _push(model, push, private)
        click.echo(
            f"{hub.page(push)}: written, commit {commit}. Its model card has no licence yet: write it there into "
            f"README.md.\nsoctk-predict {push} RECORDING.wav{argument}"
        )


def _push(model: Path, repo: str, private: bool) -> str:
    from soctk.errors import SoctkError
    from soctk.inference import hub

    try:
        return hub.push(model, repo, private)
    except SoctkError as error:
        upload = f"hf upload {repo} {shlex.quote(str(model))}{' --private' if private else ''}"
        later = f"The model is complete in {model}. To upload it later: {upload}"
        raise SoctkError(error.what, f"{error.remedy}\n{later}", error.where) from error
