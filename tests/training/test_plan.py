import subprocess
from pathlib import Path

import pytest

from soctk.errors import SoctkError
from soctk.training import plan, recipe
from soctk.training.recipe_options import Options

DEFAULTS = {
    "stage": 0,
    "stop_stage": None,
    "corpus": None,
    "upstream": "fbank",
    "layers": "last",
    "speeds": (),
    "augmentations": (),
    "normalise": "none",
    "use_layers": "all",
    "combine": None,
    "preset": "default",
    "pooling": "mean",
    "head": None,
    "folds": [],
    "seeds": [1],
    "recentre": None,
    "enrol": None,
    "protocol": "soctk",
    "extract_args": [],
    "train_args": [],
    "conf_dirs": [],
    "overrides": [],
    "target": "emotion",
    "finetune": None,
    "tag": "",
    "nj": 2,
    "cluster": None,
    "device": "auto",
    "expdir": None,
    "own": {},
}
LANGUAGES = """
corpus: {download: the net}
options:
  language: {help: Whose., choices: [all, en, zh], default: all, names: [data, features, experiment]}
protocols:
  cross-lingual: {names: [data, experiment], needs: {language: all}}
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that plans the recipe `here`, in whose parent the caller works."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "here"
    (folder / "conf").mkdir(parents=True)

    def make(text: str = "corpus: {download: the net}\n", **options) -> plan.Plan:
        (folder / "conf" / "recipe.yaml").write_text(text)
        return plan.make(recipe.read(folder), Options(**(DEFAULTS | options)))

    return make


@pytest.mark.parametrize(
    ("options", "feats", "experiment"),
    [
        ({}, "fbank", "fbank-mean-linear"),
        ({"pooling": None}, "fbank", "fbank-mean+soc_full-linear"),
        ({"pooling": None, "preset": "paper"}, "fbank", "fbank-soc-mlp-paper"),
        ({"preset": "paper"}, "fbank", "fbank-mean-mlp-paper"),
        ({"head": "linear", "preset": "paper"}, "fbank", "fbank-mean-linear-paper"),
        ({"layers": (4,), "tag": "try"}, "fbank-layer4", "fbank-layer4-mean-linear-try"),
        ({"target": "arousal+valence", "tag": "x"}, "fbank", "fbank-mean-linear-arousal+valence-x"),
        ({"pooling": "mean+asp"}, "fbank", "fbank-mean+asp-mlp"),
        ({"head": "mlp", "combine": "concat"}, "fbank", "fbank-mean-mlp-concat"),
        ({"recentre": "speaker", "enrol": 5}, "fbank", "fbank-mean-linear-recentred-enrol5"),
        ({"recentre": "speaker"}, "fbank", "fbank-mean-linear-recentred"),
        ({"layers": "all"}, "fbank", "fbank-mean-linear"),
        ({"layers": "all", "upstream": "a/b"}, "b-layerall", "b-layerall-mean-linear"),
        ({"layers": "all", "upstream": "a/b", "use_layers": None}, "b-layerall", "b-layerauto-mean-linear"),
        (
            {"layers": "all", "upstream": "a/b", "use_layers": None, "pooling": "auto"},
            "b-layerall",
            "b-layerauto-auto-linear",
        ),
        ({"layers": "all", "upstream": "a/b", "use_layers": "last"}, "b-layerall", "b-mean-linear"),
        (
            {"layers": "all", "upstream": "a/b", "use_layers": None, "preset": "paper", "pooling": None},
            "b-layerall",
            "b-soc-mlp-paper",
        ),
        (
            {"layers": "all", "upstream": "a/b", "use_layers": None, "pooling": "soc"},
            "b-layerall",
            "b-layerall-soc-mlp",
        ),
        ({"layers": "all", "use_layers": None}, "fbank", "fbank-mean-linear"),
        ({"layers": (3, 4), "use_layers": None}, "fbank-layer3-4", "fbank-layer3-4-mean-linear"),
        ({"layers": (3, 4), "use_layers": "auto"}, "fbank-layer3-4", "fbank-layerauto3-4-mean-linear"),
        ({"layers": (3, 4), "use_layers": "last"}, "fbank-layer3-4", "fbank-layer4-mean-linear"),
        ({"layers": (3, 4), "combine": "concat"}, "fbank-layer3-4", "fbank-layer3-4-mean-linear"),
        ({"speeds": (0.9, 1.1)}, "fbank-sp0.9-1.1", "fbank-mean-linear-sp0.9-1.1"),
        ({"augmentations": ("noise", "gain")}, "fbank-aug-noise-gain", "fbank-mean-linear-aug-noise-gain"),
        (
            {"speeds": (0.9,), "augmentations": ("noise",), "normalise": "level", "recentre": "speaker"},
            "fbank-sp0.9-aug-noise-level",
            "fbank-mean-linear-sp0.9-aug-noise-level-recentred",
        ),
        ({"layers": "all", "upstream": "a/b", "use_layers": (4,)}, "b-layerall", "b-layer4-mean-linear"),
        ({"speeds": (0.9, 1.1), "preset": "paper"}, "fbank-sp0.9-1.1", "fbank-mean-mlp-paper-sp0.9-1.1"),
        ({"upstream": "s3prl:fbank"}, "s3prl-fbank", "s3prl-fbank-mean-linear"),
        ({"upstream": "facebook/hubert-base-ls960"}, "hubert-base-ls960", "hubert-base-ls960-mean-linear"),
        ({"overrides": ["recentre.by=speaker"]}, "fbank", "fbank-mean-linear-recentred"),
    ],
)
def test_directories_are_named_after_the_settings(make, options, feats, experiment):
    variables = make(**options).variables
    assert variables["data"] == "data/here"
    assert variables["feats"] == f"feats/{feats}"
    assert variables["experiment"] == f"exp/{experiment}"
    assert variables["train_log"] == f"exp/{experiment}/log/train.log"


@pytest.mark.parametrize(
    ("options", "data", "feats", "experiment"),
    [
        ({"own": {"language": "all"}}, "here", "fbank", "fbank-mean-linear"),
        ({"own": {"language": "en"}}, "here-en", "fbank-en", "fbank-mean-linear-en"),
        ({"own": {"language": "en"}, "tag": "x"}, "here-en", "fbank-en", "fbank-mean-linear-x-en"),
        (
            {"own": {"language": "all"}, "protocol": "cross-lingual"},
            "here-cross-lingual",
            "fbank",
            "fbank-mean-linear-cross-lingual",
        ),
    ],
)
def test_the_recipes_own_options_and_protocols_are_part_of_the_names(make, options, data, feats, experiment):
    variables = make(LANGUAGES, **options).variables
    assert (variables["data"], variables["feats"]) == (f"data/{data}", f"feats/{feats}")
    assert variables["experiment"] == f"exp/{experiment}"
    assert (variables["language"], variables["protocol"]) == (
        options["own"]["language"],
        options.get("protocol", "soctk"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "maen"}, r"--pooling maen: unknown pooling 'maen'\nDid you mean 'mean'\?"),
        ({"pooling": "mean+"}, "unknown pooling ''"),
        ({"head": "liner"}, r"unknown head 'liner'\nDid you mean 'linear'\?"),
        ({"preset": "papers"}, r"unknown preset 'papers'\nDid you mean 'paper'\? Known: default, emobox, paper\."),
        ({"enrol": 5}, "recentre: .*enrol needs by: speaker"),
        ({"pooling": "soc", "head": "linear"}, "the head linear cannot train .*soc"),
        ({"layers": (3, 4), "combine": "sum"}, "cannot train the weights of the layers"),
        ({"upstream": "hubert_base", "layers": (4, 13)}, "hubert_base has the hidden states 0 to 12, not 13"),
        (
            {"layers": (3, 4), "use_layers": (4, 5)},
            r"--use-layer: hidden states are not extracted: 5\n"
            r"Choose from the hidden states of fbank that --layer 3 4 extracts \(3 4\), or change --layer\.",
        ),
        (
            {"upstream": "hubert_base", "layers": "all", "use_layers": (4, 13)},
            r"not extracted: 13\nChoose from .* of hubert_base that --layer all extracts \(0 1 2 .* 12\)\.",
        ),
        (
            {"upstream": "hubert_base", "layers": "last", "use_layers": (4,)},
            r"not extracted: 4\nChoose .* that --layer last extracts \(12\), or change --layer\.",
        ),
        (
            {"upstream": "hubert_base fbank", "layers": "all", "use_layers": ((4,), (1,))},
            r"not extracted: 1\nChoose from the hidden states of fbank that --layer all extracts \(0\)\.",
        ),
        (
            {"upstream": "egemaps", "pooling": "mean+soc_full"},
            "one frame for each utterance, and soc_full needs several",
        ),
        ({"overrides": ["train.lr=1"]}, "the head linear does not use the training loop"),
        (
            {"use_layers": "auto", "head": "mlp"},
            r"--layer auto: a fold chooses only for the head linear on concatenated descriptors, not for the head mlp\n"
            r"Choose --head linear without --combine sum; or name the pooling and the hidden states, such as "
            r'--layer all, --layer last or --layer "3 4"\.',
        ),
        (
            {"use_layers": "auto", "pooling": "auto", "combine": "sum"},
            "--layer auto --pooling auto: a fold chooses only .*, not for --combine sum",
        ),
        ({"overrides": ["pooling.d=1"]}, "unknown option 'd'"),
        ({"conf_dirs": [Path("gone")]}, "here/gone: no such conf directory"),
        ({"stage": 3, "stop_stage": 2}, "the first stage, 3, comes after the last, 2"),
        ({"corpus": "gone"}, r"--corpus .*/gone: no such directory\nCheck the path\."),
    ],
)
def test_wrong_options_are_refused_before_any_work(make, options, message):
    with pytest.raises(SoctkError, match=message):
        make(**options)


def test_a_protocol_that_needs_all_languages_refuses_one_language(make):
    with pytest.raises(SoctkError) as error:
        make(LANGUAGES, protocol="cross-lingual", own={"language": "en"})
    assert str(error.value) == (
        "--protocol cross-lingual: works only with --language all, not with --language en\n"
        "Leave out --language, or choose another protocol."
    )


def test_stage_0_asks_for_the_recordings_that_it_cannot_download(make, tmp_path):
    text = "corpus: {obtain: Ask for them at x.org.}\n"
    with pytest.raises(
        SoctkError, match=r"^stage 0 needs the recordings\nGive --corpus DIR\. Ask for them at x\.org\.$"
    ):
        make(text)
    assert make(text, stage=1).variables["corpus"] == ""
    (tmp_path / "here" / "data" / "here").mkdir(parents=True)
    (tmp_path / "here" / "data" / "here" / "wav.scp").touch()
    with pytest.raises(SoctkError, match=r"To continue with data/here, which exists, give --stage 1\.$"):
        make(text)


def test_stage_0_names_its_source(make, tmp_path):
    assert make().variables["source"] == "the net"
    assert make("corpus: {default: made}\n").variables["source"] == "made"
    assert make(corpus="here").variables["source"] == str(tmp_path / "here")


def test_relative_paths_are_relative_to_the_callers_directory(make, tmp_path):
    (tmp_path / "my encoder").mkdir()
    (tmp_path / "my encoder" / "config.json").write_text("{}")
    (tmp_path / "some" / "corpus").mkdir(parents=True)
    made = make(corpus="some/corpus", upstream="my encoder", expdir="out")
    assert made.variables["corpus"] == f"{tmp_path}/some/corpus"
    assert made.variables["feats"] == "feats/my encoder"
    assert made.variables["experiment"] == f"{tmp_path}/out/my encoder-mean-linear"
    assert made.upstreams == [f"{tmp_path}/my encoder"]


def test_a_folder_with_the_name_of_an_upstream_does_not_replace_it(make, tmp_path):
    def upstream(name: str) -> str:
        (name,) = make(upstream=name).upstreams
        return name

    (tmp_path / "fbank").mkdir()
    assert upstream("fbank") == "fbank"
    assert upstream("./fbank") == f"{tmp_path}/fbank"
    (tmp_path / "fbank" / "config.json").write_text("{}")
    assert upstream("fbank") == f"{tmp_path}/fbank"


@pytest.mark.parametrize(
    ("options", "stores", "experiment", "layer"),
    [
        ({}, ["feats/a-layerall", "feats/fbank"], "a+fbank-layerauto-mean-linear", "auto"),
        ({"use_layers": "last"}, ["feats/a-layerall", "feats/fbank"], "a+fbank-mean-linear", "last"),
        (
            {"use_layers": ((2, 3), (0,))},
            ["feats/a-layerall", "feats/fbank"],
            "a+fbank-layer2-3+0-mean-linear",
            "2 3, 0",
        ),
        ({"layers": "last"}, ["feats/a", "feats/fbank"], "a+fbank-mean-linear", "all"),
    ],
)
def test_several_encoders_have_a_store_each_and_one_experiment(make, tmp_path, options, stores, experiment, layer):
    (tmp_path / "a").mkdir()
    made = make(**({"layers": "all", "use_layers": None} | options), upstream="./a fbank")
    assert (made.stores, made.upstreams) == (stores, [f"{tmp_path}/a", "fbank"])
    assert made.variables["experiment"] == f"exp/{experiment}"
    assert made.train_options[:2] == ["--with-store", stores[1]]
    assert made.train_options[made.train_options.index("--layer") + 1] == layer
    assert "--upstream" not in made.extract_options
    assert made.pack_options[:2] == ["--with-encoder", f"{tmp_path}/a"]
    commands = [line.split()[:5] for line in made.describe().splitlines() if "soctk-extract" in line]
    assert commands == [
        ["soctk-extract", "data/here", store, "--upstream", name]
        for store, name in zip(stores, made.upstreams, strict=True)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "soc"}, "several encoders have different widths .*no trained parameters\nChoose poolings without"),
        ({"use_layers": ((1,), (1,), (1,))}, "hidden states are listed for 3 encoders, and --upstream names 2\nGive"),
    ],
)
def test_what_several_encoders_cannot_do_is_refused_before_any_work(make, options, message):
    with pytest.raises(SoctkError, match=message):
        make(**options, layers="all", upstream="wavlm_base_plus fbank")


def test_the_model_is_spelled_out_for_soctk_train(make):
    made = make(
        upstream="hubert_base",
        pooling=None,
        layers="all",
        use_layers=(2, 3),
        folds=[1, 2],
        seeds=[1234567, 3],
        recentre="speaker",
        nj=1,
        train_args=["--tensorboard"],
    )
    assert " ".join(made.train_options) == (
        "--conf conf --preset default --pooling mean+soc_full --head linear --layer 2 3 --combine concat "
        "--recentre speaker --enrol all --protocol soctk --seeds 1234567 3 --folds 1 2 --nj 1 "
        "--device auto --tensorboard"
    )
    assert " ".join(make(augmentations=("noise", "gain"), normalise="level").extract_options) == (
        "--conf conf --layer last --augment noise gain --normalise level --nj 2 --device auto"
    )
    assert " ".join(make(layers=(1, 2), speeds=(0.9, 1.5)).extract_options) == (
        "--conf conf --layer 1 2 --speed-perturb 0.9 1.5 --nj 2 --device auto"
    )


@pytest.mark.parametrize(
    ("stages", "last"),
    [
        ({}, "3"),
        ({"stage": 3}, "3"),
        ({"stage": 4}, "4"),
        ({"stop_stage": 4}, "4"),
        ({"stage": 5}, "5"),
        ({"stop_stage": 1}, "1"),
    ],
)
def test_stages_4_and_5_run_only_if_they_are_chosen(make, stages, last):
    assert make(**stages).variables["stop_stage"] == last


def test_a_packed_model_includes_an_encoder_from_a_folder(make, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    made = make(upstream="encoder", stage=4)
    assert made.pack_options == ["--with-encoder", str(tmp_path / "encoder"), "--nj", "2", "--device", "auto"]


def test_stage_5_names_an_encoder_that_is_a_folder_or_a_class(make, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    (tmp_path / "own.py").touch()
    work = ["--nj", "2", "--device", "auto"]
    assert make(upstream="encoder", stage=5).robustness_options == ["--encoder", str(tmp_path / "encoder"), *work]
    assert make(upstream="own.py:A", stage=5).robustness_options == ["--encoder", f"{tmp_path / 'own.py'}:A", *work]
    assert make(stage=5).robustness_options == work


def test_the_recipes_settings_count(make, tmp_path):
    (tmp_path / "here" / "conf" / "model.yaml").write_text("pooling: stats\n")
    assert make(pooling=None).variables["experiment"] == "exp/fbank-stats-linear"


def test_bash_reads_every_value_as_it_is(make, tmp_path):
    tag = "a b; $(touch evil) `touch evil` 'x' \"y\" \\ é\n= --x"
    made = make(tag=tag, train_args=["two\nlines", "", "*", "$HOME"])
    script = made.shell() + '\nprintf "<%s>" "$experiment" "${train_options[@]}"'
    output = subprocess.check_output(["bash", "-euc", script], cwd=tmp_path, text=True)
    assert output.startswith(f"<exp/fbank-mean-linear-{tag}><--conf><conf><--preset>")
    assert output.endswith("<--device><auto><two\nlines><><*><$HOME>")
    assert not (tmp_path / "evil").exists()


def test_the_description_has_the_stages_that_are_due_their_commands_and_logs(make):
    assert make(stage=2, tag="a b").describe().splitlines() == [
        "Stage 2: train: feats/fbank -> exp/fbank-mean-linear-a b (log: exp/fbank-mean-linear-a b/log/train.log)",
        "    soctk-train data/here feats/fbank 'exp/fbank-mean-linear-a b' --conf conf --preset default --pooling mean "
        "--head linear --layer all --combine concat --recentre none --enrol all --protocol soctk --seeds 1 --nj 2 "
        "--device auto",
        "Stage 3: score: exp -> exp/RESULTS.md (log: exp/log/score.log)",
        "    soctk-score exp",
    ]
    assert make(stage=4, tag="a b").describe().splitlines() == [
        "Stage 4: pack: exp/fbank-mean-linear-a b -> exp/fbank-mean-linear-a b/model "
        "(log: exp/fbank-mean-linear-a b/log/pack.log)",
        "    soctk-pack 'exp/fbank-mean-linear-a b' 'exp/fbank-mean-linear-a b/model' --nj 2 --device auto",
    ]
    assert make(stage=5, tag="a b").describe().splitlines() == [
        "Stage 5: robustness: exp/fbank-mean-linear-a b -> exp/fbank-mean-linear-a b/robustness "
        "(log: exp/fbank-mean-linear-a b/log/robustness.log)",
        "    soctk-robustness 'exp/fbank-mean-linear-a b' --nj 2 --device auto",
    ]
    first, *_ = make(stop_stage=1).describe().splitlines()
    assert first == "Stage 0: data: the net -> data/here (log: data/here/log/prepare.log)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpsu: {}\n", "corpsu: Extra inputs are not permitted"),
        ("options: {'bad name': {help: x}}\n", "String should match pattern"),
        ("options: {data: {help: x}}\n", "'data' is a variable of bin/recipe.sh; rename the option"),
        ("options: {a: {help: x, choices: [b], default: c}}\n", "default 'c' is not among the choices"),
        ("options: {a: {help: x, choices: [true, false]}}\n", "Input should be a valid string"),
        ("options: {a: {help: x, names: [date]}}\n", "Input should be 'data', 'features', 'experiment' or 'expdir'"),
        ("protocols: {mine: {}}\n", "Input should be 'cross-lingual'"),
        ("protocols: {cross-lingual: {needs: {language: all}}}\n", "needs the option 'language'"),
        ("defaults: [a]\n", "defaults: Input should be a valid dictionary"),
    ],
)
def test_a_malformed_recipe_yaml_is_one_message(make, text, message):
    with pytest.raises(SoctkError) as error:
        make(text)
    assert str(error.value).startswith(f"{Path.cwd()}/here/conf/recipe.yaml: malformed\n")
    assert message in str(error.value)


def test_a_target_other_than_emotions_is_passed_to_soctk_train(make):
    assert "--target" not in make().train_options
    options = make(target="arousal").train_options
    assert options[options.index("--target") + 1] == "arousal"
    with pytest.raises(SoctkError, match="unknown target 'joy'"):
        make(target="joy")
