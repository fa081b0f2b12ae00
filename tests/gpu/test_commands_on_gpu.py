"""Every command that has --device, on the GPU, one after the other as a user calls them."""

from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import EMOTIONS, write_corpus
from random_encoders import write

from soctk.scoring import score

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

COMMANDS = {entry.name: entry for entry in entry_points(group="console_scripts") if entry.name.startswith("soctk-")}
NOT_RUN_HERE = {"soctk-plan", "soctk-demo"}  # the recipes call the first; the second is a server


@pytest.fixture(scope="module")
def work(tmp_path_factory, device):
    """A folder with a data directory, an encoder, and features that the device has computed."""
    work = tmp_path_factory.mktemp("work")
    write_corpus(work, utterances_each=4)
    encoder = write(work / "whisper", "whisper")
    run("soctk-extract", work / "data", work / "feats", "--upstream", encoder, "--layer", "all", "--device", device)
    return work


def run(command: str, *arguments: object) -> str:
    result = CliRunner().invoke(COMMANDS[command].load(), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def accuracy(experiment) -> float:
    (scores,) = score.score([experiment])
    return scores.over_folds()["WA"].mean


MODELS = {
    "auto": [],
    "linear": ["--pooling", "mean+soc_full", "--head", "linear", "--layer", "2"],
    "soc": ["--pooling", "soc", "--head", "mlp", "--layer", "2", "--set", "train.epochs=3"],
    "paper": ["--preset", "paper", "--set", "train.epochs=3", "--set", "train.batch_size=8"],
}


@pytest.mark.parametrize("name", MODELS)
def test_train_pack_and_predict(work, device, name):
    run("soctk-train", work / "data", work / "feats", work / name, *MODELS[name], "--device", device)
    assert 0 <= accuracy(work / name) <= 100
    stores = ("--data", work / "data", "--feats", work / "feats", "--device", device)
    run("soctk-pack", work / name, work / f"{name}-model", *stores, "--with-encoder", work / "whisper")
    recordings = sorted((work / "recordings of the corpus").glob("*.wav"))[:3]
    lines = run("soctk-predict", work / f"{name}-model", *recordings, "--device", device).splitlines()
    assert len(lines) == 1 + len(recordings)
    on_cpu = run("soctk-predict", work / f"{name}-model", *recordings, "--device", "cpu").splitlines()
    assert [line.split("\t")[0] for line in lines] == [line.split("\t")[0] for line in on_cpu]


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
@pytest.mark.parametrize("tune", ["lora", "top:1", "all"])
def test_finetune_pack_and_predict(work, device, family, tune):
    if tune == "lora":
        pytest.importorskip("peft")
    encoder = write(work / family, family)
    experiment = work / f"{family}-{tune.replace(':', '-')}"
    quick = ("--set", "finetune.epochs=2", "--set", "finetune.lr_encoder=1e-3", "--set", "finetune.noise=0.5")
    model = ("--pooling", "mean+soc_full", "--layer", "1 2", "--precision", "bfloat16", "--speed-perturb", "0.9")
    options = ("--upstream", encoder, "--tune", tune, *model, *quick, "--device", device, "--nj", 2)
    run("soctk-finetune", work / "data", experiment, *options)
    assert 0 <= accuracy(experiment) <= 100
    run("soctk-pack", experiment, experiment / "model", "--fold", 1, "--device", device)
    predictions = pd.read_csv(experiment / "fold1" / "seed1" / "predictions.tsv", sep="\t")
    utt = predictions["utt"][0]
    recording = work / "recordings of the corpus" / f"{utt}.wav"
    header, line = run("soctk-predict", experiment / "model", recording, "--device", device).splitlines()
    for name in EMOTIONS:
        posterior = float(line.split("\t")[header.split("\t").index(name)])
        assert posterior == pytest.approx(predictions[name][0], abs=0.02)


def test_finetune_a_trained_pooling(work, device):
    model = ("--upstream", work / "whisper", "--tune", "top:1", "--pooling", "soc", "--head", "mlp", "--layer", "1 2")
    quick = ("--set", "finetune.epochs=2", "--set", "finetune.checkpointing=true", "--set", "finetune.time_masks=1")
    run("soctk-finetune", work / "data", work / "tuned-soc", *model, *quick, "--device", device)
    assert 0 <= accuracy(work / "tuned-soc") <= 100


def test_sweep(work, device):
    grid = ("--grid", "pooling.soc_full.shrinkage=[0.5, 0.7]")
    model = ("--pooling", "soc_full", "--head", "linear", "--layer", "2", "--device", device)
    run("soctk-sweep", work / "data", work / "feats", work / "sweep", *grid, *model)
    assert len(list((work / "sweep").rglob("predictions.tsv"))) == 2 * 3


def test_cross(work, device):
    write_corpus(work / "other", seed=1)
    encoder = ("--upstream", work / "whisper", "--layer", "all", "--device", device)
    run("soctk-extract", work / "other" / "data", work / "other" / "feats", *encoder)
    labels = work / "labels.yaml"
    labels.write_text("".join(f"{emotion}: {emotion}\n" for emotion in EMOTIONS))
    (work / "other" / "data").rename(work / "other" / "more")  # a corpus has the name of its data directory
    first, second = (work / "data", work / "feats"), (work / "other" / "more", work / "other" / "feats")
    corpora = ("--corpus", *first, labels, "--corpus", *second, labels)
    run("soctk-cross", work / "cross", *corpora, "--layer", "2", "--device", device)
    assert (work / "cross" / "CROSS.md").is_file()


def test_robustness(work, device):
    run("soctk-train", work / "data", work / "feats", work / "robust", "--layer", "2", "--device", device)
    conditions = ("--conditions", "white:10", "--encoder", work / "whisper")
    run("soctk-robustness", work / "robust", *conditions, "--device", device)
    assert (work / "robust" / "robustness" / "ROBUSTNESS.md").is_file()


def test_every_command_with_a_device_is_run_here():
    text = Path(__file__).read_text()
    for name, entry in COMMANDS.items():
        has_device = any("--device" in parameter.opts for parameter in entry.load().params)
        assert name in NOT_RUN_HERE or not has_device or f'"{name}"' in text, name
