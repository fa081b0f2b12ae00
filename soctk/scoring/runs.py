"""The layout of an experiment on disk: one directory `foldK/seedS` for each run."""

import re
from dataclasses import dataclass
from pathlib import Path

_RUN = re.compile(r"fold(0|[1-9][0-9]*)/seed(0|[1-9][0-9]*)")


@dataclass(frozen=True, order=True)
class RunDirectory:
    """The directory of one run: one fold of an experiment with one seed.

    It appears under its final name only when the run has finished (soctk.files.atomic_directory), so a run directory
    that exists is complete.

    Attributes:
        experiment: the directory of the experiment.
        fold: the fold under test, from 1.
        seed: the seed of the run.
    """

    experiment: Path
    fold: int
    seed: int

    def __str__(self) -> str:
        """The path within the experiment, `foldK/seedS`."""
        return f"fold{self.fold}/seed{self.seed}"

    @property
    def path(self) -> Path:
        """`EXPERIMENT/foldK/seedS`."""
        return self.experiment / str(self)

    @property
    def config(self) -> Path:
        """The file with the settings of the run, config.yaml."""
        return self.path / "config.yaml"

    @property
    def weights(self) -> Path:
        """The file with the weights of the model, model.safetensors."""
        return self.path / "model.safetensors"

    @property
    def log(self) -> Path:
        """The training log, train.jsonl: a JSON object for each epoch (head mlp, fine-tuning) or each C (linear)."""
        return self.path / "train.jsonl"

    @property
    def predictions(self) -> Path:
        """The file with the predictions for the test utterances, predictions.tsv."""
        return self.path / "predictions.tsv"

    @classmethod
    def parse(cls, path: Path) -> "RunDirectory | None":
        """Return the run whose directory is `path`; None if the path does not end in foldK/seedS."""
        match = _RUN.fullmatch("/".join(path.parts[-2:]))
        return cls(path.parents[1], int(match[1]), int(match[2])) if match else None

    @classmethod
    def of_experiment(cls, experiment: Path) -> "list[RunDirectory]":
        """Return the finished runs of an experiment, sorted by fold and seed."""
        runs = (cls.parse(path) for path in experiment.glob("fold*/seed*"))
        return sorted(run for run in runs if run is not None)
