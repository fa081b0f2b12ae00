"""Tables in Parquet files, such as those of audformat databases."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from soctk.corpus import names
from soctk.errors import SoctkError, missing_package


def is_parquet(path: Path) -> bool:
    """Return whether a path ends in .parquet."""
    return path.suffix.lower() == ".parquet"


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table, column name -> value; durations are texts in seconds.

    Column names are normalised (soctk.corpus.names).

    Raises:
        SoctkError: pyarrow is missing, or the file is damaged.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_package("pyarrow", "formats", "reading Parquet", path) from error
    try:
        table = parquet.read_table(path, partitioning=None)
        columns = {names.normalise(name): table.column(name).to_pylist() for name in table.column_names}
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise SoctkError(
            f"not a table in Parquet, or damaged ({str(error).partition(chr(10))[0]})",
            remedy="Write the file again.",
            where=path,
        ) from error
    texts = [map(_in_seconds, values) for values in columns.values()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*texts, strict=True)]


def _in_seconds(value: Any) -> Any:
    return str(value.total_seconds()) if isinstance(value, timedelta) else value
