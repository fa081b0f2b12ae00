"""Fine-tuning from recordings to predictions: it learns, resumes after a kill, and its models are packed."""

import dataclasses
import json
import shutil
import signal
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import run_python, write_corpus
from encoders import FAMILIES, settings, write_encoder
from safetensors.torch import load_file

from soctk.corpus import datadir, disturbance, splits
from soctk.errors import SoctkError
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore
from soctk.finetuning import checkpoint
from soctk.finetuning import encoder as encoders
from soctk.finetuning import experiment as experiments
from soctk.finetuning.experiment import FineTuning
from soctk.finetuning.inputs import LayerInputs
from soctk.finetuning.recordings import Waveforms
from soctk.inference import card, robustness, tuned
from soctk.inference.pack import Packing, of_run, pack
from soctk.inference.recogniser import Recogniser
from soctk.reporting import report as reports
from soctk.reporting import tables
from soctk.scoring import choice, score
from soctk.scoring.runs import RunDirectory
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features
from soctk.training.outer_fits import fit_runs
from soctk.training.training_data import TrainingData

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a corpus and a Whisper encoder."""
    folder = tmp_path_factory.mktemp("finetuning")
    data = write_corpus(folder)
    folds = {speaker: int(speaker[-1]) + 1 for speaker in data.fold}  # 6 folds of one speaker each
    datadir.write(folder / "data", dataclasses.replace(data, fold=folds))
    write_encoder(folder / "whisper", "whisper")
    return folder


@pytest.fixture(scope="module")
def corpus(root):
    return datadir.read(root / "data")


def experiment(corpus, path, config=None, encoder=None, speeds=(), **options) -> FineTuning:
    folder = encoder or path.parent / "whisper"
    extraction = Extraction(str(folder), speeds=speeds)
    return FineTuning.of(config or settings(), corpus, extraction, path=path, **options)


def records_of(run: RunDirectory) -> list[dict]:
    return [json.loads(line) for line in run.log.read_text().splitlines()]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_falls_for_each_family(tmp_path, corpus, family):
    folder = write_encoder(tmp_path / family, family)
    config = settings("all", "mean", "mlp", "head.hidden=0", "finetune.epochs=6", "finetune.patience=6")
    experiment(corpus, tmp_path / "exp", config, folder).run([1], [1])
    losses = [record["train_loss"] for record in records_of(RunDirectory(tmp_path / "exp", 1, 1))]
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 0.05


@pytest.fixture(scope="module")
def lora(root, corpus):
    """Runs with LoRA on two folds, with copies at another speed and with augmentation."""
    changes = ("finetune.noise=0.5", "finetune.gain=6", "finetune.time_masks=1", "finetune.channel_masks=1")
    config = settings("lora", "mean+soc_full", "linear", *changes)
    done = experiment(corpus, root / "lora", config, speeds=(0.9,))
    assert done.run([1, 2], [1]) == 2
    return done


def test_a_run_has_the_files_of_soctk_train_and_the_encoder(lora, corpus):
    run = RunDirectory(lora.path, 2, 1)
    assert {file.name for file in run.path.iterdir()} == {
        "config.yaml",
        "encoder.safetensors",
        "model.safetensors",
        "predictions.tsv",
        "train.jsonl",
    }
    content = yaml.safe_load(run.config.read_text())
    assert (content["finetune"]["tune"], content["train"]) == ("lora", None)
    assert content["features"]["speeds"] == [0.9]
    assert (run.path / content["made_from"]["encoder"]).resolve() == lora.path.parent / "whisper"
    table = pd.read_csv(run.predictions, sep="\t")
    assert table["utt"].tolist() == splits.split(corpus, 2, "soctk", 1).test
    assert table[list(corpus.emotions)].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert [record["epoch"] for record in records_of(run)] == list(range(len(records_of(run))))


def test_epoch_0_is_the_linear_fit_to_frozen_descriptors_of_the_training_speakers(root, lora, corpus):
    extract(corpus, root / "feats", Extraction(str(root / "whisper"), (1, 2), "float32", speeds=(0.9,)))
    features = Features(FeatureStore.open(root / "feats"), corpus.utterances)
    inputs = TrainingData.load(lora.config, corpus, features, False, 1)
    split = splits.split(corpus, 2, "soctk", 1)
    [fit] = fit_runs(inputs, lora.config.head, [(splits.Split(split.train, [], split.test), 1)], 1, "cpu")
    outputs = torch.from_numpy(fit.outputs[inputs.tested_rows(split.valid)]).unflatten(0, (2, -1))
    expected = inputs.target.scores(inputs.target.predictions(outputs).numpy(), inputs.indices(split.valid))
    first = records_of(RunDirectory(lora.path, 2, 1))[0]
    assert first["epoch"] == 0
    assert first["valid_loss"] == pytest.approx(expected["valid_loss"], abs=1e-3)
    assert first["valid_WA"] == expected["valid_WA"]


def test_other_tunings_and_nj_give_other_and_the_same_bits(tmp_path, root, corpus, lora):
    again = dataclasses.replace(lora, path=tmp_path / "again")
    again.run([1, 2], [1], nj=2)
    for fold in (1, 2):
        for name in ("predictions.tsv", "encoder.safetensors", "model.safetensors"):
            ours, theirs = (RunDirectory(path, fold, 1).path / name for path in (again.path, lora.path))
            assert ours.read_bytes() == theirs.read_bytes()


@pytest.fixture(scope="module")
def random_head(root, corpus):
    """Runs with LoRA that start with a random head: at least one epoch of training remains in their encoder."""
    done = experiment(corpus, root / "random", settings("lora", "stats", "mlp", "head.hidden=8"), speeds=(0.9,))
    done.run([2], [1])
    return done


@pytest.mark.parametrize("name", ["lora", "random_head"])
def test_the_packed_model_gives_the_predictions_of_its_run(tmp_path, request, corpus, name):
    split = splits.split(corpus, 2, "soctk", 1)
    trained = sorted(split.train + split.valid) if name == "lora" else split.train  # the last fit uses `valid` too
    folder, lora = tmp_path / "model", request.getfixturevalue(name)
    bundle = pack(Packing(lora.path, fold=2), folder)
    assert bundle.settings.training["folds"] == "all but 2"
    assert bundle.settings.training["utterances"] == len(trained)
    assert bundle.settings.training["speakers"] == len({corpus.speaker[utt] for utt in trained})
    assert len(bundle.recordings) == len(trained)
    assert "fine-tuned (lora)" in (folder / "README.md").read_text()
    table = pd.read_csv(RunDirectory(lora.path, 2, 1).predictions, sep="\t").set_index("utt")
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    model = Recogniser.load(moved)
    for utt in table.index:
        posteriors = model(corpus.wav[utt]).posteriors
        ours = np.array([posteriors[name] for name in corpus.emotions])
        assert ours == pytest.approx(table.loc[utt, list(corpus.emotions)].to_numpy(float), abs=2e-4)
    before, after = (
        load_file(path / "model.safetensors") for path in (lora.path.parent / "whisper", folder / "encoder")
    )
    frozen_only = {name for name in after if name in before and torch.equal(before[name], after[name])}
    assert "encoder.conv1.weight" in frozen_only
    assert name == "lora" or "encoder.layers.0.fc1.weight" not in frozen_only


def test_a_fine_tuned_experiment_is_packed_by_fold_only(tmp_path, lora):
    with pytest.raises(SoctkError) as caught:
        pack(Packing(lora.path), tmp_path / "model")
    assert "Pack the run of a fold, such as --fold 1" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_the_robustness_test_refuses_before_it_reads_the_corpus(tmp_path, lora):
    options = robustness.Options(disturbance.parse("clean", False), data=tmp_path / "missing")
    with pytest.raises(SoctkError) as caught:
        robustness.test([RunDirectory(lora.path, 1, 1)], options)
    assert "the runs of a fine-tuned experiment have different encoders" in str(caught.value)
    assert "soctk-pack --fold K" in str(caught.value)


def test_the_model_card_names_the_encoder_from_the_hub(tmp_path, lora, corpus):
    run = RunDirectory(lora.path, 2, 1)
    bundle = of_run(lora, run)
    encoder = bundle.settings.encoder.model_copy(update={"hub": "openai/whisper-base"})
    bundle = dataclasses.replace(bundle, settings=bundle.settings.model_copy(update={"encoder": encoder}))
    packed = tuned.include_encoder(bundle, lora, run, tmp_path)
    assert packed.settings.encoder.hub == ""  # the encoder is in the model
    text = card.write(packed, corpus, score.score([lora.path]))
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "openai/whisper-base"


def test_a_moved_encoder_is_given_to_pack(tmp_path, root, lora):
    moved = shutil.copytree(root / "whisper", tmp_path / "moved encoder")
    shutil.copytree(lora.path, tmp_path / "far" / "exp")
    with pytest.raises(SoctkError, match="--with-encoder DIR"):
        pack(Packing(tmp_path / "far" / "exp", fold=1, data=root / "data"), tmp_path / "model")
    pack(Packing(tmp_path / "far" / "exp", fold=1, data=root / "data", encoder=moved), tmp_path / "model")


def test_a_damaged_encoder_is_reported(tmp_path, lora):
    copied = lora.path.parent / "damaged"
    shutil.copytree(lora.path, copied)
    (RunDirectory(copied, 1, 1).path / "encoder.safetensors").write_bytes(b"damaged")
    with pytest.raises(SoctkError, match="Remove the run's directory and train it again"):
        pack(Packing(copied, fold=1), tmp_path / "model")
    shutil.rmtree(copied)


def test_tables_tell_fine_tuned_from_frozen(lora):
    report = reports.make([lora.path], "soctk-score")
    text = "\n".join([*report.heading(), *tables.summary(report, "github")])
    assert "lora (tuned: lora)" in text
    sentence = (
        "Fine-tuned (the encoder is trained on the training utterances, and the epoch with the lowest validation loss "
        "gives its weights; unless the head is trained with the encoder or finetune.refit is false, the head linear is "
        "then fitted to training and validation utterances, with the C that was chosen on the training utterances): "
        "lora (tuned: lora)."
    )
    assert sentence in text


def test_scores_and_other_settings(lora, corpus):
    [scores] = score.score([lora.path])
    assert len(scores.predictions.utterances) == 12
    other = settings("lora", "mean+soc_full", "linear", "finetune.lora_rank=4")
    with pytest.raises(SoctkError, match="this run was made with other settings"):
        dataclasses.replace(lora, config=other).run([1], [1])


CODE = """
import sys
from pathlib import Path
from soctk.corpus import datadir
from encoders import settings
from soctk.features.extract import Extraction
from soctk.finetuning import checkpoint
from soctk.finetuning.experiment import FineTuning
import os, signal
root, path, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if last >= 0:
    write = checkpoint.write
    def write_and_end(directory, state, settings):
        if len(state.records) > last + 1:  # before this checkpoint is written, in the middle of an epoch's end
            os.kill(os.getpid(), signal.SIGKILL)
        write(directory, state, settings)
    checkpoint.write = write_and_end
