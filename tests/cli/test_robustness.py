"""soctk-robustness disturbs test recordings, keeps the answers, and scores them beside those for clean recordings."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from click.testing import CliRunner
from conftest import ROOT, SAMPLE_RATE, write_corpus
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk import config
from soctk.cli import robustness as command
from soctk.corpus import datadir
from soctk.features import extract, side_by_side
from soctk.features.store import FeatureStore
from soctk.inference import fold_test, robustness
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.reporting import figures
from soctk.reporting import robustness as reporting
from soctk.scoring import prediction_file, score
from soctk.scoring.intervals import Ratios
from soctk.scoring.robustness import read
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

MEAN = ("mean", "linear")


def train(folder, name, model=MEAN, overrides=(), seeds=(1,), target="emotion", feats="feats"):
    """Train an experiment on the corpus in a folder."""
    data = datadir.read(folder / "data")
    features = Features(FeatureStore.open(folder / feats), data.utterances)
    settings = config.load([ROOT / "conf"], *model, overrides=list(overrides), target=target)
    Experiment(settings, data, features, folder / name).run([1, 2, 3], list(seeds))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a corpus, features with copies at the speed 0.9, and an experiment with two seeds."""
    folder = tmp_path_factory.mktemp("home")
    data = write_corpus(folder, 1)
    extract.extract(data, folder / "feats", extract.Extraction("fbank", speeds=(0.9,)))
    train(folder, "trained", seeds=(1, 2))
    return folder


@pytest.fixture
def exp(home, tmp_path) -> Path:
    """A copy of the experiment."""
    copy = home / f"exp {tmp_path.name}"
    shutil.copytree(home / "trained", copy)
    return copy


@pytest.fixture(autouse=True)
def has_pictures(request, monkeypatch):
    """Leave out the pictures, which take long, except in tests that use this fixture by name."""
    if not request.node.get_closest_marker("usefixtures"):
        monkeypatch.setattr(reporting, "pictures", lambda several: iter(()))


def invoke(*arguments):
    return CliRunner().invoke(command.main, [*map(str, arguments), "--device", "cpu"])


def answers(exp: Path, condition: str) -> pd.DataFrame:
    """The answers of all runs under a condition."""
    runs = sorted((exp / "robustness" / condition).glob("fold*/seed*"))
    tables = [pd.read_csv(run / "answers.tsv", sep="\t").assign(fold=run.parent.name, seed=run.name) for run in runs]
    return pd.concat(tables, ignore_index=True)


def files(exp: Path) -> dict[str, bytes]:
    return {str(path.relative_to(exp)): path.read_bytes() for path in exp.glob("robustness/*/fold*/seed*/*")}


def test_clean_recordings_give_the_predictions_of_the_runs(exp):
    result = invoke(exp, "--conditions", "clean")
    assert result.exit_code == 0, result.output
    for fold in (1, 2, 3):
        for seed in (1, 2):
            path = Path(f"fold{fold}/seed{seed}")
            own = prediction_file.read_run(exp / path / "predictions.tsv")
            clean = prediction_file.read_run(exp / "robustness" / "clean" / path / "answers.tsv")
            assert clean.table.equals(own.table)
            np.testing.assert_allclose(clean.posteriors, own.posteriors, atol=1e-3)


def test_each_recording_is_disturbed_as_the_name_says_and_answered_by_the_model_of_its_fold(exp, monkeypatch):
    heard: dict[bytes, np.ndarray] = {}
    encode = fold_test.SharedEncoder.hidden_states

    def listen(encoder, several, layers):
        heard.update({waveform.tobytes(): waveform for waveform in several})
        return encode(encoder, several, layers)

    monkeypatch.setattr(fold_test.SharedEncoder, "hidden_states", listen)
    result = invoke(exp, "--conditions", "white:10", "--folds", 2, "--seeds", 1)
    assert result.exit_code == 0, result.output
    found = answers(exp, "white_10").set_index("utt")
    data = datadir.read(exp.parent / "data")
    assert sorted(found.index) == data.utterances_of([2])
    model = Recogniser(*_packed(exp, 2))
    for utt in data.utterances_of([2])[:4]:
        clean, _ = soundfile.read(data.wav[utt], dtype="float32")
        (noisy,) = [
            each for each in heard.values() if len(each) == len(clean) and 0.9 < np.corrcoef(each, clean)[0, 1] < 0.999
        ]
        noise = noisy.astype(np.float64) - clean
        assert 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(10, abs=0.01)
        expected = model.values(noisy, SAMPLE_RATE)
        np.testing.assert_allclose(found.loc[utt, model.emotions].to_numpy(float), expected, atol=2e-6)


