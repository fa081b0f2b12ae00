"""Sweep: experiments with many settings on one corpus, compared by their validation scores."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, unknown_name
from soctk.files import atomic
from soctk.parallel import Executor
from soctk.schema import Config, Protocol
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory
from soctk.training import distributed_runs, nested, settings
from soctk.training.experiment import Experiment, run_together
from soctk.training.inputs import Features
from soctk.training.local_runs import in_common

# The axes that are parameters of soctk.training.settings.resolve; any other axis is a setting, such as train.lr.
_NAMED = ("pooling", "head")


@dataclass(frozen=True)
class Sweep:
    """One experiment for each point of a grid of settings; experiments with equal descriptors share them.

    Attributes:
        grid: axis -> its values. An axis is `pooling`, `head`, or a setting as `--set` takes it, such as `train.lr`.
        protocol: the protocol of all points.
        model: what all points have in common: other arguments of soctk.training.settings.resolve.
        is_nested: whether to write the experiment of the nested choice too (soctk.training.nested).
    """

    grid: Mapping[str, Sequence[Any]]
    protocol: Protocol
    model: Mapping[str, Any]
    is_nested: bool = False

    def run(
        self,
        data: DataDir,
        features: Features,
        path: Path,
        folds: Sequence[int],
        seeds: Sequence[int],
        nj: int,
        executor: Executor | None = None,
    ) -> pd.DataFrame:
        """Do the missing runs of all points, each point in its own directory in `path`, and compare the points.

        Points with equal settings local_runs.in_common are trained at the same time. With an executor, the runs of all
        points are its jobs (soctk.training.distributed_runs). Test utterances are not used for the comparison. The
        table is also written to `path`/sweep.tsv, and the nested choice to `path`/nested if `is_nested`.

        Returns:
            A row for each point, best valid_WA (valid_CCC for dimensions) first, then lowest valid_loss. The columns
            are the name of the point's directory; the axes of the grid; valid_WA and valid_UA (in %), or valid_CCC, and
            valid_loss (nats, or 1 minus CCC), averaged over runs, at the epoch or C that each run chose; and the number
            of runs.

        Raises:
            SoctkError: soctk.training.settings.resolve, nested.check or Experiment.run raises it (all points are
                checked first); two points have the same directory; or the training log of a finished run is missing or
                damaged.
        """
        points = [
            (point, Experiment(self._config(point), data, features, path / _name(point), features.device))
            for point in self._points()
        ]
        _require_different([experiment.path for _, experiment in points])
        if self.is_nested:
            nested.check([experiment.config for _, experiment in points])
        for _, experiment in points:
            experiment.check(folds, seeds)
        if executor:
            distributed_runs.run(executor, [(experiment, folds) for _, experiment in points], seeds)
        alike: dict[str, list[Experiment]] = {}
        for _, experiment in points:
            alike.setdefault(in_common(experiment.config).model_dump_json(), []).append(experiment)
        for experiments in alike.values():
            # Nothing is left to do after an executor.
            run_together(experiments, folds, seeds, nj, several=len(points) > 1)
        rows = []
        for point, experiment in points:
            runs = [RunDirectory(experiment.path, fold, seed) for fold in folds for seed in seeds]
            values = {key: str(value) for key, value in point.items()}
            rows.append({"name": experiment.path.name, **values, **_validation(runs)})
        main = "valid_WA" if "valid_WA" in rows[0] else "valid_CCC"
        table = pd.DataFrame(rows).sort_values([main, "valid_loss"], ascending=[False, True], ignore_index=True)
        with atomic(path / "sweep.tsv") as temporary:
            table.to_csv(temporary, sep="\t", index=False)
        if self.is_nested:
            nested.write(path, [experiment.path.name for _, experiment in points], folds, seeds)
        return table

    def _points(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def _config(self, point: Mapping[str, Any]) -> Config:
        names = {key: point[key] for key in _NAMED if key in point}
        for key, name in names.items():
            if not isinstance(name, str):
                raise SoctkError(
                    f"{name!r} is not a name",
                    remedy="Give names, such as mean (pooling) or linear (head).",
                    where=f"--grid {key}",
                )
        others = {key: value for key, value in point.items() if key not in _NAMED}
        for key in others:
            if "." not in key:
                also = "Any setting SECTION.KEY is an axis too, such as train.lr."
                raise unknown_name("axis", key, _NAMED, where="--grid", also=also)
        values = [f"{key}={json.dumps(value, default=str)}" for key, value in others.items()]
        overrides = [*self.model.get("overrides", ()), *values]
        return settings.resolve(**{**self.model, **names, "protocol": self.protocol, "overrides": overrides})


def edges(grid: Mapping[str, Sequence[Any]], best: Mapping[str, Any]) -> list[str]:
    """Return a line for each axis of numbers whose smallest or largest value is the best one.

    Args:
        grid: axis -> its values.
        best: the row of the best point in the table of Sweep.run.
    """
    lines = []
    for axis, values in grid.items():
        numbers = {str(value): number for value in values if (number := _number(value)) is not None}
        ends = sorted(set(numbers.values()))
        if len(ends) < 2 or len(numbers) < len({str(value) for value in values}):
            continue
        for end, size in ((ends[0], "smaller"), (ends[-1], "larger")):
            if numbers[best[axis]] == end:
                lines.append(f"{axis}={best[axis]} is at the edge of its values: {size} values may be better")
    return lines


def _number(value: Any) -> float | None:
    """Return a value as a number; None if it is none. In YAML, 1e-3 is text (1.0e-3 is a number)."""
    if isinstance(value, bool):
        return None
    with suppress(TypeError, ValueError):
        return float(value)
    return None


def _name(point: Mapping[str, Any]) -> str:
    """Return the name of the point's directory, such as `pooling=mean,frames.layers=3-4`."""
    return ",".join(f"{key}={re.sub(r'[^A-Za-z0-9.+_-]+', '-', str(value)).strip('-')}" for key, value in point.items())


def _require_different(paths: Sequence[Path]) -> None:
    repeated = [path.name for path, count in Counter(paths).items() if count > 1]
    if repeated:
        raise SoctkError(
            f"several combinations have the name {repeated[0]}",
            remedy="Write each value of an axis once. Values that differ only in special characters have one name too.",
            where="--grid",
        )


def _validation(runs: Iterable[RunDirectory]) -> dict[str, float]:
    """Return the validation scores at each run's lowest validation loss, averaged over runs.

    Raises:
        SoctkError: a training log is missing or damaged.
    """
    best = [choice.require(run).record for run in runs]
    percent = [name for name in ("valid_WA", "valid_UA") if name in best[0]]
    others = [name for name in ("valid_CCC", "valid_loss") if name in best[0]]
    means = {name: sum(record[name] for record in best) / len(best) for name in (*percent, *others)}
    return {**means, **{name: 100 * means[name] for name in percent}, "runs": len(best)}
