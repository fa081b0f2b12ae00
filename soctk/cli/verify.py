"""soctk-verify: check the checksums of a feature store."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("store", type=Directory())
def main(store: Path) -> None:
    """Read every shard of the feature store STORE, and compare it with its checksum and with the index."""
    from soctk.errors import SoctkError, listing, plural
    from soctk.features.shards import again, is_imported
    from soctk.features.store import FeatureStore

    opened = FeatureStore.open(store)
    problems = opened.verify()
    if problems:
        remedy = "Remove the files named here and run soctk-extract again; it extracts only missing utterances."
        if is_imported(opened.settings):
            remedy = again(opened.settings)
        raise SoctkError(f"damaged\n{listing(problems)}", remedy=remedy, where=store)
    click.echo(f"{store}: intact, {plural(len(opened.recordings), 'utterance')}")