def _packed(exp: Path, fold: int):
    """The model and the runtime of a fold, packed by soctk-pack."""
    model = Recogniser.load(str(pack(Packing(exp, fold, 1), exp.with_name(f"{exp.name}-model")).path))
    return model.bundle, model.runtime


def test_the_answers_are_the_same_bits_for_any_number_of_processes_and_utterances_of_a_job(exp, home, monkeypatch):
    other = home / "other number"
    shutil.copytree(exp, other)
    for experiment, nj, together in ((exp, 1, 16), (other, 2, 2)):
        monkeypatch.setattr(robustness, "_TOGETHER", together)
        result = invoke(experiment, "--conditions", "babble:0 reverb", "--nj", nj, "--folds", "1 3")
        assert result.exit_code == 0, result.output
    assert len(files(exp)) == 2 * 2 * 2 * 3
    assert files(exp) == files(other)


def test_an_interrupted_test_keeps_finished_conditions_and_a_rerun_computes_the_rest(exp, home, monkeypatch):
    whole = home / "whole"
    shutil.copytree(exp, whole)
    assert invoke(whole, "--conditions", "white:0 cut:0.2").exit_code == 0
    finish, count = robustness._finish, 0

    def interrupted(*arguments):
        nonlocal count
        count += 1
        if count == 6:  # in the third condition of the first fold; there are two seeds
            raise KeyboardInterrupt
        finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(robustness, "_finish", interrupted)
        result = invoke(exp, "--conditions", "white:0 cut:0.2")
    assert result.exit_code == 130
    kept = {path: path.stat().st_mtime_ns for path in exp.glob("robustness/*/fold*/seed*/answers.tsv")}
    assert len(kept) == 5
    encoded = []
    answer = fold_test.FoldTest.answer
    monkeypatch.setattr(
        fold_test.FoldTest, "answer", lambda *given: (encoded.append((given[1].name, given[2])), answer(*given))[1]
    )
    assert invoke(exp, "--conditions", "white:0 cut:0.2").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert files(exp) == files(whole)
    in_first = [name for name, utterances in encoded if "spk0-calm-0" in utterances]
    assert in_first == ["cut:0.2"]


def test_predictions_of_runs_that_were_trained_again_are_refused(exp):
    assert invoke(exp, "--conditions", "gain:12", "--folds", 1).exit_code == 0
    weights = exp / "fold1" / "seed2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    result = invoke(exp, "--conditions", "gain:12", "--folds", 1)
    assert result.exit_code == 1
    assert "fold1/seed2 was trained again since\n" in result.stderr
    assert f"Remove {exp / 'robustness'}, and run soctk-robustness again.\n" in result.stderr


def test_noise_recordings_that_have_changed_are_refused(exp, tmp_path):
    noise = np.random.default_rng(0).normal(size=SAMPLE_RATE)
    soundfile.write(tmp_path / "fan.wav", 0.1 * noise, SAMPLE_RATE)
    result = invoke(exp, "--conditions", "noise:5", "--noise", tmp_path, "--folds", 1)
    assert result.exit_code == 0, result.output
    assert "\nnoise 5 dB" in result.stdout
    soundfile.write(tmp_path / "fan.wav", 0.2 * noise, SAMPLE_RATE)
    result = invoke(exp, "--conditions", "noise:5", "--noise", tmp_path, "--folds", 1)
    assert result.exit_code == 1
    assert "the recordings in --noise are other ones\n" in result.stderr
    assert f"Remove {exp / 'robustness' / 'noise_5'}, and run" in result.stderr