changes = ["head.hidden=8", "finetune.epochs=4", "finetune.patience=4", "finetune.noise=0.5"]
config = settings("top:1", "stats", "mlp", *changes)
FineTuning.of(config, datadir.read(root / "data"), Extraction(str(root / "whisper")), path=path).run([1], [1])
"""


def run_code(root, path, last: int) -> int:
    arguments = ["", str(root), str(path), str(last)]
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    prefix = f"import sys; sys.path[:0] = {folders!r}; sys.argv = {arguments!r}"
    return run_python(f"{prefix}\n{CODE}", stdout=PIPE).wait()


def test_a_killed_run_resumes_and_ends_with_the_same_bits(tmp_path, root):
    assert run_code(root, tmp_path / "whole", -1) == 0
    whole = RunDirectory(tmp_path / "whole", 1, 1)
    killed = RunDirectory(tmp_path / "killed", 1, 1)
    for last in (0, 2):  # killed in epoch 2; then again in epoch 4
        assert run_code(root, tmp_path / "killed", last) == -signal.SIGKILL
        assert not killed.path.exists()
        assert (killed.path.with_name("seed1.unfinished") / checkpoint.NAME).exists()
    assert run_code(root, tmp_path / "killed", -1) == 0
    for name in ("predictions.tsv", "encoder.safetensors", "model.safetensors"):
        assert (killed.path / name).read_bytes() == (whole.path / name).read_bytes()
    without_time = [[{**record, "seconds": 0} for record in records_of(run)] for run in (killed, whole)]
    assert without_time[0] == without_time[1]
    assert len(without_time[0]) == 4
    assert not (killed.path / checkpoint.NAME).exists()


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_used(tmp_path, capsys):
    state = checkpoint.Checkpoint({"a": torch.ones(2)}, {}, {}, [{"epoch": 1}])
    checkpoint.write(tmp_path, state, {"seed": 1})
    assert checkpoint.read(tmp_path, {"seed": 1}).records == [{"epoch": 1}]
    assert checkpoint.read(tmp_path, {"seed": 2}) is None
    assert "had other settings" in capsys.readouterr().out
    (tmp_path / checkpoint.NAME).write_bytes(b"damaged")
    assert checkpoint.read(tmp_path, {"seed": 1}) is None
    assert "is damaged" in capsys.readouterr().out
    assert checkpoint.read(tmp_path / "none", {}) is None


@pytest.mark.parametrize("heads", ["train", "freeze", "crossed"])
def test_the_head_of_the_run_moves_only_if_it_is_trained(tmp_path, root, corpus, heads):
    changes = (f"finetune.heads={heads}", "finetune.epochs=1", "finetune.refit=false")
    config = settings("lora", "mean", "linear", *changes)
    new = experiment(corpus, tmp_path / "exp", config, root / "whisper")
    fitted = []
    start_from = FineTuning._tuner

    def keep(self, *arguments):
        model, tuner = start_from(self, *arguments)
        fitted.append(model.classifier.head.weight.detach().clone())
        return model, tuner

    FineTuning._tuner = keep
    try:
        new.run([1], [1])
    finally:
        FineTuning._tuner = start_from
    run = RunDirectory(tmp_path / "exp", 1, 1)
    losses = [record["valid_loss"] for record in records_of(run)]
    is_moved = not torch.equal(load_file(run.weights)["head.weight"], fitted[0])
    assert is_moved == (heads == "train" and losses[1] < losses[0])
    assert losses[1] != losses[0]


def test_if_training_does_not_help_the_frozen_model_is_kept(tmp_path, root, corpus):
    """The encoder stays as it was, and the head is fitted to training and validation speakers, as by soctk-train."""
    changes = ("finetune.lr_encoder=30", "finetune.grad_clip=1e9", "head.C=[0.1]")
    config = settings("lora", "mean+soc_full", "linear", *changes)
    experiment(corpus, tmp_path / "exp", config, root / "whisper").run([1], [1])
    run = RunDirectory(tmp_path / "exp", 1, 1)
    records = records_of(run)
    assert min(records, key=lambda record: record["valid_loss"])["epoch"] == 0
    before = load_file(root / "whisper" / "model.safetensors")
    for name, weight in load_file(run.path / "encoder.safetensors").items():
        torch.testing.assert_close(weight, before[f"encoder.{name}"])
    extract(corpus, tmp_path / "feats", Extraction(str(root / "whisper"), (1, 2), "float32"))
    frozen = config.model_copy(update={"finetune": None})
    features = Features(FeatureStore.open(tmp_path / "feats"), corpus.utterances)
    Experiment(frozen, corpus, features, tmp_path / "frozen").run([1], [1])
    tables = [pd.read_csv(RunDirectory(tmp_path / name, 1, 1).predictions, sep="\t") for name in ("exp", "frozen")]
    ours, expected = (table[list(corpus.emotions)].to_numpy() for table in tables)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_head_is_fitted_again_to_descriptors_of_the_trained_encoder(tmp_path, root, corpus):
    predictions = {}
    for refit in ("true", "false"):
        changes = ("finetune.epochs=4", "finetune.patience=4", f"finetune.refit={refit}", "head.C=[0.003]")
        new = experiment(corpus, tmp_path / refit, settings("lora", "mean", "linear", *changes), root / "whisper")
        new.run([1], [1])
        run = RunDirectory(tmp_path / refit, 1, 1)
        assert min(records_of(run), key=lambda record: record["valid_loss"])["epoch"] > 0
        predictions[refit] = pd.read_csv(run.predictions, sep="\t")[list(corpus.emotions)].to_numpy()
    assert np.abs(predictions["true"] - predictions["false"]).max() > 0.01


@pytest.mark.parametrize(
    ("head", "overrides", "is_fitted"),
    [
        ("linear", (), True),
        ("linear", ("finetune.heads=freeze",), True),
        ("linear", ("finetune.heads=train",), False),
        ("linear", ("finetune.refit=false",), False),
        ("linear", ("finetune.start=random",), False),
        ("mlp", (), False),
    ],
)
def test_validation_utterances_train_the_head_only_in_a_last_fit(tmp_path, root, corpus, head, overrides, is_fitted):
    new = experiment(corpus, tmp_path / "exp", settings("lora", "mean", head, *overrides), root / "whisper")
    split = splits.split(corpus, 1, "soctk", 1)
    assert new.trained(split) == (sorted(split.train + split.valid) if is_fitted else split.train)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("recentre.by=speaker",), "--recentre: descriptors of a fine-tuned encoder are not re-centred"),
        (("finetune.start=random", "frames.layers=auto"), "--layer auto: a fold chooses hidden states"),
        (("frames.speeds=[0.9]",), "Give the speeds with --speed-perturb."),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, root, corpus, overrides, text):
    new = experiment(corpus, tmp_path / "exp", settings("lora", "mean", "linear", *overrides), root / "whisper")
    with pytest.raises(SoctkError) as caught:
        new.run([1], [1])
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("tune", "overrides", "text"),
    [
        ("top:3", (), "--tune top:3: the hidden states that are used depend on 2 transformer layers only"),
        ("lora", ("finetune.lora_layers=[1, 3]",), "do not depend on transformer layer 3"),
        # Of the candidates, the middle has the hidden states 1 and 2, others have state 3 too.
        ("top:3", ("frames.layers=auto",), "--tune top:3: the hidden states that are used depend on 2 transformer"),
    ],
)
def test_layers_without_influence_are_refused_before_anything_is_computed(
    tmp_path, root, corpus, tune, overrides, text
):
    new = experiment(corpus, tmp_path / "exp", settings(tune, "mean", "linear", *overrides), root / "whisper")
    with pytest.raises(SoctkError) as caught:
        new.check([1], [1])
    assert text in str(caught.value)


def test_missing_peft_is_reported_before_recordings_are_read_and_packing_needs_none(
    tmp_path, root, corpus, lora, monkeypatch
):
    monkeypatch.setitem(sys.modules, "peft", None)
    pack(Packing(lora.path, fold=1), tmp_path / "model")
    monkeypatch.setattr(experiments.Waveforms, "read", lambda *_: pytest.fail("recordings were read"))
    new = experiment(corpus, tmp_path / "exp", settings(), root / "whisper")
    with pytest.raises(SoctkError, match="LoRA needs the package peft"):
        new.run([1], [1])


def test_each_load_of_the_encoder_has_the_revision(tmp_path, root, corpus, monkeypatch):
    load, revisions = experiments.encoder.load, []

    def keep(extraction, revision=None):
        revisions.append(revision)
        return load(extraction, revision)

    monkeypatch.setattr(experiments.encoder, "load", keep)
    config = settings("lora", "mean", "linear", "finetune.epochs=1")
    experiment(corpus, tmp_path / "exp", config, root / "whisper", revision="0123abc").run([1], [1])
    assert revisions == ["0123abc"] * 3  # for the settings, for the start, and for the run


def test_records_have_the_C_of_the_head(lora, random_head, corpus):
    run = RunDirectory(lora.path, 2, 1)
    [C] = {record["head_C"] for record in records_of(run)}
    frozen = encoders.TunedEncoder(lora._load(), lora.options, lora.recordings.layers)
    inputs = LayerInputs(Waveforms(lora.recordings.utterances, 16000, "1", "none"), "cpu")
    split = splits.split(corpus, 2, "soctk", 1)
    described = lora._described(frozen, inputs, lora.config, 1)
    [fit] = fit_runs(described, lora.config.head, [(splits.Split(split.train, [], split.test), 1)], 1, "cpu")
    assert min(fit.records, key=lambda record: record["valid_loss"])["C"] == C
    assert choice.require(run).name == "epoch"
    assert "head_C" not in records_of(RunDirectory(random_head.path, 2, 1))[0]


def small_folds(corpus, speakers):
    """Return the utterances of three speakers, in three folds."""
    chosen = {utt: speaker for utt, speaker in corpus.speaker.items() if speaker in speakers}
    kept = {name: {utt: getattr(corpus, name)[utt] for utt in chosen} for name in ("wav", "emotion")}
    folds = {speaker: number for number, speaker in enumerate(speakers, start=1)}
    return dataclasses.replace(corpus, speaker=chosen, fold=folds, **kept)


def test_a_linear_start_needs_two_training_speakers(tmp_path, root, corpus):
    data = small_folds(corpus, sorted(corpus.fold)[:3])
    new = experiment(data, tmp_path / "exp", settings("lora", "mean"), root / "whisper")
    with pytest.raises(SoctkError) as caught:
        new.check([1], [1])
    assert "fold 1 has one training speaker; the choice of C needs two" in str(caught.value)
    assert "Put more speakers into each fold, or start with random weights: --head mlp" in str(caught.value)
    other = experiment(data, tmp_path / "exp", settings("lora", "mean", "mlp"), root / "whisper")
    other.check([1], [1])
    drawn = settings("lora", "mean").model_copy(update={"protocol": "emobox"})  # trains on two speakers
    experiment(data, tmp_path / "exp", drawn, root / "whisper").check([1], [1])


def test_training_utterances_of_one_class_are_refused_before_the_fits(tmp_path, root, corpus):
    split = splits.split(corpus, 1, "soctk", 1)
    data = dataclasses.replace(corpus, emotion={**corpus.emotion, **dict.fromkeys(split.train, "calm")})
    new = experiment(data, tmp_path / "exp", settings("lora", "mean"), root / "whisper")
    with pytest.raises(SoctkError, match="the training utterances of fold 1 have only one class, calm"):
        new.check([1], [1])


def test_a_linear_start_needs_the_head_linear(tmp_path, root, corpus):
    config = settings("lora", "mean", "mlp", "finetune.start=linear")
    with pytest.raises(SoctkError, match="a linear fit can start the head linear on emotions only"):
        experiment(corpus, tmp_path / "exp", config, root / "whisper").run([1], [1])


def test_each_fold_chooses_hidden_states_and_the_model_is_packed_with_them(tmp_path, root, corpus):
    config = settings("lora", "auto", "linear", "frames.layers=auto", "finetune.epochs=1")
    experiment(corpus, tmp_path / "exp", config, root / "whisper").run([1], [1])
    chosen = records_of(RunDirectory(tmp_path / "exp", 1, 1))[0]
    bundle = pack(Packing(tmp_path / "exp", fold=1), tmp_path / "model")
    assert list(bundle.settings.encoder.layers) == chosen["layers"]
    assert "+".join(bundle.settings.experiment.pooling) == chosen["pooling"]


def test_bfloat16_is_for_training_only(tmp_path, root, corpus, monkeypatch):
    computed, make = [], FineTuning._tuner

    def watched(self, *arguments):
        model, tuner = make(self, *arguments)
        layer = model.encoder._upstream.blocks[0].self_attn.q_proj
        layer.register_forward_hook(
            lambda _, __, output: computed.append((torch.is_grad_enabled(), output.dtype))  # no gradients: prediction
        )
        return model, tuner

    monkeypatch.setattr(FineTuning, "_tuner", watched)
    config = settings("lora", "mean", "linear", "finetune.precision=bfloat16")
    new = experiment(corpus, tmp_path / "exp", config, root / "whisper")
    new.run([1], [1])
    assert set(computed) == {(True, torch.bfloat16), (False, torch.float32)}
    run = RunDirectory(tmp_path / "exp", 1, 1)
    assert yaml.safe_load(run.config.read_text())["finetune"]["precision"] == "bfloat16"
    bundle = pack(Packing(tmp_path / "exp", fold=1), tmp_path / "model")
    assert bundle.settings.encoder.precision == "float32"


@pytest.mark.parametrize("protocol", ["emobox"])
def test_crossed_heads_under_other_protocols(tmp_path, root, corpus, protocol):
    config = settings("lora", "mean").model_copy(update={"protocol": protocol})
    experiment(corpus, tmp_path / "exp", config, root / "whisper").run([1], [1])
    assert records_of(RunDirectory(tmp_path / "exp", 1, 1))[0]["epoch"] == 0
