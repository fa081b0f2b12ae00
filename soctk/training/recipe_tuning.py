"""Stage 2 of a recipe with --finetune: soctk-finetune encodes the recordings itself, so there are no features."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from soctk import config
from soctk.errors import SoctkError
from soctk.features.upstream import is_huggingface
from soctk.schema import Config
from soctk.training.recipe_options import Options, spaced

_ROBUSTNESS = 5  # the stage that tests on disturbed recordings


def check(options: Options, upstreams: Sequence[str], conf_dirs: Sequence[Path], last_stage: int) -> None:
    """Refuse options that do not work with --finetune.

    Args:
        options: the options of the recipe.
        upstreams: the upstreams.
        conf_dirs: the conf directories, which may describe an upstream.
        last_stage: the last stage to run.

    Raises:
        SoctkError: one of the options does not.
    """
    if options.finetune is None:
        return
    known = config.load_upstream(conf_dirs, upstreams[0])
    if len(upstreams) > 1 or not is_huggingface(known.source if known else upstreams[0]):
        raise SoctkError(
            "--finetune trains one encoder of Hugging Face transformers",
            remedy="Give the folder or the hub id of one checkpoint of wav2vec 2.0, HuBERT, WavLM or Whisper.",
            where=f"--upstream {options.upstream}",
        )
    without = {
        "--augment": (options.augmentations, 'Augment on the fly: --train-args "--set finetune.noise=0.5".'),
        "--extract-args": (options.extract_args, "Leave it out: no features are extracted."),
        "--cluster": (options.cluster, "Leave it out, and use a GPU (--device cuda)."),
        "--recentre": ((options.recentre or "none") != "none", "Leave it out."),
        "--stop-stage": (last_stage >= _ROBUSTNESS, "End with stage 4, and use soctk-predict --score."),
    }
    for option, (is_given, remedy) in without.items():
        if is_given:
            raise SoctkError("this does not work with --finetune", remedy=remedy, where=option)


def name(options: Options) -> str:
    """Return the part of an experiment's name, such as -tuned-lora or -tuned-top2; empty without --finetune."""
    return f"-tuned-{options.finetune.replace(':', '')}" if options.finetune else ""


def train_options(options: Options, resolved: Config) -> Iterator[str]:
    """Yield the options of soctk-finetune that choose the parameters to train, the waveforms and the hidden states."""
    yield from ("--tune", options.finetune or "")
    if options.speeds:
        yield from ("--speed-perturb", spaced(options.speeds))
    if options.normalise != "none":
        yield from ("--normalise", options.normalise)
    is_named = options.use_layers is None and options.layers != "all"
    yield from ("--layer", spaced(options.layers if is_named else resolved.frames.layers))


def pack_options(options: Options) -> list[str]:
    """Return the options of soctk-pack: it packs one run, that of the first fold."""
    return ["--fold", str(min(options.folds, default=1))] if options.finetune else []
