"""Checks of the settings of fine-tuning, and of the training utterances of a fold, before anything is trained."""

from collections.abc import Sequence

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.finetuning import start
from soctk.schema import Config, FineTuneConfig, LinearConfig


def check_settings(config: Config, tune: FineTuneConfig, starts_linear: bool) -> None:
    """Check that the settings of fine-tuning fit the model.

    Args:
        config: all settings.
        tune: those of fine-tuning.
        starts_linear: whether the head starts from a linear fit to frozen descriptors.

    Raises:
        SoctkError: they do not.
    """
    if config.recentre.by != "none":
        raise SoctkError(
            "descriptors of a fine-tuned encoder are not re-centred: their means would change in training",
            remedy="Leave --recentre out.",
            where="--recentre",
        )
    if config.frames.speeds != "all":
        raise SoctkError(
            "fine-tuning uses the copies at all speeds of --speed-perturb",
            remedy="Give the speeds with --speed-perturb.",
            where="--set frames.speeds",
        )
    if config.dimensions and tune.label_smoothing:
        raise SoctkError(
            "label smoothing is for classes, and dimensions have none",
            remedy="Leave the setting out, or choose another --target.",
            where="--set finetune.label_smoothing",
        )
    if starts_linear and (not isinstance(config.head, LinearConfig) or config.dimensions):
        raise SoctkError(
            "a linear fit can start the head linear on emotions only",
            remedy="Use --set finetune.start=random; or --head linear with a pooling without trained parameters.",
            where="--set finetune.start=linear",
        )
    if not starts_linear and config.is_choice:
        raise SoctkError(
            "a fold chooses hidden states and poolings by the linear fit, and this model starts without one",
            remedy='Name them: --pooling NAME, and --layer all, --layer last or --layer "3 4".',
            where="--layer auto" if config.frames.layers == "auto" else "--pooling auto",
        )


def check_speakers(data: DataDir, config: Config, train: Sequence[str], fold: int) -> None:
    """Check that a linear fit to the training utterances of a fold can choose C.

    Raises:
        SoctkError: C is chosen by a division of the training speakers, and there is one.
    """
    if start.divides_speakers(data, config) and len({data.speaker[utt] for utt in train}) == 1:
        raise SoctkError(
            f"fold {fold} has one training speaker; the choice of C needs two",
            remedy="Put more speakers into each fold, or start with random weights: --head mlp --set "
            "finetune.start=random.",
            where=data.path,
        )
