from pathlib import Path

import pytest

from soctk.errors import SoctkError
from soctk.scoring import recorded
from soctk.scoring.runs import RunDirectory


def write_config(run: RunDirectory, config: str) -> RunDirectory:
    run.path.mkdir(parents=True)
    run.config.write_text(config)
    return run


def message(*runs: RunDirectory) -> str:
    with pytest.raises(SoctkError) as error:
        recorded.read(runs)
    return str(error.value)


def test_the_settings_are_those_that_all_runs_share(tmp_path):
    runs = [
        write_config(
            RunDirectory(tmp_path / "exp", 1, seed),
            f"fold: 1\nseed: {seed}\nprotocol: soctk\nmade_with: {{torch: '2.{seed}', device: cpu}}\n"
            "made_from: {data: ../../../data}\n",
        )
        for seed in (1, 2)
    ]
    result = recorded.read([*runs, RunDirectory(tmp_path / "exp", 1, 3)])
    assert result.settings == {"protocol": "soctk"}
    assert result.made_with == ["torch 2.1, device cpu", "torch 2.2, device cpu"]
    assert result.made_from == {"data": Path(tmp_path / "data").resolve()}


def test_without_config_files_nothing_is_recorded(tmp_path):
    assert recorded.read([RunDirectory(tmp_path, 1, 1)]) == recorded.Recorded({}, [], {})


def test_different_settings_are_refused_and_the_difference_is_shown(tmp_path):
    runs = [
        write_config(RunDirectory(tmp_path, fold, 1), f"protocol: {protocol}\nfold: {fold}\n")
        for fold, protocol in ((1, "soctk"), (2, "soctk"), (3, "emobox"))
    ]
    assert message(*runs) == (
        f"{tmp_path}: the runs have different settings\n  protocol: soctk in fold2/seed1, emobox in fold3/seed1\n"
        "Train each setting in an experiment of its own (--tag)."
    )


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, []),
        ({"features": {"layers": [3, 4]}}, [3, 4]),
        ({"features": {"layers": [3, 4]}, "frames": {"layers": "all"}}, [3, 4]),
        ({"features": {"layers": [3, 4]}, "frames": {"layers": [4]}}, [4]),
    ],
)
def test_used_layers(settings, layers):
    assert recorded.used_layers(settings) == layers


@pytest.mark.parametrize(
    ("settings", "speeds"),
    [
        ({}, []),
        ({"features": {"speeds": [0.9, 1.1]}}, []),
        ({"features": {"speeds": [0.9, 1.1]}, "frames": {"speeds": "all"}}, [0.9, 1.1]),
        ({"features": {"speeds": [0.9, 1.1]}, "frames": {"speeds": [1.1]}}, [1.1]),
        ({"frames": {"speeds": "all"}}, []),
    ],
)
def test_used_speeds(settings, speeds):
    assert recorded.used_speeds(settings) == speeds


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, []),
        ({"features": {"augmentations": ["noise", "gain"]}}, []),
        ({"features": {"augmentations": ["noise", "gain"]}, "frames": {"speeds": []}}, ["noise", "gain"]),
        ({"features": {"augmentations": ["noise", "gain"]}, "frames": {"augment": "all"}}, ["noise", "gain"]),
        ({"features": {"augmentations": ["noise", "gain"]}, "frames": {"augment": ["gain"]}}, ["gain"]),
        ({"frames": {"speeds": []}}, []),
    ],
)
def test_used_augmentations(settings, names):
    assert recorded.used_augmentations(settings) == names


def test_a_store_at_one_level_is_known():
    assert recorded.has_equal_level({"features": {"normalise": "level"}})
    assert not any(recorded.has_equal_level(settings) for settings in ({}, {"features": {"normalise": "none"}}))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, False), ({"recentre": {"by": "none"}}, False), ({"recentre": {"by": "speaker"}}, True)],
)
def test_experiments_with_recentring_are_recognised(settings, expected):
    assert recorded.is_recentred(settings) is expected


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ("recentre: null\n", "recentre"),
        ("recentre: {by: null}\n", "recentre.by"),
        ("head: null\n", "head"),
        ("head: {name: []}\n", "head.name"),
        ("made_from: null\n", "made_from"),
        ("made_from: {data: 1}\n", "made_from.data"),
        ("made_with: x\n", "made_with"),
        ("protocol: [soctk]\n", "protocol"),
        ("pooling: [mean]\n", "pooling"),
        ("frames: {layers: null}\n", "frames.layers"),
        ("frames: {speeds: [x]}\n", "frames.speeds"),
        ("frames: {speeds: 0.9}\n", "frames.speeds"),
        ("features: {speeds: 3}\n", "features.speeds"),
        ("features: {augmentations: noise}\n", "features.augmentations"),
        ("features: {normalise: 1}\n", "features.normalise"),
        ("frames: {augment: [1]}\n", "frames.augment"),
        ("features: {upstream: null}\n", "features.upstream"),
        ("features: {num_layers: x, layers: 1}\n", "features.layers, features.num_layers"),
    ],
)
def test_a_wrong_type_is_refused(tmp_path, config, keys):
    run = write_config(RunDirectory(tmp_path, 1, 1), config)
    assert message(run) == (
        f"{run.config}: damaged: invalid value of {keys}\nRemove the run's directory and train it again."
    )
