import re

import pytest
import yaml

from soctk import config, mappings
from soctk.errors import SoctkError
from soctk.training import settings


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "pooling").mkdir()
    return tmp_path


def test_shipped_defaults_are_valid_for_every_pooling(conf):
    for file in (conf[0] / "pooling").glob("*.yaml"):
        assert list(config.load(conf, file.stem).pooling) == [file.stem]


def test_joined_poolings_keep_their_order_and_their_own_options(conf):
    merged = config.load(conf, "soc_full+soc+mean", overrides=["pooling.soc.d=5", "pooling.soc_full.d=7"])
    assert list(merged.pooling) == ["soc_full", "soc", "mean"]
    assert (merged.pooling["soc"]["d"], merged.pooling["soc_full"]["d"], merged.pooling["mean"]) == (5, 7, {})


def test_a_linear_head_has_no_training_loop(conf):
    settings = config.load(conf, "mean", "linear", overrides=["head.C=[1, 10]"])
    assert (settings.head.name, settings.head.C, settings.train) == ("linear", [1, 10], None)
    with pytest.raises(
        SoctkError,
        match="the head linear does not use the training loop, so this setting has no effect\nChoose --head mlp",
    ):
        config.load(conf, "mean", "linear", overrides=["train.lr=1e-3"])


@pytest.mark.parametrize("value", ["0", "1e-13", "1.1e+12", ".inf"])
def test_values_of_c_that_no_training_log_can_hold_are_refused(conf, value):
    with pytest.raises(SoctkError, match=r"head\.C\.0: Input should be "):
        config.load(conf, "mean", "linear", overrides=[f"head.C=[{value}]"])
    assert config.load(conf, "mean", "linear", overrides=["head.C=[1.0e-12, 1.0e+12]"]).head.C == [1e-12, 1e12]


def test_a_later_conf_directory_replaces_only_the_keys_that_it_sets(conf, recipe):
    (recipe / "train.yaml").write_text("lr: 0.01\n")
    (recipe / "pooling" / "soc.yaml").write_text("d: 8\n")
    shipped, merged = config.load(conf, "soc"), config.load([*conf, recipe], "soc")
    assert merged.train.lr == 0.01
    assert merged.pooling == {"soc": shipped.pooling["soc"] | {"d": 8}}
    assert merged.train.model_copy(update={"lr": shipped.train.lr}) == shipped.train


def test_an_override_replaces_the_value_of_every_conf_directory(conf, recipe):
    (recipe / "train.yaml").write_text("lr: 0.01\n")
    merged = config.load([*conf, recipe], "soc", overrides=["train.lr=1e-3", "pooling.d=16", "pooling.soc.eps=1e-6"])
    assert merged.train.lr == 1e-3
    assert merged.pooling["soc"] == config.load(conf, "soc").pooling["soc"] | {"d": 16, "eps": 1e-6}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rat: 1\nlr: 0.1\n", "unknown key 'learning_rat'"),
        ("patiense: 3\n", "Did you mean 'patience'?"),
        ("epochs: many\n", "train.epochs: Input should be a valid integer"),
        ("lr: .inf\n", "train.lr: Input should be a finite number"),
        ("lr: -1\n", "train.lr: Input should be greater than 0, not -1"),
        ("- a list\n", "not a YAML mapping"),
        ("a: b: c\n", "not valid YAML"),
        ("lr: !!python/object/apply:os.system [true]\n", "not valid YAML"),
    ],
)
def test_an_invalid_settings_file_is_refused_with_its_path(conf, recipe, content, message):
    (recipe / "train.yaml").write_text(content)
    with pytest.raises(SoctkError) as error:
        config.load([*conf, recipe], "soc")
    assert message in str(error.value)
    assert str(recipe) in str(error.value)


def test_all_invalid_settings_are_listed_in_one_error(conf, recipe):
    (recipe / "train.yaml").write_text("epochs: 0\nlr: fast\n")
    with pytest.raises(SoctkError, match=r"(?s)2 settings are wrong.*train\.epochs.*train\.lr"):
        config.load([*conf, recipe], "soc")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=1", "not of the form SECTION.KEY=VALUE"),
        ("train.lr", "not of the form SECTION.KEY=VALUE"),
        ("trian.lr=1", "Did you mean 'train'?"),
        ("train.lrr=1", "Did you mean 'lr'?"),
        ("head.hiden=1", "head: unknown key 'hiden'. Did you mean 'hidden'?"),
        ("head.name=linear", "--set head.name=linear: this is no setting\nChoose the head with --head."),
        ("head.x=1", "head: unknown key 'x'. Known: class_weight, dropout, hidden."),
        (
            "x",
            "--set x: not of the form SECTION.KEY=VALUE\nWrite e.g. --set frames.layers=[3, 4]. Sections: frames, ",
        ),
        ("pooling.d=1", "the name of the pooling is missing\nWrite pooling.NAME.d, where NAME is one of mean, soc."),
        ("pooling.sok.d=1", "Did you mean 'soc'?"),
        ("frames.layers=[3, 4, 3]", "frames.layers: Value error, each layer may be listed only once"),
    ],
)
def test_an_invalid_override_is_refused(conf, override, message):
    with pytest.raises(SoctkError) as error:
        config.load(conf, "mean+soc", overrides=[override])
    assert message in str(error.value)


