import dataclasses
import json

import pytest
import yaml
from conftest import ROOT, write_run

from soctk.config import load
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.inference.pack import Packing, pack
from soctk.reporting import report
from soctk.scoring.logs import read as read_log
from soctk.scoring.runs import RunDirectory
from soctk.scoring.score import score
from soctk.training import nested
from soctk.training.inputs import Features
from soctk.training.sweep import Sweep

# Validation losses and test predictions of two points in two folds with one seed: by hand, fold 1 chooses A (0.5) with
# 3 of 4 right, and fold 2 chooses B (0.8) with 1 of 4 right. The best point on the average of both folds is A.
LOSSES = {"A": {1: (0.7, 0.5), 2: (1.0, 0.9)}, "B": {1: (0.6, 0.61), 2: (2.0, 0.8)}}
PAIRS = {"A": {1: "aa ab bb bb", 2: "aa aa bb bb"}, "B": {1: "ab ab ba ba", 2: "aa ab ba ba"}}
CONFIG = (
    "fold: {fold}\nseed: 1\nprotocol: soctk\nmade_with: {{soctk: '1'}}\nmade_from: {{data: ../../../../data}}\n"
    "pooling: {{{pooling}: {{}}}}\nframes: {{layers: {layers}, layer_norm: true}}\nhead: {{name: linear}}\n"
)


def write_points(sweep, losses=LOSSES, folds=(1, 2)) -> None:
    for (point, by_fold), layers in zip(losses.items(), ("[3]", "[4]"), strict=True):
        for fold in folds:
            run = RunDirectory(sweep / point, fold, 1)
            config = CONFIG.format(fold=fold, pooling="mean" if point == "A" else "stats", layers=layers)
            write_run(run.path, PAIRS[point][fold], [f"{fold}{i}-x" for i in range(4)], "ab", config)
            records = [{"C": 0.1 * i, "valid_loss": loss, "valid_WA": 0.5} for i, loss in enumerate(by_fold[fold], 1)]
            run.log.write_text("\n".join(map(json.dumps, records)))


def test_each_fold_takes_the_predictions_of_its_own_best_point(tmp_path):
    write_points(tmp_path)
    chosen = nested.write(tmp_path, ["A", "B"], [1, 2], [1])
    assert {str(run): point for run, point in chosen.items()} == {"fold1/seed1": "A", "fold2/seed1": "B"}
    for run, point in chosen.items():
        source = RunDirectory(tmp_path / point, run.fold, run.seed)
        assert run.predictions.read_bytes() == source.predictions.read_bytes()
    (scored,) = score([tmp_path / "nested"])
    assert scored.pooled["WA"].value == 50  # (3 + 1) / 8
    # Class a: 1 + 1 of 4 right, b: 2 + 0 of 4.
    assert scored.pooled["UA"].value == 50
    assert scored.runs["WA"].tolist() == [75, 25]
    assert scored.nested_choice == {"A": ["fold1/seed1"], "B": ["fold2/seed1"]}


def test_the_settings_are_those_that_all_points_share(tmp_path):
    write_points(tmp_path)
    nested.write(tmp_path, ["A", "B"], [1, 2], [1])
    settings = yaml.safe_load((tmp_path / "nested" / "fold2" / "seed1" / "config.yaml").read_text())
    assert settings == {
        "fold": 2,
        "seed": 1,
        "protocol": "soctk",
        "made_with": {"soctk": "1"},
        "made_from": {"data": "../../../../data"},
        "frames": {"layer_norm": True},
        "head": {"name": "linear"},
        "nested": {"points": ["A", "B"], "chosen": {"fold1/seed1": "A", "fold2/seed1": "B"}},
    }
    heading = report.make([tmp_path], "soctk-score").heading()
    assert (
        "nested: nested choice: each run uses the point with its lowest validation loss, of 2 points: A in "
        "fold1/seed1; B in fold2/seed1."
    ) in heading


