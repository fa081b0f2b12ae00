"""The training log of a run, train.jsonl: a record for each epoch (head mlp, fine-tuning) or each C (head linear)."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from soctk.errors import SoctkError
from soctk.mappings import parse_json
from soctk.scoring.runs import RunDirectory


class _Record(BaseModel, strict=True, allow_inf_nan=False):
    """The values of a record that reports read; losses in nats, WA as a fraction; or CCC and losses 1 - CCC."""

    layers: list[Annotated[int, Field(ge=0)]] = []
    pooling: str = ""
    epoch: int | None = Field(None, ge=0, le=10**9)  # 0: before fine-tuning
    C: float | None = Field(None, gt=1e-30, lt=1e30)
    train_loss: float = Field(0.0, ge=0, lt=1e30)
    valid_loss: float = Field(ge=0, lt=1e30)
    valid_WA: float | None = Field(None, ge=0, le=1)
    valid_CCC: float | None = Field(None, ge=-1, le=1)

    @model_validator(mode="after")
    def _check_score(self):
        if (self.valid_WA is None) == (self.valid_CCC is None):
            raise PydanticCustomError("score", "it needs valid_WA or valid_CCC")
        return self


def read(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the records of a run; all have `epoch`, or all have `C`.

    Each `epoch` occurs once. Each `C` occurs once, or once for each candidate (soctk.training.candidates); then the
    records have `layers` and `pooling` too.

    Raises:
        SoctkError: the file cannot be read, or is no such log.
    """
    try:
        records = [parse_json(line) for line in run.log.read_text(encoding="utf-8").splitlines()]
        values = [_Record.model_validate(record) for record in records]
    except (OSError, ValidationError, ValueError) as error:
        raise _damaged(run, _describe(error)) from error
    keys = [(tuple(value.layers), value.pooling) for value in values]
    epochs, cs = (
        {(key, getattr(value, name)) for key, value in zip(keys, values, strict=True)} - {(key, None) for key in keys}
        for name in ("epoch", "C")
    )
    if not values or max(len(epochs), len(cs)) < len(values) or (epochs and cs):
        raise _damaged(run, "each record needs another value of epoch, or of C")
    return records


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'a record'}: {problem['msg']}"
    return str(error)


def _damaged(run: RunDirectory, what: str) -> SoctkError:
    return SoctkError(f"not a training log ({what})", "Remove the run's directory and train it again.", where=run.log)
