import itertools
import json
from datetime import date
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import ROOT

from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.mappings import read_yaml
from soctk.scoring.runs import RunDirectory
from soctk.training import local_runs
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features
from soctk.training.settings import resolve
from soctk.training.sweep import Sweep, edges

CONF = [ROOT / "conf"]
QUICK = ["train.epochs=3", "train.batch_size=8"]


@pytest.fixture
def features(tmp_path, corpus) -> Features:
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))
    return Features(FeatureStore.open(tmp_path / "feats"), corpus.utterances)


@pytest.mark.slow
def test_every_point_is_trained_once_and_the_best_validation_score_comes_first(tmp_path, corpus, features, monkeypatch):
    grid = {"pooling": ["mean", "mean+soc_full"], "head": ["mlp"], "train.lr": [1e-5, 1e-2]}
    described = []
    blocks = features.blocks
    monkeypatch.setattr(features, "blocks", lambda config, nj: described.append(config) or blocks(config, nj))
    sweep = Sweep(grid, "soctk", {"conf_dirs": CONF, "overrides": QUICK})
    table = sweep.run(corpus, features, tmp_path / "sweep", [1, 2], [1], nj=1)
    assert list(table["valid_WA"]) == sorted(table["valid_WA"], reverse=True)
    assert {tuple(row) for row in table[["pooling", "train.lr"]].to_numpy()} == {
        (pooling, rate) for pooling in grid["pooling"] for rate in ("1e-05", "0.01")
    }
    assert len(described) == 2  # two learning rates are trained together
    assert len(features._blocks) == 2  # mean and soc_full, each computed once
    for _, row in table.iterrows():
        records = [
            min(map(json.loads, path.read_text().splitlines()), key=lambda record: record["valid_loss"])
            for path in (tmp_path / "sweep" / row["name"]).glob("fold*/seed1/train.jsonl")
        ]
        assert row["runs"] == len(records) == 2
        assert row["valid_WA"] == pytest.approx(50 * sum(record["valid_WA"] for record in records))
    text = (tmp_path / "sweep" / "sweep.tsv").read_text()
    assert text.splitlines()[0].split("\t") == list(table.columns)
    sweep.run(corpus, features, tmp_path / "sweep", [1, 2], [1], nj=1)
    assert len(described) == 2
    assert (tmp_path / "sweep" / "sweep.tsv").read_text() == text


@pytest.mark.parametrize("pooling", ["soc", "mean"])
@pytest.mark.parametrize("one_stack", [False, True], ids=["processes", "one-stack"])
def test_points_that_are_trained_together_equal_experiments_alone(
    tmp_path, corpus, features, pooling, one_stack, monkeypatch, capsys
):
    if one_stack:  # all points and seeds, as on a GPU
        monkeypatch.setattr(
            local_runs,
            "_stacks",
            lambda runs, inputs: [list(runs)],
        )
    grid = {"train.lr": [1e-3, 1e-2], "head.dropout": [0, 0.6], "train.epochs": [2, 4]}
    options = {"conf_dirs": CONF, "pooling": pooling, "head": "mlp", "overrides": ["train.batch_size=8"]}
    table = Sweep(grid, "soctk", options).run(corpus, features, tmp_path / "sweep", [1, 2], [1, 2], nj=2)
    assert len(table) == 8
    lines = capsys.readouterr().out
    for lr, dropout, epochs in itertools.product(*grid.values()):
        name = f"train.lr={lr},head.dropout={dropout},train.epochs={epochs}"
        overrides = [*options["overrides"], f"train.lr={lr}", f"head.dropout={dropout}", f"train.epochs={epochs}"]
        settings = resolve(**options | {"overrides": overrides, "protocol": "soctk"})
        assert f"{name}: fold 2, seed 1: epoch" in lines
        Experiment(settings, corpus, features, tmp_path / "alone" / name).run([2], [1])
        own, alone = (RunDirectory(tmp_path / kind / name, 2, 1) for kind in ("sweep", "alone"))
        assert read_yaml(own.config) == read_yaml(alone.config)
        assert len(own.log.read_text().splitlines()) == epochs
        one, other = (pd.read_csv(run.predictions, sep="\t") for run in (own, alone))
        pd.testing.assert_frame_equal(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [2, 2, 2, 2]), ("cuda", [3, 3, 2])])
def test_a_stack_has_the_folds_of_a_point_and_a_seed_or_on_a_gpu_all_runs(
    tmp_path, corpus, features, monkeypatch, device, sizes
):
    monkeypatch.setattr(local_runs, "_MOST_RUNS", 3)
    settings = resolve(conf_dirs=CONF, pooling="soc", head="mlp")
    experiments = [Experiment(settings, corpus, features, tmp_path / name, device) for name in "ab"]
    places = itertools.product(experiments, (1, 2), (1, 2))
    runs = [(experiment, RunDirectory(experiment.path, fold, seed)) for experiment, fold, seed in places]
    stacks = local_runs._stacks(runs, SimpleNamespace(frames="frames"))
    assert [len(stack) for stack in stacks] == sizes
    if device == "cpu":
        assert all(len({(run.experiment, run.seed) for _, run in stack}) == 1 for stack in stacks)


