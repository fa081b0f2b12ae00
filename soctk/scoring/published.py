"""Published figures for the same corpus, upstream and pooling as an experiment's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from soctk.errors import SoctkError
from soctk.scoring.recorded import used_layers

COLUMNS = ("source", "corpus", "upstream", "hub_id", "layer", "pooling", "protocol", "WA", "UA", "F1")
# In a checkout, beside the package.
DEFAULT = Path(__file__).parents[2] / "conf" / "published.csv"


def read(path: Path) -> pd.DataFrame:
    """Read a table of published figures; the metrics that a source does not have are NaN.

    Raises:
        SoctkError: it cannot be read, or has other columns.
    """
    types = {column: str if column in COLUMNS[:7] else float for column in COLUMNS}
    try:
        table = pd.read_csv(path, comment="#", dtype=types)
    except (OSError, ValueError) as error:
        raise SoctkError(f"not a table ({error})", remedy="Check --published.", where=path) from error
    if tuple(table.columns) != COLUMNS:
        raise SoctkError(f"the columns are not {', '.join(COLUMNS)}", remedy="Mend the file.", where=path)
    return table.fillna(dict.fromkeys(COLUMNS[:7], ""))


def matching(table: pd.DataFrame, corpus: str, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the figures published for the same corpus, upstream and pooling as an experiment's, and how they differ.

    Args:
        table: the published figures.
        corpus: the corpus, by the name of its data directory.
        settings: the experiment's.

    Returns:
        Those rows, with a column differs: protocol and layer where they are not the experiment's, and whether it takes
        recordings of the test speakers, as none of them do; "" if nothing differs.
    """
    features = settings.get("features", {})
    upstream, pooling = _plain(features.get("upstream", "")), "+".join(settings.get("pooling", {}))
    is_upstream = (table["upstream"].map(_plain) == upstream) | (table["hub_id"].map(_plain) == upstream)
    same = table[(table["corpus"] == corpus) & is_upstream & (table["pooling"] == pooling)]
    layers, last = used_layers(settings), features.get("num_layers", 0) - 1
    ours = {
        "protocol": settings.get("protocol", "unknown"),
        "layer": "last" if layers == [last] else ", ".join(map(str, layers)),
    }
    recentred = settings.get("recentre", {}).get("by", "none") != "none"
    always = ["without recordings of the test speakers, which it takes"] if recentred else []
    differs = [
        "; ".join([*(f"{key} {row[key]}, not {value}" for key, value in ours.items() if row[key] != value), *always])
        for _, row in same.iterrows()
    ]
    return same.assign(differs=differs)


def _plain(name: str) -> str:
    """Return an upstream's name without owner, case or punctuation: "microsoft/WavLM-base" -> "wavlm_base"."""
    return name.rpartition("/")[2].lower().replace("-", "_")
