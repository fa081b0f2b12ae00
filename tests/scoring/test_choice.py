import json

import pytest

from soctk.errors import SoctkError
from soctk.scoring import choice
from soctk.scoring.choice import Choice
from soctk.scoring.runs import RunDirectory


def records(name: str, *pairs: tuple[float, float]) -> list[dict]:
    return [{name: value, "valid_loss": loss, "valid_WA": 0.5} for value, loss in pairs]


@pytest.mark.parametrize(
    ("name", "pairs", "text", "edge"),
    [
        ("C", [(0.003, 2), (0.03, 1), (1.0, 3)], "C = 0.03 (grid 0.003 to 1)", ""),
        ("C", [(0.003, 2), (1.0, 1)], "C = 1, the largest of its grid (0.003 to 1)", "largest"),
        ("C", [(3e-6, 1), (1.0, 1)], "C = 3e-06, the smallest of its grid (3e-06 to 1)", "smallest"),
        ("C", [(0.1, 1)], "C = 0.1 (the only value)", ""),
        ("epoch", [(1, 1), (2, 3), (3, 2)], "epoch 1 of 3", ""),
        ("epoch", [(1, 3), (2, 2)], "epoch 2 of 2, the last one", "largest"),
        ("epoch", [(1, 3)], "epoch 1 of 1", ""),
    ],
)
def test_a_choice_names_what_it_counts_and_whether_it_is_at_an_edge(name, pairs, text, edge):
    chosen = Choice.of(records(name, *pairs))
    assert (chosen.describe(), chosen.edge) == (text, edge)


def test_notes_count_the_runs_at_each_edge(tmp_path):
    runs = [RunDirectory(tmp_path, fold, 1) for fold in range(1, 7)]
    logs = [
        records("C", (0.1, 2), (1.0, 1)),
        records("C", (0.1, 2), (1.0, 1), (10.0, 0)),
        records("C", (0.1, 1), (1.0, 2)),
        records("C", (0.1, 2), (0.5, 1), (1.0, 2)),
    ]
    for run, log in zip(runs, logs, strict=False):
        run.path.mkdir(parents=True)
        run.log.write_text("".join(json.dumps(record) + "\n" for record in log))
    assert choice.read(runs[4]) is None
    assert [line.partition(": ")[0] for line in choice.notes(runs)] == [
        "C is the largest of its grid (1, 10) in 2 of 6 runs",
        "C is the smallest of its grid (0.1) in 1 of 6 runs",
    ]
    for damaged in ("", "{", "[]", '{"C": 1}', '"C"'):
        runs[3].log.write_text(damaged)
        with pytest.raises(SoctkError, match=r"fold4/seed1/train\.jsonl: not a training log .*\nRemove the run's"):
            choice.read(runs[3])
        told = "fold4/seed1/train.jsonl is damaged; to renew it, remove the run's directory and train again"
        assert told in choice.notes(runs)


def test_notes_on_epochs(tmp_path):
    run = RunDirectory(tmp_path, 1, 1)
    run.path.mkdir(parents=True)
    run.log.write_text("".join(json.dumps(r) + "\n" for r in records("epoch", (1, 3), (2, 2))))
    assert choice.notes([run]) == [
        "the last epoch has the lowest validation loss in 1 of 1 runs: more epochs may give better scores "
        "(--set train.epochs=N; of soctk-finetune: finetune.epochs=N)"
    ]
