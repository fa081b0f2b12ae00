"""soctk-robustness: scores on disturbed test recordings."""

from pathlib import Path

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    Numbers,
    data_option,
    device_option,
    exp_argument,
    feats_option,
    nj_option,
    option,
)


@click.command(cls=Command, context_settings=CONTEXT)
@exp_argument
@option(
    "--conditions",
    default="",
    help='Conditions, such as "white:10 telephone cut". A name without a value stands for these values: white, '
    "pink, babble and noise at 20, 10, 5 and 0 dB; reverb:0.6 (s); telephone; mp3:32 (kb/s); gain:12 and gain:-12 "
    "(dB); cut:2 and cut:1 (s). clean is always tested.",
    show_default="all; noise only with --noise",
)
@option(
    "--noise", type=Directory(), help="Folder with recordings of noise, for the condition noise.", show_default="none"
)
@option("--folds", type=Numbers(), default="", help='Folds to test, such as "1 2".', show_default="all")
@option("--seeds", type=Numbers(), default="", help='Seeds to test, such as "1 2".', show_default="all")
@data_option
@feats_option
@option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="DIR|MODULE:CLASS|FILE.py:CLASS",
    type=Directory(),
    help="Folder of the encoder, or your own class, if the features are from such an encoder. Can be repeated.",
    show_default="the one in s3prl, or on the hub",
)
@nj_option
@device_option
@option(
    "--output",
    type=Directory(),
    help="Directory of ROBUSTNESS.md and its pictures.",
    show_default="EXP/robustness; with several experiments, ROBUSTNESS.md is not written",
)
def main(
    exp: tuple[Path, ...],
    conditions: str,
    noise: Path | None,
    folds: list[int],
    seeds: list[int],
    data: Path | None,
    feats: Path | None,
    encoders: tuple[Path, ...],
    nj: int,
    device: str,
    output: Path | None,
) -> None:
    """Disturb the test recordings of every experiment below EXP, score the predictions, and write ROBUSTNESS.md.

    The models of a fold classify the recordings of this fold. The same command gives the same recordings and
    predictions. The predictions are kept in EXP/robustness; a later call computes only the missing ones, and shows all.
    Several experiments are shown side by side.
    """
    from soctk import provenance
    from soctk.corpus import disturbance
    from soctk.device import resolve
    from soctk.inference import robustness as inference
    from soctk.reporting import robustness as reporting
    from soctk.scoring import robustness, score

    chosen = disturbance.parse(conditions, noise is not None)
    experiments = score.score(exp, data)
    runs = robustness.runs(experiments, folds, seeds)
    inference.test(runs, inference.Options(chosen, noise, data, feats, encoders, nj, resolve(device)))
    several = [one for each in experiments if (one := robustness.read(each, folds, seeds))]
    click.echo(reporting.as_text(several))
    paths = {run.experiment for run in runs}
    output = output or (paths.pop() / robustness.FOLDER if len(paths) == 1 else None)
    if output is None:
        click.echo(f"\n{reporting.NAME} is not written: with several experiments, give --output DIR.")
    else:
        written = reporting.write(output, several, provenance.command_line())
        click.echo(f"\nWritten to {', '.join(map(click.format_filename, written))}")
