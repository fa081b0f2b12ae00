import pytest
from conftest import ROOT

from soctk.errors import SoctkError
from soctk.training import settings


@pytest.mark.parametrize(
    ("options", "poolings", "head", "combine"),
    [
        ({}, ["mean", "soc_full"], "linear", "concat"),
        ({"pooling": "stats"}, ["stats"], "linear", "concat"),
        ({"pooling": "mean+asp"}, ["mean", "asp"], "mlp", "sum"),
        ({"pooling": "soc_nolem"}, ["soc_nolem"], "mlp", "sum"),
        ({"pooling": "mean", "head": "mlp"}, ["mean"], "mlp", "sum"),
        ({"pooling": "mean", "head": "mlp", "combine": "concat"}, ["mean"], "mlp", "concat"),
        ({"head": "linear", "overrides": ["frames.combine=sum"]}, ["mean", "soc_full"], "linear", "sum"),
        ({"preset": "paper"}, ["soc"], "mlp", "sum"),
        ({"preset": "paper", "pooling": "mean"}, ["mean"], "mlp", "sum"),
        ({"preset": "paper", "pooling": "mean", "head": "auto"}, ["mean"], "linear", "concat"),
    ],
)
def test_head_and_combination_follow_the_pooling_and_the_preset(options, poolings, head, combine):
    config = settings.resolve(**options)
    assert (list(config.pooling), config.head.name, config.frames.combine) == (poolings, head, combine)


def test_an_option_wins_over_the_conf_directories_and_an_override_over_both(tmp_path):
    (tmp_path / "recentre.yaml").write_text("by: speaker\nenrol: 3\n")
    (tmp_path / "model.yaml").write_text("pooling: stats\n")

    def resolve(**options):
        config = settings.resolve(conf_dirs=[tmp_path], **options)
        return list(config.pooling), config.recentre.by, config.recentre.enrol

    assert resolve() == (["stats"], "speaker", 3)
    assert resolve(pooling="mean", enrol=5) == (["mean"], "speaker", 5)
    assert resolve(enrol=5, overrides=["recentre.enrol=7"]) == (["stats"], "speaker", 7)
    assert settings.resolve(conf_dirs=[tmp_path], layers=[3, 4]).frames.layers == [3, 4]


def test_the_presets_training_is_kept_when_the_toolkits_own_conf_is_given_too(conf):
    paper = settings.resolve(preset="paper")
    assert paper.train.lr == 1e-4
    assert settings.resolve(preset="paper", conf_dirs=conf) == paper


def test_a_missing_conf_directory_is_named(tmp_path):
    with pytest.raises(SoctkError, match=r"gone: no such conf directory\nCheck the path given to --conf\."):
        settings.resolve(conf_dirs=[tmp_path / "gone"])


@pytest.mark.parametrize(
    ("utterances", "d", "batch_size"),
    [(None, 8, 32), (1440, 8, 32), (4999, 8, 32), (5000, 24, 64), (17_500, 24, 64), (35_000, 24, 64)],
)
@pytest.mark.parametrize("pooling", ["soc", "soc_nolem"])
def test_the_papers_d_and_batch_size_follow_the_size_of_the_corpus(pooling, utterances, d, batch_size):
    paper = settings.resolve(preset="paper", pooling=pooling, utterances=utterances)
    assert (paper.pooling[pooling]["d"], paper.train.batch_size) == (d, batch_size)
    default = settings.resolve(pooling=pooling, utterances=utterances)
    assert (default.pooling[pooling]["d"], default.train.batch_size) == (24, 32)


def test_explicit_values_win_over_the_size_of_the_corpus(tmp_path):
    (tmp_path / "train.yaml").write_text("batch_size: 16\n")
    large = {"preset": "paper", "utterances": 10_000}
    resolved = settings.resolve(**large, conf_dirs=[tmp_path], overrides=["pooling.d=12"])
    assert (resolved.pooling["soc"]["d"], resolved.train.batch_size) == (12, 16)
    assert settings.describe_size(**large, resolved=resolved) == (
        "preset paper, 10000 utterances: pooling.soc.d=12, train.batch_size=16"
    )
    linear = settings.resolve(**large, pooling="mean", head="linear")
    assert settings.describe_size(**large, resolved=linear) == ""
    assert settings.describe_size("default", 10_000, settings.resolve(pooling="soc")) == ""


@pytest.mark.parametrize(
    ("recipe", "utterances", "d", "batch_size"), [("ravdess", 1440, 8, 32), ("esd", 35_000, 24, 64)]
)
@pytest.mark.parametrize("pooling", ["soc", "soc_nolem"])
def test_the_recipes_of_the_papers_corpora_have_its_values_for_any_part_of_the_corpus(
    recipe, utterances, d, batch_size, pooling
):
    for size in (utterances, 300, 35_000):
        paper = settings.resolve(
            preset="paper", pooling=pooling, conf_dirs=[ROOT / "egs" / recipe / "conf"], utterances=size
        )
        assert paper.pooling[pooling]["d"] == d
    whole = settings.resolve(preset="paper", conf_dirs=[ROOT / "egs" / recipe / "conf"], utterances=utterances)
    assert whole.train.batch_size == batch_size
