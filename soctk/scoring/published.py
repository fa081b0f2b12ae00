"""Published scores for the corpus, upstream and pooling of an experiment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from soctk.config import BUILTIN_CONF
from soctk.errors import SoctkError
from soctk.scoring.recorded import is_recentred, pooling_name, tuning, upstream_name, used_layers

_TEXT_COLUMNS = ("source", "corpus", "upstream", "hub_id", "layer", "pooling", "protocol")
COLUMNS = (*_TEXT_COLUMNS, "WA", "UA", "F1")
# The table in which reports look for published scores by default.
DEFAULT = BUILTIN_CONF / "published.csv"


def read(path: Path) -> pd.DataFrame:
    """Read a table of published scores in %; metrics that a source does not report are NaN.

    Raises:
        SoctkError: the file cannot be read, or has other columns.
    """
    types = {column: str if column in _TEXT_COLUMNS else float for column in COLUMNS}
    try:
        table = pd.read_csv(path, comment="#", dtype=types)
    except (OSError, ValueError) as error:
        raise SoctkError(
            f"not a table of scores ({error})",
            remedy="Correct the file, or give another one with --published.",
            where=path,
        ) from error
    if tuple(table.columns) != COLUMNS:
        raise SoctkError(f"the columns are not {', '.join(COLUMNS)}", remedy="Correct the file.", where=path)
    return table.fillna(dict.fromkeys(_TEXT_COLUMNS, ""))


def matching(table: pd.DataFrame, corpus: str, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the published scores for the same corpus, upstream and pooling as an experiment.

    Args:
        table: the published scores.
        corpus: the name of the corpus, that is, of its data directory: EmoBox's name of it, also with `_`, `-`, or with
            `emobox-` before it (the recipe egs/emobox).
        settings: the recorded settings of the experiment (soctk.scoring.recorded).

    Returns:
        The matching rows. Their column `differs` lists the reasons why the scores may not be comparable with the
        experiment: another protocol, other hidden states, a frozen encoder, if the experiment trains it, or recordings
        of the test speakers, if the experiment uses them. It is "" if nothing differs.
    """
    features = settings.get("features", {})
    upstream, pooling = _normalise(upstream_name(settings)), pooling_name(settings)
    is_upstream = (table["upstream"].map(_normalise) == upstream) | (table["hub_id"].map(_normalise) == upstream)
    is_corpus = table["corpus"] == _normalise(corpus).removeprefix("emobox_").replace("_", "")
    same = table[is_corpus & is_upstream & (table["pooling"] == pooling)]
    layers, last = used_layers(settings), features.get("num_layers", 0) - 1
    ours = {
        "protocol": settings.get("protocol", "unknown"),
        "layer": "last" if layers == [last] else ", ".join(map(str, layers)) or "unknown",
    }
    always = ["a frozen encoder, where this experiment trains it"] if tuning(settings) else []
    always += ["no recordings of the test speakers, which this experiment uses"] if is_recentred(settings) else []
    differs = [
        "; ".join([*(f"{key} {row[key]}, not {value}" for key, value in ours.items() if row[key] != value), *always])
        for _, row in same.iterrows()
    ]
    return same.assign(differs=differs)


def _normalise(name: str) -> str:
    """Return a name without owner, case and punctuation: "microsoft/WavLM-base" -> "wavlm_base"."""
    return name.rpartition("/")[2].lower().replace("-", "_")
