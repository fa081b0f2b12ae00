"""soctk-demo: a page in the browser that gives the emotions of recordings."""

import signal
import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Model,
    device_option,
    encoder_option,
    option,
    revision_option,
    runtime_option,
)
from soctk.cli.predict import Seconds

if TYPE_CHECKING:
    from soctk.inference.runtime import RuntimeName


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("model", type=Model())
@option("--host", default="127.0.0.1", help="Address to serve the page at; 0.0.0.0 lets other machines use it.")
@option(
    "--port", type=click.IntRange(1, 65535), help="Port of the page.", show_default="the first free one from 7860 on"
)
@option("--window", type=Seconds(), default=3.0, help="Length of the windows of long recordings, in s.")
@option("--hop", type=Seconds(), default=1.0, help="Time from the start of a window to the start of the next, in s.")
@encoder_option
@revision_option
@runtime_option
@device_option
def main(
    model: str,
    host: str,
    port: int | None,
    window: float,
    hop: float,
    encoder: Path | None,
    revision: str | None,
    runtime: "RuntimeName",
    device: str,
) -> None:
    """Serve a page on which one drops or records speech and sees its emotions, until Ctrl-C.

    MODEL is the folder of a model that soctk-pack wrote, or its id OWNER/NAME on the Hugging Face hub. The numbers are
    those of soctk-predict; recordings longer than 10 s are classified in windows. The page works without a network,
    and sends nothing to other machines.
    """
    from soctk.cli.classify import check_windows
    from soctk.inference import demo
    from soctk.inference.recogniser import Recogniser

    loaded = Recogniser.load(model, encoder, device, revision, runtime)
    check_windows(loaded, window, hop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that recordings are removed
    try:
        with demo.running(demo.Demo(loaded, window, hop), host, port) as address:
            click.echo(f"{address} shows the page. Ctrl-C ends it.")
            Event().wait()
    except KeyboardInterrupt:
        click.echo("Ended.")
