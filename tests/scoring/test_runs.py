from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.scoring.runs import RunDirectory


def test_the_files_of_a_run():
    run = RunDirectory(Path("exp/mean"), fold=3, seed=12)
    assert run.path == Path("exp/mean/fold3/seed12")
    assert run.config == Path("exp/mean/fold3/seed12/config.yaml")
    assert run.weights == Path("exp/mean/fold3/seed12/model.safetensors")
    assert run.log == Path("exp/mean/fold3/seed12/train.jsonl")
    assert run.predictions == Path("exp/mean/fold3/seed12/predictions.tsv")
    assert str(run) == "fold3/seed12"


@given(fold=st.integers(0, 10**6), seed=st.integers(0, 10**9))
def test_parsing_the_path_of_a_run_returns_the_run(fold, seed):
    run = RunDirectory(Path("/exp/fold1/seed1/nested"), fold, seed)
    assert RunDirectory.parse(run.path) == run


@pytest.mark.parametrize(
    "path",
    [
        "seed1",
        "fold1",
        "exp/fold1",
        "exp/fold1/seed1.unfinished",
        "exp/fold1/seed1/predictions.tsv",
        "exp/fold/seed1",
        "exp/fold1/seed",
        "exp/fold-1/seed1",
        "exp/fold01/seed1",  # RunDirectory(exp, 1, 1) is another directory
        "exp/fold1/seed\u0661",  # an Arabic digit
        "exp/fold1/x/seed1",
        "",
    ],
)
def test_other_paths_are_not_runs(path):
    assert RunDirectory.parse(Path(path)) is None


def test_a_relative_path_of_two_parts_is_a_run_of_the_working_directory():
    assert RunDirectory.parse(Path("fold1/seed2")) == RunDirectory(Path(), 1, 2)


def test_the_finished_runs_of_an_experiment_are_sorted_by_number(tmp_path):
    for name in (
        "fold10/seed1",
        "fold2/seed10",
        "fold2/seed9",
        "fold1/seed1.unfinished",
        "figures/seed1",
        "foldx/seed1",
    ):
        (tmp_path / name).mkdir(parents=True)
    assert [str(run) for run in RunDirectory.of_experiment(tmp_path)] == ["fold2/seed9", "fold2/seed10", "fold10/seed1"]


def test_a_missing_experiment_has_no_runs(tmp_path):
    assert RunDirectory.of_experiment(tmp_path / "missing") == []
