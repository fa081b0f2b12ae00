"""The file predictions.tsv of a run: its columns for classes, distributions and dimensions, writing and reading.

- Classes: utt, spk, ref, hyp, and the posterior of each class.
- Distributions: utt, spk, ref, hyp, dist, and the posteriors; dist has the probabilities of the classes according to
  the annotators, with commas between them.
- Dimensions: utt, spk, and for each dimension the labelled and the predicted value, such as ref_arousal, hyp_arousal.

A corpus with a published partition that has several tests has the column test after spk.
"""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, plural, printable
from soctk.schema import DIMENSIONS, DISTRIBUTION_COLUMN, PREDICTION_COLUMNS, TEST_COLUMN

_RETRAIN_RUN = "Remove the run's directory and train it again."
# predictions.tsv has six decimals; larger deviations are not due to rounding.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class RunPredictions:
    """The content of one predictions.tsv.

    The posteriors are an array and no columns of the table, so that an emotion may have the name of any column.

    Attributes:
        emotions: the classes, in the order of the posterior columns; empty for dimensions.
        dimensions: the dimensions, in the order of their columns; empty for classes.
        table: the columns utt and spk; for classes ref and hyp as indices into `emotions`; for dimensions ref_DIM and
            hyp_DIM, float.
        posteriors: `(len(table), len(emotions))`; each row sums to 1 within the rounding of the file.
        shares: the probabilities of the classes according to the annotators, `(len(table), len(emotions))`; without
            them `(len(table), 0)`.
    """

    emotions: tuple[str, ...]
    dimensions: tuple[str, ...]
    table: pd.DataFrame
    posteriors: np.ndarray
    shares: np.ndarray


def of_classes(
    data: DataDir, utterances: Sequence[str], posteriors: np.ndarray, has_distribution: bool = False
) -> pd.DataFrame:
    """Return the content of the file for posteriors `(N, K)` of N utterances, as text.

    Args:
        data: the corpus.
        utterances: N ids.
        posteriors: the classes are in the order of `data.emotions`.
        has_distribution: whether the annotators' distributions are scored too.
    """
    columns = {
        "utt": list(utterances),
        "spk": [data.speaker[utt] for utt in utterances],
        **_tests(data, utterances),
        "ref": [data.emotion[utt] for utt in utterances],
        "hyp": [data.emotions[i] for i in posteriors.argmax(1)],
    }
    if has_distribution:
        columns[DISTRIBUTION_COLUMN] = [",".join(f"{p:.6f}" for p in data.distribution[utt]) for utt in utterances]
    written = {
        emotion: [f"{p:.6f}" for p in column]
        for emotion, column in zip(data.emotions, posteriors.T.tolist(), strict=True)
    }
    return pd.DataFrame(columns | written)


def of_dimensions(
    data: DataDir, utterances: Sequence[str], dimensions: Sequence[str], values: np.ndarray
) -> pd.DataFrame:
    """Return the content of the file for predicted values `(N, D)` of N utterances on D dimensions, as text."""
    columns = {"utt": list(utterances), "spk": [data.speaker[utt] for utt in utterances], **_tests(data, utterances)}
    for name, column in zip(dimensions, values.T.tolist(), strict=True):
        columns[f"ref_{name}"] = [f"{data.dimensions[name][utt]:.6f}" for utt in utterances]
        columns[f"hyp_{name}"] = [f"{value:.6f}" for value in column]
    return pd.DataFrame(columns)


def _tests(data: DataDir, utterances: Sequence[str]) -> dict[str, list[str]]:
    """Return the column with the part of the published partition of each utterance, if there are several parts."""
    parts = [data.split[utt] for utt in utterances] if data.split else []
    return {TEST_COLUMN: parts} if len(set(parts)) > 1 else {}


def write(path: Path, table: pd.DataFrame) -> None:
    """Write the result of `of_classes` or `of_dimensions`."""
    table.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONE)


def read_run(path: Path) -> RunPredictions:
    """Read one predictions.tsv.

    Raises:
        SoctkError: the file is no such table; an utterance occurs twice; a class has no posterior column, or two; the
            posteriors of a row are not a distribution; hyp is not the class with the highest posterior; or a value on a
            dimension is no finite number.
    """
    header, rows, tests = _read_table(path)
    content = _dimensions(path, header, rows) if header[2:3] != ["ref"] else _classes(path, header, rows)
    repeated = content.table["utt"][content.table["utt"].duplicated()]
    if len(repeated):
        count = plural(len(repeated), "utterance occurs", "utterances occur")
        raise _damaged(path, f"{count} twice, such as {repeated.iloc[0]}")
    if tests is not None:
        if (tests == "").any():
            raise _damaged(path, "a row lacks its test")
        content.table.insert(2, TEST_COLUMN, tests)
    return content


