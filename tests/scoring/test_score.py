import json
import subprocess

import pytest
from conftest import run_python, write_run

from soctk.errors import SoctkError
from soctk.scoring import score


def test_means_and_deviations_equal_hand_worked_ones(tmp_path):
    # WA of seeds 1 and 2: 100 and 50 in fold 1, 50 and 0 in fold 2
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa ba")
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa ba")
    write_run(tmp_path / "m" / "fold2" / "seed2", "ab ba")
    (experiment,) = score.score([tmp_path])
    assert (experiment.name, experiment.seeds, experiment.protocol) == ("m", [1, 2], "unknown")
    assert experiment.folds["WA"].to_dict() == {1: 75.0, 2: 25.0}
    assert experiment.folds["utterances"].to_dict() == {1: 2, 2: 2}
    assert experiment.over_folds()["WA"].mean == 50.0
    assert experiment.over_folds()["WA"].sd == pytest.approx(35.3553, abs=1e-4)  # of 75 and 25
    assert experiment.over_seeds()["WA"].mean == 50.0
    assert experiment.over_seeds()["WA"].sd == pytest.approx(35.3553, abs=1e-4)  # of 75 and 25
    assert experiment.pooled["WA"].value == 50.0
    # over both seeds, 3 of 4 answers are correct for class a, and 1 of 4 for class b
    assert experiment.per_class["recall"].tolist() == [75, 25, 0]
    assert experiment.per_class["utterances"].tolist() == [2, 2, 0]
    assert experiment.confusion.to_numpy().tolist() == [[1.5, 0.5, 0], [1.5, 0.5, 0], [0, 0, 0]]


def test_the_name_of_an_experiment_is_its_path_below_the_scored_directory(tmp_path):
    for name in ("one", "deeper/two"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
    assert [experiment.name for experiment in score.score([tmp_path])] == ["deeper/two", "one"]
    assert [experiment.name for experiment in score.score([tmp_path, tmp_path / "one"])] == ["deeper/two", "one"]
    for below in ("one", "one/fold1", "one/fold1/seed1"):
        assert [experiment.name for experiment in score.score([tmp_path / below])] == ["one"]


def test_relative_paths_give_the_same_names(tmp_path, monkeypatch):
    write_run(tmp_path / "one" / "fold1" / "seed1", "aa bb")
    monkeypatch.chdir(tmp_path / "one" / "fold1")
    assert [experiment.name for experiment in score.score([score.Path("."), score.Path("..")])] == ["one"]


def test_two_experiments_with_one_name_are_refused(tmp_path):
    for name in ("a/m", "b/m"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
    with pytest.raises(SoctkError, match=r"b/m: two experiments have the name m; the other is .*/a/m\nRename one"):
        score.score([tmp_path / "a", tmp_path / "b"])


def test_a_data_directory_that_disagrees_with_the_predictions_is_refused(tmp_path, corpus):
    utterances = corpus.utterances_of([1])
    write_run(tmp_path / "m" / "fold2" / "seed1", " ".join(["aa"] * len(utterances)), utterances)
    with pytest.raises(SoctkError, match="2 speakers are tested in a fold that trained on them"):
        score.score([tmp_path / "m"], corpus.path)


def test_protocol_and_head_are_read_from_the_runs(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", config="protocol: emobox\nhead: {name: linear}\n")
    (experiment,) = score.score([tmp_path])
    assert (experiment.protocol, experiment.head) == ("emobox", "linear")


def test_scores_are_written_as_json(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb")
    (experiment,) = score.score([tmp_path])
    text = json.dumps(experiment.as_dict(), allow_nan=False)
    assert json.loads(text)["over_folds"]["WA"] == {"mean": 100.0, "sd": None}
    assert json.loads(text)["pooled"]["WA"] == {"value": 100.0, "low": None, "high": None}
    assert [json.loads(text)[key] for key in ("protocol", "is_recentred")] == ["unknown", False]
    groups = json.loads(text)["subgroups"]
    assert [(group["attribute"], group["value"], group["utterances"]) for group in groups] == [
        ("fold", "1", 2),
        ("speaker", "fold1", 2),
    ]
    assert groups[0]["scores"]["WA"] == {"value": 100.0, "low": None, "high": None}


@pytest.mark.parametrize(("by", "expected"), [("none", False), ("speaker", True)])
def test_recentring_is_a_field_and_does_not_change_the_name(tmp_path, by, expected):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", config=f"recentre: {{by: {by}}}\n")
    (experiment,) = score.score([tmp_path])
    assert (experiment.name, experiment.is_recentred) == ("m", expected)
    assert experiment.as_dict()["is_recentred"] is expected


def test_scoring_does_not_import_torch():
    modules = "predictions, recorded, runs, metrics, intervals, significance, subgroups, score, compare, published"
    process = run_python(
        f"import sys\nfrom soctk.scoring import {modules}\nprint('torch' in sys.modules)", stdout=subprocess.PIPE
    )
    assert process.communicate()[0] == "False\n"
