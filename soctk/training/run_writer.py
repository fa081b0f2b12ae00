"""The files of a run: config.yaml, train.jsonl, model.safetensors, predictions.tsv, and a log for TensorBoard."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pandas as pd
import yaml

from soctk.errors import missing_package
from soctk.files import atomic_directory
from soctk.scoring import prediction_file
from soctk.scoring.runs import RunDirectory

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RunWriter:
    """Writes the files of one run into its unfinished directory.

    Attributes:
        run: the run.
        directory: the directory for the files until the run is finished.
        records: the records of the log so far.
    """

    run: RunDirectory
    directory: Path
    records: list[dict[str, Any]]
    _log: IO[str]
    _write_scalars: Callable[[dict[str, Any], int], None]

    @classmethod
    @contextmanager
    def opened(cls, run: RunDirectory, tensorboard: bool, kept: str = "") -> Iterator["RunWriter"]:
        """Yield a writer; the run's directory gets its final name when the block ends without an error.

        Files of an interrupted run are removed first, except a file named `kept`.

        Raises:
            SoctkError: another process is writing the run.
        """
        with (
            atomic_directory(run.path, kept) as directory,
            (directory / run.log.name).open("w", encoding="utf-8") as log,
            _tensorboard(directory, tensorboard) as write_scalars,
        ):
            yield cls(run, directory, [], log, write_scalars)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write config.yaml."""
        self._path(self.run.config).write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")

    def write_record(self, record: dict[str, Any]) -> None:
        """Write a record to train.jsonl at once."""
        self.records.append(record)
        print(json.dumps(record), file=self._log, flush=True)
        self._write_scalars(record, len(self.records))

    def write_model(self, model: "nn.Module") -> None:
        """Write model.safetensors."""
        from safetensors.torch import save  # imports torch, which soctk-predict --runtime onnx --score does without

        self._path(self.run.weights).write_bytes(save(model.state_dict()))

    def write_predictions(self, table: pd.DataFrame) -> None:
        """Write predictions.tsv (soctk.scoring.prediction_file)."""
        prediction_file.write(self._path(self.run.predictions), table)

    def _path(self, final: Path) -> Path:
        return self.directory / final.name


def require_tensorboard() -> type:
    """Return the class that writes logs for TensorBoard.

    Raises:
        SoctkError: the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_package("tensorboard", "tensorboard", "this log", "--tensorboard") from error
    return SummaryWriter


@contextmanager
def _tensorboard(directory: Path, is_wanted: bool) -> Iterator[Callable[[dict[str, Any], int], None]]:
    """Yield a function that writes the numbers of a record to a TensorBoard log, or does nothing if not `is_wanted`."""
    if not is_wanted:
        yield lambda record, step: None
        return
    with require_tensorboard()(directory / "tensorboard") as writer:

        def write(record: dict[str, Any], step: int) -> None:
            for name, value in record.items():
                if isinstance(value, int | float):  # not the hidden states and poolings of a candidate
                    writer.add_scalar(name, value, step)

        yield write