def _classes(path: Path, header: list[str], rows: pd.DataFrame) -> RunPredictions:
    has_distribution = header[len(PREDICTION_COLUMNS) :][:1] == [DISTRIBUTION_COLUMN]
    first = len(PREDICTION_COLUMNS) + has_distribution
    emotions = tuple(header[first:])
    if tuple(header[: len(PREDICTION_COLUMNS)]) != PREDICTION_COLUMNS:
        raise _wrong_columns(path)
    if len(set(emotions)) < len(emotions) or "" in emotions:
        raise _damaged(path, f"an emotion has no name or two columns: {', '.join(emotions)}")
    names = rows[list(range(len(PREDICTION_COLUMNS)))].set_axis(list(PREDICTION_COLUMNS), axis=1)
    _require_text(path, names)
    unknown = {*names["ref"].unique(), *names["hyp"].unique()}.difference(emotions)
    if unknown:
        raise _damaged(path, f"no posterior column for {', '.join(sorted(unknown))}")
    positions = {column: pd.Index(emotions).get_indexer(pd.Index(names[column])) for column in ("ref", "hyp")}
    posteriors = _to_numbers(path, rows[list(range(first, len(header)))], "posterior")
    shares = np.empty((len(rows), 0))
    if has_distribution:
        parts = rows[first - 1].astype(str).str.split(",", expand=True)
        if parts.shape[1] != len(emotions):
            raise _damaged(path, f"dist does not have {len(emotions)} probabilities, one for each emotion")
        shares = _to_numbers(path, parts, "probability in dist")
    content = RunPredictions(emotions, (), names.assign(**positions), posteriors, shares)
    _check_distributions(path, content)
    return content


def _dimensions(path: Path, header: list[str], rows: pd.DataFrame) -> RunPredictions:
    names = tuple(name.removeprefix("ref_") for name in header[2::2])
    expected = ["utt", "spk", *(f"{kind}_{name}" for name in names for kind in ("ref", "hyp"))]
    if header != expected or not names or not set(names) <= set(DIMENSIONS):
        raise _wrong_columns(path)
    table = rows[[0, 1]].set_axis(["utt", "spk"], axis=1)
    _require_text(path, table)
    values = _to_numbers(path, rows[list(range(2, len(header)))], "value")
    if not np.isfinite(values).all():
        row = table["utt"][~np.isfinite(values).all(axis=1)].iloc[0]
        raise _damaged(path, f"utterance {row}: a value is not finite")
    none = np.empty((len(rows), 0))
    return RunPredictions((), names, table.assign(**dict(zip(header[2:], values.T, strict=True))), none, none)


def _damaged(path: Path, what: str) -> SoctkError:
    return SoctkError(printable(what), remedy=_RETRAIN_RUN, where=path)


def _wrong_columns(path: Path) -> SoctkError:
    dimensions = f"nor utt, spk, ref_DIM and hyp_DIM, where DIM is {', '.join(DIMENSIONS)}"
    return _damaged(path, f"the columns are not {', '.join(PREDICTION_COLUMNS)} and the emotions, {dimensions}")


def _read_table(path: Path) -> tuple[list[str], pd.DataFrame, pd.Series | None]:
    """Return the header and the rows, with the numbers of the columns as their names, and the column of the tests."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            header = file.readline().rstrip("\r\n").split("\t")
            if header[:2] != ["utt", "spk"]:
                raise _wrong_columns(path)
            names = 2 + (header[2:3] == [TEST_COLUMN])  # columns of text: those before the labels, ref and hyp
            names += 2 * (header[names : names + 1] == ["ref"])
            with warnings.catch_warnings(category=pd.errors.ParserWarning, action="error"):
                rows = pd.read_csv(
                    file,
                    sep="\t",
                    header=None,
                    names=list(range(len(header))),
                    index_col=False,
                    dtype=dict.fromkeys(range(names), str),
                    keep_default_na=False,
                    quoting=csv.QUOTE_NONE,
                    low_memory=False,
                )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise _damaged(path, f"not a table ({error})") from error
    if rows.empty:
        raise _damaged(path, "the table has no rows")
    if header[2:3] != [TEST_COLUMN]:
        return header, rows, None
    others = rows.drop(columns=2)
    return header[:2] + header[3:], others.set_axis(list(range(len(others.columns))), axis=1), rows[2]


def _require_text(path: Path, names: pd.DataFrame) -> None:
    if names.isna().to_numpy().any() or (names == "").to_numpy().any():
        raise _damaged(path, f"a row lacks one of the columns {', '.join(names.columns)}")


def _to_numbers(path: Path, columns: pd.DataFrame, what: str) -> np.ndarray:
    try:
        return columns.to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise _damaged(path, f"a {what} is not a number ({error})") from error


def _check_distributions(path: Path, content: RunPredictions) -> None:
    table, posteriors = content.table, content.posteriors
    chosen = posteriors[np.arange(len(table)), table["hyp"].to_numpy()]
    faults = {
        "the posteriors are not between 0 and 1, or do not sum to 1": ~_is_distribution(posteriors),
        "hyp is not the class with the highest posterior": chosen < posteriors.max(axis=1) - _ROUNDING,
    }
    if content.shares.size:
        what = "the probabilities in dist are not between 0 and 1, or do not sum to 1"
        faults[what] = ~_is_distribution(content.shares)
    for fault, rows in faults.items():
        if rows.any():
            raise _damaged(path, f"utterance {table['utt'][rows.argmax()]}: {fault}")


def _is_distribution(values: np.ndarray) -> np.ndarray:
    return (values.min(axis=1) >= 0) & (np.abs(values.sum(axis=1) - 1) < _ROUNDING)
