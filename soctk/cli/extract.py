"""soctk-extract: the features of a corpus from a frozen upstream."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory, device_option, nj_option


class LayerType(click.ParamType):
    """A layer: a number from 0, or last."""

    name = "layer"

    def convert(self, value, param, ctx):
        """Return an int, or the word last."""
        if value == "last" or isinstance(value, int):
            return value
        if not value.isdecimal():
            self.fail(f"'{value}' is neither a number from 0 nor 'last'", param, ctx)
        return int(value)


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@click.option("--upstream", required=True, help="A name of s3prl, or a directory or hub id of Hugging Face.")
@click.option("--layer", type=LayerType(), default="last", help="Hidden state: 0 is the input to the first layer.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16", help="Of the frames on disk.")
@nj_option
@device_option
def main(data: Path, store: Path, upstream: str, layer: int | str, dtype: str, nj: int, device: str) -> None:
    """Extract the frames of the data directory DATA into the feature store STORE.

    Run again after an interruption, it does only what is missing.
    """
    from soctk import datadir
    from soctk.device import resolve
    from soctk.extract import Extraction, extract

    corpus = datadir.read(data)
    done = extract(corpus, store, Extraction(upstream, layer, dtype, resolve(device)), nj)
    click.echo(f"{store}: {len(corpus.wav)} utterances, {done} of them extracted now")