def test_a_finished_run_without_its_training_log_is_refused(tmp_path, corpus, features):
    sweep = Sweep({"pooling": ["mean"], "head.C": [[0.1]]}, "soctk", {"conf_dirs": CONF, "head": "linear"})
    name = sweep.run(corpus, features, tmp_path / "sweep", [1], [1], nj=1)["name"][0]
    log = tmp_path / "sweep" / name / "fold1" / "seed1" / "train.jsonl"
    log.unlink()
    with pytest.raises(SoctkError) as error:
        sweep.run(corpus, features, tmp_path / "sweep", [1], [1], nj=1)
    assert str(error.value) == f"{log}: missing\nRemove the run's directory and train it again."


def test_directory_names_of_points_contain_no_special_characters(tmp_path, corpus, features):
    grid = {"head": ["linear"], "head.C": [[1.0, 10.0]], "pooling": ["mean"]}
    table = Sweep(grid, "soctk", {"conf_dirs": CONF}).run(corpus, features, tmp_path / "sweep", [1], [1], nj=1)
    assert table["name"].tolist() == ["head=linear,head.C=1.0-10.0,pooling=mean"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"pooling": ["mean"], "head": ["mlp"], "train.lr": [1e-3, -1]}, r"train\.lr: Input should be greater than 0"),
        ({"pooling": [1]}, "--grid pooling: 1 is not a name"),
        ({"pooling": [["mean", "soc"]]}, r"--grid pooling: \['mean', 'soc'\] is not a name"),
        ({"head": [None], "pooling": ["mean"]}, "--grid head: None is not a name"),
        (
            {"pooling": ["mean"], "head": ["mlp"], "train.lr": [date(2020, 1, 1)]},
            r"train\.lr: Input should be a valid number",
        ),
        ({"head": ["linear"], "pooling": ["mean"], "recentre.enrol": [1, 5]}, "recentre: .*enrol needs by: speaker"),
        ({"head": ["linear"], "pooling": ["mean", "soc"]}, "the head linear cannot train the pooling soc"),
        ({"pooling": ["mean"], "frames.layers": ["auto", [30]]}, "feats: the store has no hidden state 30, only 0"),
        ({"pooling": ["mean"], "frames.speeds": ["all", [0.9]]}, "the store has no copies at speed 0.9"),
        ({"pooling": ["mean"], "frames.augment": ["all", ["noise"]]}, "the store has no copies with noise"),
        (
            {"pooling": ["mean"], "head": ["mlp"], "train.lr": [1e-3, 0.001]},
            "have the name .*train.lr=0.001\nWrite each",
        ),
        (
            {"pooling": ["mean"], "head": ["mlp"], "train.lr": [2]},
            r"train\.lr: Input should be less than or equal to 1",
        ),
        (
            {"pooling": ["mean"], "head": ["mlp"], "train.lr": [0.1], "train.weight_decay": [11]},
            "lr times weight_decay, the share that a step takes from each weight, must be at most 1",
        ),
    ],
)
def test_a_wrong_setting_of_any_point_is_reported_before_training(grid, message, tmp_path, corpus, features):
    with pytest.raises(SoctkError, match=message):
        Sweep(grid, "soctk", {"conf_dirs": CONF}).run(corpus, features, tmp_path / "sweep", [1], [1], nj=1)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("values", "best", "line"),
    [
        ([1e-4, 1e-3, 1e-2], "0.01", "train.lr=0.01 is at the edge of its values: larger values may be better"),
        ([1e-2, 1e-3], "0.001", "train.lr=0.001 is at the edge of its values: smaller values may be better"),
        ([1e-4, 1e-3, 1e-2], "0.001", None),
        ([1e-3], "0.001", None),
        (["1e-4", "1e-3", 0.01], "1e-4", "train.lr=1e-4 is at the edge of its values: smaller values may be better"),
        (["1e-4", "1e-3", 0.01], "1e-3", None),
        (["1e-4", 1e-3, "all"], "1e-4", None),
        (["mean", "stats"], "mean", None),
        ([True, False], "True", None),
        ([[3], [3, 4]], "[3]", None),
        (["all", 1, 5], "5", None),
    ],
)
def test_the_best_number_at_an_edge_of_its_axis_is_told(values, best, line):
    assert edges({"train.lr": values}, {"train.lr": best}) == ([line] if line else [])