def test_an_unknown_settings_file_is_refused(conf, recipe):
    (recipe / "trian.yaml").write_text("lr: 1\n")
    with pytest.raises(SoctkError, match=r"unknown settings file 'trian\.yaml'\nDid you mean 'train\.yaml'\?"):
        config.load([*conf, recipe], "soc")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("train.yml", "unknown settings file 'train.yml'\nDid you mean 'train.yaml'? Known: finetune.yaml, folds.yaml"),
        ("pooling/socfull.yaml", "Did you mean 'soc_full.yaml'? Known: asp.yaml, corr.yaml, mean.yaml, soc.yaml, "),
        ("head/mpl.yml", "unknown settings file 'mpl.yml'\nKnown: linear.yaml, mlp.yaml."),
    ],
)
def test_a_settings_file_that_no_command_reads_is_refused(conf, tmp_path, file, message):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("lr: 1\n")
    with pytest.raises(SoctkError) as error:
        config.load([*conf, tmp_path], "soc")
    assert message in str(error.value)


def test_an_empty_name_is_no_default():
    for option in ("pooling", "head"):
        with pytest.raises(SoctkError, match=f"unknown {option} ''"):
            settings.resolve(**{option: ""})


def test_an_unknown_pooling_lists_the_known_ones(conf):
    with pytest.raises(SoctkError) as error:
        config.load(conf, "maen")
    assert "Did you mean 'mean'? Known: asp, auto, corr, mean, soc, soc_full, soc_nolem, stats" in str(error.value)
    with pytest.raises(SoctkError, match=r"unknown head 'liner'\nDid you mean 'linear'\? Known: auto, linear, mlp\."):
        config.load(conf, "mean", "liner")


def test_a_pooling_named_twice_is_refused(conf):
    with pytest.raises(SoctkError, match=r"--pooling mean\+mean: a pooling is named twice"):
        config.load(conf, "mean+mean")


def test_a_missing_key_is_named(recipe):
    (recipe / "pooling" / "mean.yaml").touch()
    (recipe / "head").mkdir()
    (recipe / "head" / "mlp.yaml").touch()
    with pytest.raises(SoctkError, match=r"train\.lr: missing"):
        config.load([recipe], "mean")


def test_differences_name_the_nested_keys():
    stored = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert mappings.differences(stored, stored) == []
    assert mappings.differences(stored, {"a": {"b": 1, "c": 3}, "e": 0}) == [
        "a.c: 2 stored, 3 requested",
        "d: [1] stored, None requested",
        "e: None stored, 0 requested",
    ]


def test_a_resolved_config_survives_yaml(conf):
    settings = config.load(conf, "soc").model_dump()
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings


def test_the_upstreams_of_the_paper_have_files_with_their_shapes(conf):
    for name in ("wav2vec2_base", "hubert_base", "wavlm_base_plus"):
        known = config.load_upstream(conf, name)
        assert (known.layers, known.hidden_size, known.frame_shift_ms) == (12, 768, 20)
        assert "/" in known.source
    assert config.load_upstream(conf, "fbank") is None


def test_upstream_files_of_a_recipe_are_merged_with_soctks_and_validated(conf, recipe):
    (recipe / "upstream").mkdir()
    (recipe / "upstream" / "hubert_base.yaml").write_text("source: my/own\n")
    known = config.load_upstream([*conf, recipe], "hubert_base")
    assert (known.source, known.layers) == ("my/own", 12)
    (recipe / "upstream" / "mine.yaml").write_text("source: my/own\nlayers: many\n")
    with pytest.raises(
        SoctkError, match=r"mine.yaml: wrong settings\n  layers: Input should be a valid integer(?s:.*)Field required"
    ):
        config.load_upstream([*conf, recipe], "mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr: 1\nepochs: 2\nlr: 2\n", "not valid YAML: 'lr' is given twice"),
        ("a: {b: 1, 'b': 2}\n", "not valid YAML: 'b' is given twice"),
        ("day: 2024-13-45\n", "not valid YAML: month must be in 1..12"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML: could not determine a constructor"),
    ],
)
def test_repeated_keys_and_invalid_yaml_are_refused(tmp_path, content, message):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(SoctkError, match=rf"x\.yaml: {re.escape(message)}"):
        mappings.read_yaml(tmp_path / "x.yaml")


def test_keys_and_values_can_be_read_as_they_are_written(tmp_path):
    (tmp_path / "x.yaml").write_text("03: no\n0x1f: 1_0\n1.0: 2024-01-02\nyes: [~, 0o7, 'null']\n<<: =\n'': null\n")
    assert mappings.read_yaml(tmp_path / "x.yaml", as_text=True) == {
        "03": "no",
        "0x1f": "1_0",
        "1.0": "2024-01-02",
        "yes": [None, "0o7", "null"],
        "<<": "=",
        "": None,
    }
    (tmp_path / "x.yaml").write_text("1: a\n'1': b\n")
    with pytest.raises(SoctkError, match="'1' is given twice"):
        mappings.read_yaml(tmp_path / "x.yaml", as_text=True)


def test_a_key_may_replace_one_of_a_yaml_merge(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}\n1: x\n'1': y\n")
    assert mappings.read_yaml(tmp_path / "x.yaml") == {"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}, 1: "x", "1": "y"}