def test_changed_recordings_are_found_by_the_clean_ones(exp, home):
    data = datadir.read(home / "data")
    path = data.wav["spk1-sad-0"]
    before = path.read_bytes()
    try:
        soundfile.write(path, np.random.default_rng(0).normal(size=SAMPLE_RATE // 2) * 0.1, SAMPLE_RATE)
        result = invoke(exp, "--conditions", "clean", "--folds", 2)
    finally:
        path.write_bytes(before)
    assert result.exit_code == 1
    assert f"{exp}/fold2/seed1: the test recordings as they are do not give the predictions of the run: the posteriors "
    assert "of 1 of 6 utterances differ by more than 0.02\n  spk1-sad-0 " in result.stderr
    assert not (exp / "robustness" / "clean").exists()


@pytest.mark.usefixtures("has_pictures")
def test_the_table_has_the_scores_of_the_answers_and_their_paired_differences(exp):
    result = invoke(exp, "--conditions", "white:0 babble:-5")
    assert result.exit_code == 0, result.output
    lines = {line[:13].strip(): line[13:].split() for line in result.stdout.splitlines()}
    clean = answers(exp, "clean")
    for name, title in (("white_0", "white 0 dB"), ("babble_-5", "babble −5 dB")):
        table = answers(exp, name)
        is_right = table["ref"] == table["hyp"]
        wa = 100 * is_right.groupby(table["seed"]).mean().mean()
        ua = 100 * is_right.groupby([table["seed"], table["ref"]]).mean().mean()
        change = wa - 100 * (clean["ref"] == clean["hyp"]).mean()
        shown = [float(word.strip("[],").replace("−", "-")) for word in lines[title]]
        assert [shown[0], shown[3], shown[6]] == pytest.approx([wa, ua, change], abs=0.051)
        # The interval of the difference, from the differences of each speaker alone.
        speakers = sorted(set(table["spk"]))
        both = [[100 * (t["ref"] == t["hyp"])[t["spk"] == spk].mean() for spk in speakers] for t in (table, clean)]
        count = np.full((len(speakers), 1), 3.0)
        own, reference = (
            Ratios(np.array(values)[:, None] * 3 / 100, count, np.array([100.0]), np.array([100 / 18]), 100)
            for values in both
        )
        assert shown[7:9] == pytest.approx(own.minus(reference).interval()[1:], abs=0.051)
    assert len(score.score([exp])) == 1  # soctk-score does not take the answers for experiments
    files = json.dumps([path.name for path in sorted((exp / "robustness").iterdir()) if path.is_file()])
    assert files == '["ROBUSTNESS.md", "robustness.png", "robustness.svg"]'
    text = (exp / "robustness" / "ROBUSTNESS.md").read_text()
    assert "- babble: the sum of 6 other test recordings of the same fold" in text
    assert "| white 0 dB   |" in text


def test_a_later_call_shows_all_conditions_and_one_of_a_fold_says_so(exp):
    assert invoke(exp, "--conditions", "white:0").exit_code == 0
    result = invoke(exp, "--conditions", "cut:0.2", "--folds", 2)
    assert "white 0 dB" in result.stdout and "cut 0.2 s" in result.stdout
    assert f"{exp.name}: only the folds 2 were tested." in result.stdout.replace("\n", " ")
    result = invoke(exp, "--conditions", "clean")
    assert "white 0 dB" in result.stdout and "cut 0.2 s" not in result.stdout


@pytest.mark.parametrize("enrol", ["all", 2])
def test_re_centred_models_subtract_the_mean_of_recordings_with_the_same_disturbance(home, enrol):
    exp = home / f"recentred {enrol}"
    train(home, exp.name, overrides=["recentre.by=speaker", f"recentre.enrol={enrol}"])
    result = invoke(exp, "--conditions", "gain:-6")  # clean is compared with the predictions of the runs
    assert result.exit_code == 0, result.output
    assert "These recordings are disturbed in the same way as the test recordings." in result.stdout.replace("\n", " ")
    if enrol != "all":
        return
    data = datadir.read(home / "data")
    model = Recogniser(*_packed(exp, 3))
    quiet = {utt: soundfile.read(data.wav[utt], dtype="float32")[0] * 10 ** (-6 / 20) for utt in data.utterances}
    speaker = model.enrol([quiet[utt] for utt in data.utterances if data.speaker[utt] == "spk2"], SAMPLE_RATE)
    found = answers(exp, "gain_-6").set_index("utt")
    for utt in ("spk2-calm-0", "spk2-sad-0"):
        expected = model.values(quiet[utt], SAMPLE_RATE, speaker)
        np.testing.assert_allclose(found.loc[utt, model.emotions].to_numpy(float), expected, atol=1e-4)


def test_re_centring_with_test_speakers_in_the_training_data_is_refused(tmp_path):
    corpus = write_corpus(tmp_path)
    folds = {utt: 1 + number % 3 for number, utt in enumerate(corpus.utterances)}
    shared = dataclasses.replace(corpus, fold={}, utterance_fold=folds)
    datadir.write(tmp_path / "shared", shared)
    data = datadir.read(tmp_path / "shared")
    extract.extract(data, tmp_path / "feats", extract.Extraction("fbank"))
    features = Features(FeatureStore.open(tmp_path / "feats"), data.utterances)
    settings = config.load([ROOT / "conf"], *MEAN, protocol="utterance-folds", overrides=["recentre.by=speaker"])
    Experiment(settings, data, features, tmp_path / "exp").run([1], [1])
    result = invoke(tmp_path / "exp", "--conditions", "gain:6")
    assert result.exit_code == 1
    assert "test speakers are training speakers too (6 of 6 speakers in several folds)" in result.stderr
    assert "Test an experiment without re-centring.\n" in result.stderr


def test_the_head_mlp_with_re_centring_is_refused(home):
    quick = ["train.epochs=1", "recentre.by=speaker"]
    train(home, "mlp", ("mean", "mlp"), overrides=quick)
    result = invoke(home / "mlp", "--conditions", "clean")
    assert result.exit_code == 1
    assert "re-centring with the head mlp would need the descriptors" in result.stderr


@pytest.fixture(scope="module")
def layers(tmp_path_factory) -> Path:
    """A folder with an encoder of three layers, and experiments on the hidden states 1 and 2, and on 3."""
    folder = tmp_path_factory.mktemp("layers")
    settings = Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, conv_dim=(8, 8),
        conv_kernel=(10, 8), conv_stride=(10, 8), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(settings).save_pretrained(folder / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(folder / "encoder")
    data = write_corpus(folder, 1)
    extract.extract(data, folder / "feats", extract.Extraction(str(folder / "encoder"), "all"))
    train(folder, "first", overrides=["frames.layers=[1,2]"])
    train(folder, "second", ("mean", "mlp"), overrides=["frames.layers=[3]", "train.epochs=3", "train.batch_size=12"])
    return folder


@pytest.mark.usefixtures("has_pictures")
def test_experiments_side_by_side_share_the_encoding(layers, tmp_path, monkeypatch):
    exps = [layers / "first", layers / "second"]
    refused = invoke(*exps, "--conditions", "clean")
    assert refused.exit_code == 1
    message = "which was a folder or a class of yours\nGive it: --encoder DIR, MODULE:CLASS or FILE.py:CLASS.\n"
    assert message in refused.stderr
    refused = invoke(*exps, "--conditions", "clean", "--encoder", layers / "encoder", "--encoder", tmp_path)
    assert f"--encoder {tmp_path}: no experiment has features from this encoder (sha256:" in refused.stderr
    encoded = []
    encode = fold_test.SharedEncoder.hidden_states

    def listen(encoder, several, layers):
        encoded.append(len(encoder._known))
        return encode(encoder, several, layers)

    monkeypatch.setattr(fold_test.SharedEncoder, "hidden_states", listen)
    result = invoke(*exps, "--conditions", "telephone", "--encoder", layers / "encoder")
    assert result.exit_code == 0, result.output
    assert encoded == [0, 1] * 18 * 2  # the second model finds the waveform that the first one needed
    assert "ROBUSTNESS.md is not written: with several experiments, give --output DIR.\n" in result.stdout
    assert "WA [95%]" in result.stdout
    result = invoke(*exps, "--conditions", "telephone", "--output", tmp_path / "both")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "both" / "ROBUSTNESS.md").read_text()
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith(("| WA", "| telephone"))][:2]
    assert [cell.strip() for cell in rows[0]] == ["WA [95%]", "first", "second"]
    for cell, experiment in zip(rows[1][1:], exps, strict=True):
        (found,) = score.score([experiment])
        assert cell.split()[0] == f"{read(found).rows[1].scores['WA'].value:.1f}"


def test_the_hidden_states_and_poolings_that_each_fold_chose_are_used(layers):
    train(layers, "chosen", ("auto", "linear"), overrides=["frames.layers=auto"])
    result = invoke(layers / "chosen", "--conditions", "gain:6", "--encoder", layers / "encoder")
    assert result.exit_code == 0, result.output  # clean is compared with the runs
    assert "gain +6 dB" in result.stdout


@pytest.fixture(scope="module")
def stores(layers) -> list[Path]:
    """The stores of three encoders: two from folders, and fbank."""
    settings = Wav2Vec2Config.from_pretrained(layers / "encoder")
    Wav2Vec2Model(settings).save_pretrained(layers / "other")
    Wav2Vec2FeatureExtractor().save_pretrained(layers / "other")
    data, paths = datadir.read(layers / "data"), [layers / "feats", layers / "fbank", layers / "other feats"]
    extract.extract(data, paths[1], extract.Extraction("fbank"))
    extract.extract(data, paths[2], extract.Extraction(str(layers / "other"), "all"))
    return paths


def train_several(layers, stores, name, used):
    """Train an experiment on several stores, with the hidden states of each that are in `used`."""
    store = side_by_side.open_stores(*stores)
    chosen = config.load([ROOT / "conf"], *MEAN, overrides=[f"frames.layers={store.joint(used)}"])
    data = datadir.read(layers / "data")
    Experiment(chosen, data, Features(store, data.utterances), layers / name).run([1, 2, 3], [1])


def test_the_encoders_of_an_experiment_with_several_are_matched_by_their_checksums(layers, stores):
    train_several(layers, stores, "three", ((2,), (0,), (1,)))
    given = ["--encoder", layers / "other", "--encoder", layers / "encoder"]
    result = invoke(layers / "three", "--conditions", "gain:6", *given)  # clean is compared with the runs
    assert result.exit_code == 0, result.output
    assert "gain +6 dB" in result.stdout


def test_experiments_side_by_side_may_use_other_encoders_of_the_same_stores(layers, stores):
    train_several(layers, stores, "two of three", ((2,), (), (1,)))
    train_several(layers, stores, "one of three", ((), (), (3,)))
    given = ["--encoder", layers / "other", "--encoder", layers / "encoder"]
    for names in (["two of three", "one of three"], ["one of three", "two of three"]):
        result = invoke(*(layers / name for name in names), "--conditions", "gain:6", *given)  # clean is compared too
        assert result.exit_code == 0, result.output
        for name in names:
            shutil.rmtree(layers / name / "robustness")


@pytest.mark.usefixtures("has_pictures")
def test_dimensions_have_a_table_each_with_ccc(home):
    folder = home / "dimensions"
    shutil.copytree(home / "data", folder / "data")
    data = datadir.read(home / "data")
    generator = np.random.default_rng(0)
    values = {utt: {"calm": 1.0, "angry": 5.0, "sad": 2.0}[data.emotion[utt]] + generator.normal() for utt in data.wav}
    labelled = dataclasses.replace(data, dimensions={"arousal": values, "valence": values})
    datadir.write(folder / "data", labelled)
    extract.extract(datadir.read(folder / "data"), folder / "feats", extract.Extraction("fbank"))
    train(folder, "exp", target="arousal+valence")
    result = invoke(folder / "exp", "--conditions", "white:0")
    assert result.exit_code == 0, result.output
    table = answers(folder / "exp", "white_0")
    x, y = table["ref_arousal"], table["hyp_arousal"]
    ccc = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var(ddof=0) + y.var(ddof=0) + (x.mean() - y.mean()) ** 2)
    line = next(line for line in result.stdout.splitlines() if line.startswith("white 0 dB"))
    assert float(line.split()[3].replace("−", "-")) == pytest.approx(ccc, abs=0.0051)
    assert (folder / "exp" / "robustness" / "robustness-valence.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "9"], "the experiment has no finished runs with --folds 9\nChoose from 1 2 3."),
        (["--seeds", "1 5"], "the experiment has no finished runs with --seeds 5\nChoose from 1 2."),
        (["--conditions", "wite"], "--conditions: unknown condition 'wite'\nDid you mean 'white'?"),
        (["--noise", "gone"], "--noise gone: no recordings ("),
        (["--data", "gone"], "gone: not a data directory"),
    ],
)
def test_what_is_wrong_is_one_message(exp, arguments, message):
    result = invoke(exp, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (exp / "robustness").exists()


@pytest.mark.usefixtures("has_pictures")
def test_reports_have_the_picture_of_complete_tests_of_the_runs_as_they_are_now(exp, capsys):
    def names():
        return [picture.name for picture in figures.pictures(score.score([exp]), None, has_descriptors=False)]

    assert invoke(exp, "--conditions", "cut:0.2", "--folds", 1).exit_code == 0
    assert f"{exp.name}-robustness" not in names()  # folds 2 and 3 are missing
    assert invoke(exp, "--conditions", "cut:0.2").exit_code == 0
    assert f"{exp.name}-robustness" in names()
    (exp / "fold3" / "seed1" / "model.safetensors").unlink()
    assert f"{exp.name}-robustness" not in names()
    assert f"{exp.name}: no picture of its robustness, because {exp}/robustness/clean/" in capsys.readouterr().err


def test_a_change_of_nothing_has_no_minus_sign(exp):
    assert invoke(exp, "--conditions", "gain:0").exit_code == 0
    (experiment,) = score.score([exp])
    _, row = read(experiment).rows
    tiny = {key: change._replace(value=-1e-14) for key, change in row.changes.items()}
    assert reporting._change(dataclasses.replace(row, changes=tiny), "WA").startswith("+0.0")


def test_what_was_tested_is_recorded(exp):
    assert invoke(exp, "--conditions", "mp3", "--folds", 1, "--seeds", 1).exit_code == 0
    stored = yaml.safe_load((exp / "robustness" / "mp3_32" / "fold1" / "seed1" / "config.yaml").read_text())
    assert stored["condition"] == "mp3:32"
    assert stored["made_with"]["device"] == "cpu"