def test_of_equal_losses_the_first_point_of_the_grid_is_chosen(tmp_path):
    write_points(tmp_path, {"A": LOSSES["A"], "B": LOSSES["A"]})
    assert set(nested.write(tmp_path, ["A", "B"], [1, 2], [1]).values()) == {"A"}
    assert set(nested.write(tmp_path, ["B", "A"], [1, 2], [1]).values()) == {"B"}


def test_a_later_choice_replaces_all_runs_of_the_earlier_one(tmp_path):
    write_points(tmp_path)
    nested.write(tmp_path, ["B"], [1, 2], [1])
    (tmp_path / "nested" / "fold1" / "seed1.unfinished").mkdir()  # left by a killed process
    nested.write(tmp_path, ["A", "B"], [1], [1])
    assert [str(run) for run in RunDirectory.of_experiment(tmp_path / "nested")] == ["fold1/seed1"]
    (scored,) = score([tmp_path / "nested"])
    assert scored.pooled["WA"].value == 75


def test_a_missing_log_is_told(tmp_path):
    write_points(tmp_path)
    log = RunDirectory(tmp_path / "B", 2, 1).log
    log.unlink()
    with pytest.raises(SoctkError) as error:
        nested.write(tmp_path, ["A", "B"], [1, 2], [1])
    assert str(error.value) == f"{log}: missing\nRemove the run's directory and train it again."
    assert not (tmp_path / "nested").exists()


def test_points_with_and_without_recordings_of_the_test_speakers_are_not_mixed():
    configs = [
        load([ROOT / "conf"], "mean", "linear", overrides=[f"recentre.by={by}"]) for by in ("none", "speaker", "none")
    ]
    nested.check(configs[::2])
    with pytest.raises(SoctkError, match=r"--nested with the axis recentre\.by: some points use unlabelled recordings"):
        nested.check(configs)


def test_a_nested_choice_is_not_packed_as_a_model(tmp_path):
    write_points(tmp_path)
    nested.write(tmp_path, ["A", "B"], [1, 2], [1])
    with pytest.raises(SoctkError, match="this is a choice among the points of a sweep in each fold, not one model"):
        pack(Packing(tmp_path / "nested"), tmp_path / "model")


@pytest.mark.parametrize(
    ("head", "protocol", "overrides"),
    [
        ("linear", "soctk", ["head.C=[0.01, 0.1]"]),
        ("linear", "emobox", ["head.C=[0.01, 0.1]"]),
        ("mlp", "soctk", ["train.epochs=2", "train.batch_size=8"]),
    ],
)
def test_the_choice_of_a_fold_does_not_depend_on_the_labels_of_its_test_utterances(
    head, protocol, overrides, tmp_path, corpus
):
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))
    tested = [utt for utt in corpus.utterances if corpus.fold[corpus.speaker[utt]] == 1]
    turned = dict(zip(tested, [corpus.emotion[utt] for utt in tested[1:] + tested[:1]], strict=True))
    assert turned != {utt: corpus.emotion[utt] for utt in tested}
    losses = []
    for name, data in (("true", corpus), ("turned", dataclasses.replace(corpus, emotion=corpus.emotion | turned))):
        features = Features(FeatureStore.open(tmp_path / "feats"), data.utterances)
        model = {"conf_dirs": [ROOT / "conf"], "head": head, "overrides": overrides}
        sweep = Sweep({"pooling": ["mean", "stats"]}, protocol, model, is_nested=True)
        sweep.run(data, features, tmp_path / name, [1], [1], nj=1)
        settings = yaml.safe_load(RunDirectory(tmp_path / name / "nested", 1, 1).config.read_text())
        runs = [RunDirectory(tmp_path / name / f"pooling={pooling}", 1, 1) for pooling in ("mean", "stats")]
        losses.append(([[record["valid_loss"] for record in read_log(run)] for run in runs], settings["nested"]))
    assert losses[0] == losses[1]
