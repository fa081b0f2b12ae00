"""Many settings on one corpus, compared on validation utterances alone."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from soctk.config import Config, Protocol
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.files import atomic
from soctk.training import settings
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

# The axes that settings.resolve takes by name; any other is a setting such as train.lr.
_NAMED = ("pooling", "head")


@dataclass(frozen=True)
class Sweep:
    """Experiments over a grid of settings; those with descriptors in common share them.

    Attributes:
        conf_dirs: the directories of --conf.
        grid: axis -> its values: `pooling`, `head`, or a setting as `--set` takes it.
        protocol: how validation utterances are chosen.
        overrides: KEY=VALUE settings that all have.
        preset: the preset that all start from.
    """

    conf_dirs: Sequence[Path]
    grid: Mapping[str, Sequence[Any]]
    protocol: Protocol
    overrides: Sequence[str]
    preset: str = "default"

    def run(
        self, data: DataDir, features: Features, path: Path, folds: Sequence[int], seeds: Sequence[int], nj: int
    ) -> pd.DataFrame:
        """Train what is missing of every point of the grid in a directory of its own, and compare.

        Returns:
            A row a point, the best first: its values, valid_WA and valid_UA in %, valid_loss, runs, and the
            directory's name. They are means over runs, of the epoch or C that was chosen in each. No test utterance has
            a part in them. It is left as `path`/sweep.tsv too.

        Raises:
            SoctkError: as soctk.config.load and soctk.training.experiment.Experiment.run do.
        """
        points = [
            (point, Experiment(self._config(point), data, features, path / _name(point), features.device))
            for point in self._points()
        ]
        for _, experiment in points:
            experiment.check(folds)
        rows = []
        for point, experiment in points:
            experiment.run(folds, seeds, nj)
            runs = [experiment.path / f"fold{fold}" / f"seed{seed}" for fold in folds for seed in seeds]
            values = {key: str(value) for key, value in point.items()}
            rows.append({**values, **_validation(runs), "name": experiment.path.name})
        table = pd.DataFrame(rows).sort_values(["valid_WA", "valid_loss"], ascending=[False, True], ignore_index=True)
        with atomic(path / "sweep.tsv") as temporary:
            table.to_csv(temporary, sep="\t", index=False)
        return table

    def _points(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def _config(self, point: Mapping[str, Any]) -> Config:
        names = {key: point[key] for key in _NAMED if key in point}
        for key, name in names.items():
            if not isinstance(name, str):
                raise SoctkError(f"{name!r} is no name", remedy="Give names such as mean.", where=f"--grid {key}")
        given = [f"{key}={json.dumps(value, default=str)}" for key, value in point.items() if key not in _NAMED]
        overrides = [*self.overrides, *given]
        return settings.resolve(
            preset=self.preset, conf_dirs=self.conf_dirs, **names, protocol=self.protocol, overrides=overrides
        )


def _name(point: Mapping[str, Any]) -> str:
    """Return a directory's name that tells the point: `pooling=mean,frames.layers=3-4`."""
    return ",".join(f"{key}={re.sub(r'[^A-Za-z0-9.+_-]+', '-', str(value)).strip('-')}" for key, value in point.items())


def _validation(runs: Iterable[Path]) -> dict[str, float]:
    """Return the means over runs of what was reached on validation utterances where it was best."""
    best = []
    for run in runs:
        records = [json.loads(line) for line in (run / "train.jsonl").read_text(encoding="utf-8").splitlines()]
        best.append(min(records, key=lambda record: record["valid_loss"]))
    return {
        "valid_WA": 100 * sum(record["valid_WA"] for record in best) / len(best),
        "valid_UA": 100 * sum(record["valid_UA"] for record in best) / len(best),
        "valid_loss": sum(record["valid_loss"] for record in best) / len(best),
        "runs": len(best),
    }
