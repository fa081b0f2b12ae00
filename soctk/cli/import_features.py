"""soctk-import-features: make a feature store from features that another program has made."""

from pathlib import Path
from typing import Literal

import click

from soctk.cli.common import CONTEXT, Command, Directory, option


class Name(click.ParamType):
    """A name without white space and slashes: it becomes a part of tables and of file names."""

    name = "name"

    def convert(self, value, param, ctx):
        """Return the text."""
        if not value.isprintable() or not value or set(value) & {" ", "/"} or value.startswith("."):
            self.fail(f"'{value}' is not a name without white space and slashes", param, ctx)
        return value


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("features", type=click.Path(exists=True, path_type=Path))
@click.argument("store", type=Directory())
@option("--name", type=Name(), required=True, help="Name of the features, in place of the name of an encoder.")
@option(
    "--frame-shift",
    metavar="MS",
    type=click.FloatRange(min=0, min_open=True),
    help="Time between two frames in ms: compare the number of frames with the durations in the data directory.",
    show_default="no comparison",
)
@option(
    "--dtype", type=click.Choice(["float16", "float32"]), default="float32", help="Number format of the frames on disk."
)
def main(
    data: Path, features: Path, store: Path, name: str, frame_shift: float | None, dtype: Literal["float16", "float32"]
) -> None:
    """Write the features FEATURES of the data directory DATA into the new feature store STORE.

    FEATURES is a folder with a file UTTERANCE.npy for each utterance; an .scp or .ark file of Kaldi, or a folder with
    feats.scp; or an HDF5 file with a dataset for each utterance. An array has the shape (frames, features), or (layers,
    frames, features) for several hidden states. The file name of a recording may stand for its utterance.

    All features are checked before the first one is written. soctk-train works on the store as on any other.
    """
    from soctk.corpus import datadir
    from soctk.errors import plural
    from soctk.features.imported import Import, import_features

    corpus = datadir.read(data, recordings=False)
    summary = import_features(corpus, features, store, Import(name, frame_shift, dtype))
    for note in summary.notes:
        click.echo(note)
    click.echo(
        f"{store}: {plural(summary.utterances, 'utterance')}, {plural(summary.frames, 'frame')} of "
        f"{plural(summary.hidden_size, 'value')}, {plural(summary.layers, 'hidden state')}"
    )
