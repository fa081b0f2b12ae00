"""The options that choose the settings of a model, which the commands that train share."""

import click

from soctk.cli.common import Directory, Layers, conf_option, option


class Enrol(click.ParamType):
    """A number of utterances from 0, or `all`."""

    name = "enrol"

    def convert(self, value, param, ctx):
        """Return an int, or `all`."""
        if value == "all" or isinstance(value, int):
            return value
        if not value.isdecimal():
            self.fail(f"'{value}' is not all or a whole number", param, ctx)
        return int(value)


class Tune(click.ParamType):
    """The parameters of the encoder to train."""

    name = "tune"

    def convert(self, value, param, ctx):
        """Return the value, if it is one of lora, all, and top:N."""
        word, colon, count = value.partition(":")
        if value not in ("lora", "all") and not (word == "top" and count.isdecimal() and int(count) > 0):
            self.fail(f"'{value}' is not lora, all, or top:N with a number N, such as top:2", param, ctx)
        return f"top:{int(count)}" if colon else value


class EncoderLayers(Layers):
    """Hidden states: a word, numbers, or numbers for each of several encoders, separated by commas."""

    def convert(self, value, param, ctx):
        """Return the word, a tuple of int, or a tuple of them for each encoder."""
        if isinstance(value, str) and "," in value:
            return tuple(super(EncoderLayers, self).convert(part, param, ctx) for part in value.split(","))
        return super().convert(value, param, ctx)


with_store_option = option(
    "--with-store",
    "others",
    metavar="DIR",
    type=Directory(),
    multiple=True,
    help="Another feature store of the same recordings, from another encoder: the descriptors of all encoders are "
    "concatenated. Can be repeated.",
    show_default="none",
)
preset_option = option(
    "--preset",
    default="default",
    help="Base settings: default, paper (pooling, head and training of the SOC paper), or emobox (EmoBox's baseline).",
)
pooling_option = option(
    "--pooling",
    help="mean, stats, asp, soc, soc_nolem, soc_full, corr, or several of them joined by +. auto: each fold chooses "
    "mean, soc_full or both (head linear).",
    show_default="from the preset",
)
head_option = option(
    "--head",
    help="Classifier: linear (logistic regression), mlp, or auto (mlp for poolings with trained parameters).",
    show_default="from the preset",
)
layers_option = option(
    "--layer",
    "layers",
    type=EncoderLayers("auto", "all", "last"),
    help="Hidden states in the feature store to train on: auto (each fold chooses, for the head linear), all, last, or "
    'numbers such as "3 4". A comma separates the numbers of several encoders: "2 3 4 5, 2 3".',
    show_default="auto for the head linear with concat, last with the presets paper and emobox, else all",
)
combine_option = option(
    "--combine",
    type=click.Choice(["sum", "concat"]),
    help="How to combine several hidden states: sum (with learned weights) or concat (of their descriptors).",
    show_default="concat for the head linear, sum for mlp",
)
recentre_option = option(
    "--recentre",
    type=click.Choice(["none", "speaker"]),
    help="speaker: subtract each speaker's mean descriptor, which uses unlabelled recordings of the test speakers.",
    show_default="none, from conf/recentre.yaml",
)
enrol_option = option(
    "--enrol",
    metavar="N",
    type=Enrol(),
    help="With --recentre: number of recordings from which a test speaker's mean is computed, or all.",
    show_default="all, from conf/recentre.yaml",
)
set_option = option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, such as train.lr=1e-3. Can be repeated.",
)
target_option = option(
    "--target",
    metavar="TARGET",
    default="emotion",
    help="What is predicted: emotion, distribution (over the emotions, from several annotators), or dimensions: one or "
    "several of arousal, valence and dominance, joined by +.",
)


def model_options(command):
    """Add the options that choose the settings of a model: the parameters of soctk.training.settings.resolve."""
    settings = (preset_option, pooling_option, head_option, conf_option, set_option)
    frames = (layers_option, combine_option, recentre_option, enrol_option)
    for add in reversed((*settings, *frames)):
        command = add(command)
    return command
