"""What a run chose by its validation loss: C of the head linear, or the epoch of the head mlp.

A run of the head linear may choose hidden states and pooling layers too (soctk.training.candidates).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from soctk.errors import SoctkError, plural
from soctk.scoring import logs
from soctk.scoring.runs import RunDirectory

_ADVICE = {
    ("C", "largest"): "larger values may give better scores (--set head.C=[...])",
    ("C", "smallest"): "the descriptors hardly help to recognise the emotions of other speakers, or smaller values "
    "give better scores (--set head.C=[...])",
    (
        "epoch",
        "largest",
    ): "more epochs may give better scores (--set train.epochs=N; of soctk-finetune: finetune.epochs=N)",
}


@dataclass(frozen=True)
class Choice:
    """The choice of one run.

    Attributes:
        name: `C` or `epoch`.
        record: the record of train.jsonl with the lowest validation loss (soctk.training.trainers.Trainer.train).
        lowest: the smallest value that was tried, with the chosen hidden states and pooling layers.
        highest: the largest value that was tried with them.
        edge: `smallest` or `largest` if the chosen value is at an edge of several values that were tried; else empty.
            The first epoch is no edge, since a run cannot have fewer.
        candidate: the chosen hidden states and pooling layers, such as `layers 2 3 4 5` or `layer 6, mean`; empty if
            there was no choice. A part that is the same in all records is left out.
    """

    name: Literal["C", "epoch"]
    record: Mapping[str, Any]
    lowest: float
    highest: float
    edge: Literal["smallest", "largest", ""]
    candidate: str = ""

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> "Choice":
        """Return the choice among the records of a run."""
        name: Literal["C", "epoch"] = "C" if "C" in records[0] else "epoch"
        best = min(records, key=lambda record: record["valid_loss"])
        values = sorted(record[name] for record in of_chosen(records))
        edge: Literal["smallest", "largest", ""] = ""
        if len(values) > 1 and best[name] == values[-1]:
            edge = "largest"
        elif len(values) > 1 and best[name] == values[0] and name == "C":
            edge = "smallest"
        return cls(name, best, values[0], values[-1], edge, _describe_candidate(best, records))

    def describe(self) -> str:
        """Return the choice as a clause, such as `layers 2 3, C = 0.03 (grid 0.003 to 1)` or `epoch 34 of 49`."""
        return ", ".join(filter(None, (self.candidate, self._describe_value())))

    def _describe_value(self) -> str:
        value = self.record[self.name]
        if self.name == "epoch":
            return f"epoch {value} of {self.highest}" + (", the last one" if self.edge else "")
        if self.lowest == self.highest:
            return f"C = {value:g} (the only value)"
        grid = f"{self.lowest:g} to {self.highest:g}"
        return f"C = {value:g}, the {self.edge} of its grid ({grid})" if self.edge else f"C = {value:g} (grid {grid})"

    def scores(self) -> str:
        """Return the validation scores of the choice, such as `WA 71.2, UA 69.9` (in %) or `CCC 0.612`."""
        named = {key.removeprefix("valid_"): value for key, value in self.record.items() if key.startswith("valid_")}
        return ", ".join(
            f"{name} {value:.3f}" if name == "CCC" else f"{name} {100 * value:.1f}"
            for name, value in named.items()
            if name != "loss"
        )


def of_chosen(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records of a run with the chosen hidden states and pooling layers: one for each C, or each epoch."""
    best = min(records, key=lambda record: record["valid_loss"])
    return [record for record in records if _candidate(record) == _candidate(best)]


def read(run: RunDirectory) -> Choice | None:
    """Read the choice of a run from its train.jsonl; return None if the file is missing.

    Raises:
        SoctkError: the file is damaged.
    """
    return Choice.of(logs.read(run)) if run.log.is_file() else None


def require(run: RunDirectory) -> Choice:
    """Read the choice of a run from its train.jsonl.

    Raises:
        SoctkError: the file is missing or damaged.
    """
    choice = read(run)
    if choice is None:
        raise SoctkError("missing", remedy="Remove the run's directory and train it again.", where=run.log)
    return choice


def describe_candidates(runs: Sequence[RunDirectory]) -> str:
    """Return the chosen hidden states and pooling layers of all runs, such as `layers 2 3 4 5 in 5 runs, layer 6 in 1`.

    Returns:
        The most frequent choice first; an empty string if there was no choice. Runs without a readable train.jsonl are
        not counted; `notes` tells of damaged ones.
    """
    counts: Counter[str] = Counter()
    for run in runs:
        with suppress(SoctkError):
            choice = read(run)
            counts.update([choice.candidate] if choice and choice.candidate else [])
    first, *others = counts.most_common() or [("", 0)]
    described = [f"{first[0]} in {plural(first[1], 'run')}", *(f"{name} in {count}" for name, count in others)]
    return "; ".join(described) if first[0] else ""


def notes(runs: Sequence[RunDirectory]) -> list[str]:
    """Return a clause for each edge at which runs chose a value, with their number and advice."""
    edges: dict[tuple[str, str], list[float]] = {}
    lines = []
    for run in runs:
        try:
            choice = read(run)
        except SoctkError:  # scores need predictions only
            lines.append(f"{run}/{run.log.name} is damaged; to renew it, remove the run's directory and train again")
            continue
        if choice and choice.edge:
            edges.setdefault((choice.name, choice.edge), []).append(choice.record[choice.name])
    for (name, edge), values in edges.items():
        what = f"C is the {edge} of its grid" if name == "C" else "the last epoch has the lowest validation loss"
        shown = f" ({', '.join(f'{value:g}' for value in sorted(set(values)))})" if name == "C" else ""
        lines.append(f"{what}{shown} in {len(values)} of {len(runs)} runs: {_ADVICE[name, edge]}")
    return lines


def _candidate(record: Mapping[str, Any]) -> tuple[tuple[int, ...], str]:
    return tuple(record.get("layers", ())), record.get("pooling", "")


def _describe_candidate(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    layers, pooling = _candidate(record)
    tried = [_candidate(other) for other in records]
    described = f"layer{'s' if len(layers) > 1 else ''} {' '.join(map(str, layers))}"
    parts = [described if any(other != layers for other, _ in tried) else ""]
    parts.append(pooling if any(other != pooling for _, other in tried) else "")
    return ", ".join(filter(None, parts))
