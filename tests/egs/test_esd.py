"""egs/esd on synthetic copies of the corpus, in both of its layouts."""

import csv
import gzip
import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT

from soctk import config
from soctk.corpus import datadir, folds

RECIPE = ROOT / "egs" / "esd"
EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
FOLDS = "1: [esd-0003]\n2: [esd-0011]\n3: [esd-0020]\n"
SPEAKERS = ("0003", "0011", "0020")


def place(root: Path, speaker: str, number: int, split: bool) -> Path:
    """Return the path of a recording in the published archive: 0011/Angry[/train]/0011_000351.wav."""
    emotion = EMOTIONS[(number - 1) // 350]
    part = ("evaluation", "test", "train")[min((number - 1) % 350 // 20, 2)] if split else ""
    return root / speaker / emotion / part / f"{speaker}_{number:06}.wav"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> list[Path]:
    """100 recordings of 0.1 s; all files of the copies are hard links to them."""
    folder = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(100)]
    for path in paths:
        soundfile.write(path, generator.normal(0, 0.1, 1600), 16000)
    return paths


def make_copy(corpus: Path, sounds: list[Path], split: bool) -> Path:
    """Write all recordings of three speakers below `corpus`, in one of the two layouts and folder names."""
    root = corpus / ("Emotional Speech Dataset (ESD)" if split else "Emotion Speech Dataset")
    for speaker in SPEAKERS:
        for number in range(1, 1751):
            target = place(root, speaker, number, split)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(sounds[number % 100])
        (root / speaker / f"{speaker}.txt").write_bytes("中立".encode("gbk"))
    return corpus


@pytest.fixture
def copy(tmp_path, sounds) -> Path:
    """A copy that a test may damage."""
    return make_copy(tmp_path / "a copy", sounds, split=True)


def find(corpus: Path, name: str) -> Path:
    (path,) = corpus.rglob(f"{name}.wav")
    return path


def prepare(corpus: Path, data: Path, *arguments: str) -> subprocess.CompletedProcess:
    table = data.parent / "folds.yaml"
    table.write_text(FOLDS)
    command = [sys.executable, RECIPE / "local" / "prepare.py", corpus, data, "--folds", table, *arguments]
    return subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)


def refusal(corpus: Path, data: Path) -> str:
    """Check that stage 0 fails and writes no data directory, and return its message."""
    result = prepare(corpus, data)
    assert result.returncode == 1
    assert not data.exists()
    return result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["flat", "split"])
def test_both_layouts_give_all_recordings(sounds, tmp_path, layout):
    result = prepare(make_copy(tmp_path / "copy", sounds, layout == "split"), tmp_path / "data")
    assert result.returncode == 0
    data = datadir.read(tmp_path / "data")
    assert datadir.summary(data) == (
        "5250 utterances, 0.15 h, 3 speakers, 3 folds; Neutral 1050, Angry 1050, Happy 1050, Sad 1050, Surprise 1050"
    )
    assert data.speaker["esd-0011-000350"] == "esd-0011"
    assert [data.emotion[f"esd-0011-{n:06}"] for n in (1, 350, 351, 700, 701, 1050, 1051, 1400, 1401, 1750)] == [
        emotion for emotion in EMOTIONS for _ in range(2)
    ]
    assert (data.gender["esd-0003"], data.gender["esd-0011"]) == ("f", "m")
    assert "Emotion" in str(data.wav["esd-0003-000001"])


@pytest.mark.slow
def test_durations_that_differ_from_emobox_are_reported(copy, tmp_path):
    warning = prepare(copy, tmp_path / "data").stdout
    assert "Warning: the durations differ from those in EmoBox" in warning
    assert "  esd-0003 Neutral: 35.000 s, not " in warning


def test_missing_recordings_are_counted_by_speaker_and_emotion(copy, tmp_path):
    for name in ("0011_000351", "0011_000352", "0020_001750"):
        find(copy, name).unlink()
    assert (
        f"{copy}: 3 of the 5250 recordings are missing\n"
        "  esd-0011 Angry: 2 of 350 are missing, such as 0011_000351\n"
        "  esd-0020 Surprise: 1 of 350 are missing, such as 0020_001750\n"
        "Unpack the archive of ESD again"
    ) in refusal(copy, tmp_path / "data")


def test_a_missing_speaker_is_named(copy, tmp_path):
    shutil.rmtree(next(copy.glob("*/0011")))
    message = refusal(copy, tmp_path / "data")
    assert "1750 of the 5250 recordings are missing\n  esd-0011: the speaker is missing\nUnpack" in message


def test_an_incomplete_copy_is_reported(copy, tmp_path):
    for name in [path for path in copy.rglob("0020_*.wav") if int(path.stem[5:]) > 800]:
        name.unlink()
    message = refusal(copy, tmp_path / "data")
    assert "950 of the 5250 recordings are missing\n  esd-0020 Happy: 250 of 350 are missing, such as 0020_000801" in (
        message
    )
    assert "esd-0020 Sad: 350 of 350 are missing" in message


@pytest.mark.slow
def test_a_truncated_recording_is_named(copy, tmp_path):
    last = find(copy, "0020_001750")
    header = last.read_bytes()[:20]
    last.unlink()
    last.write_bytes(header)
    message = refusal(copy, tmp_path / "data")
    assert "1 of 5250 recordings cannot be used\nunreadable (1): Replace these files" in message
    assert "\n  0020_001750 " in message
    assert "cannot be decoded" in message


def test_exchanged_folders_are_reported(copy, tmp_path):
    sad, angry = (next(copy.glob(f"*/0011/{emotion}")) for emotion in ("Sad", "Angry"))
    sad.rename(sad.with_name("was sad"))
    angry.rename(sad)
    sad.with_name("was sad").rename(angry)
    message = refusal(copy, tmp_path / "data")
    assert (
        f"{copy}: recordings with unknown numbers or in the wrong folder\n"
        "  esd-0011 Sad: 350 recordings have numbers of Angry, such as 0011_000351\n"
        "  esd-0011 Angry: 350 recordings have numbers of Sad, such as 0011_001051\nUnpack"
    ) in message


def test_an_unknown_recording_number_is_reported(copy, tmp_path):
    find(copy, "0011_001750").with_name("0011_001751.wav").hardlink_to(find(copy, "0011_000001"))
    assert "  0011_001751: the numbers of ESD go from 1 to 1750\n" in refusal(copy, tmp_path / "data")


def test_a_folder_without_esd_is_reported(tmp_path):
    message = refusal(tmp_path, tmp_path / "data")
    assert "5250 of the 5250 recordings are missing\n  esd-0003: the speaker is missing\n" in message


@pytest.mark.slow
def test_files_that_are_in_both_layouts_are_used_once(copy, tmp_path):
    original = find(copy, "0003_000351")
    again = original.parents[1] / original.name
    again.hardlink_to(original)
    assert (
        f"{copy} contains 1 file more than once; the first copy of each is used\n"
        in prepare(copy, tmp_path / "d").stdout
    )
    again.unlink()
    soundfile.write(again, np.full(1600, 0.5), 16000)
    assert "these files have the same name but different content\n  0003_000351\n" in refusal(copy, tmp_path / "data")


def load_prepare():
    spec = importlib.util.spec_from_file_location("esd_prepare", RECIPE / "local" / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ids_emotions_folds_and_durations_equal_emoboxs(shared):
    with gzip.open(shared / "emobox" / "esd_utterances.tsv.gz", "rt") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))
    prepare = load_prepare()
    fold = folds.read(RECIPE / "conf" / "folds" / "all.yaml")
    ours = {
        (f"esd-{name.replace('_', '-')}", str(fold[speaker]), emotion)
        for speaker in fold
        for emotion in prepare.EMOTIONS
        for name in prepare.names_of(speaker, emotion)
    }
    assert ours == {(key, its_fold, emotion) for key, its_fold, emotion, *_ in rows}
    assert {prepare.emotion_of(key[4:].replace("-", "_")) for key, _, emotion, *_ in rows if emotion == "Sad"} == {
        "Sad"
    }
    samples = defaultdict(float)
    for key, _, emotion, count, _ in rows:
        samples[key[:8], emotion] += float(count)
    with (RECIPE / "local" / "seconds.tsv").open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            for emotion in prepare.EMOTIONS:
                assert float(row[emotion]) == pytest.approx(samples[row["speaker"], emotion] / 16000, abs=1e-3)


def test_each_fold_of_a_language_has_one_man_and_one_woman():
    tables = {name: folds.read(RECIPE / "conf" / "folds" / f"{name}.yaml") for name in ("en", "zh", "cross-lingual")}
    women = load_prepare().WOMEN
    for name, first in (("zh", 1), ("en", 11)):
        assert sorted(tables[name]) == [f"esd-{i:04}" for i in range(first, first + 10)]
        sexes = Counter((k, int(speaker[-4:]) in women) for speaker, k in tables[name].items())
        assert sexes == {(k, woman): 1 for k in range(1, 6) for woman in (True, False)}
    assert tables["cross-lingual"] == dict.fromkeys(sorted(tables["zh"]), 1) | dict.fromkeys(sorted(tables["en"]), 2)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of the recipe beside a small corpus: 20 speakers with three recordings per emotion.

    English speakers have the split layout, Mandarin speakers the flat one. The frequency of a tone encodes the emotion.
    """
    folder = tmp_path_factory.mktemp("a folder")
    generator = np.random.default_rng(0)
    for speaker in range(1, 21):
        for index in range(5):
            for take in range(1, 4):
                path = place(folder / "ESD", f"{speaker:04}", 350 * index + take, split=speaker > 10)
                path.parent.mkdir(parents=True, exist_ok=True)
                tone = np.sin(np.arange(4800) * 0.1 * (1 + index)) * np.linspace(0.2, 1, 4800)
                soundfile.write(path, 0.05 * generator.normal(size=4800) + 0.4 * tone, 16000)
    ignore = shutil.ignore_patterns("data", "feats", "exp", "__pycache__")
    copy = Path(shutil.copytree(RECIPE, folder / "esd", ignore=ignore))
    (copy / "path.sh").write_text(f'. "{ROOT}/egs/esd/path.sh"\n')  # the copy uses this checkout
    return copy


def run(recipe: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([recipe / "run.sh", *arguments], capture_output=True, text=True, cwd=recipe.parent)


SMALL = ("--corpus", "ESD", "--partial", "true", "--pooling", "mean", "--head", "linear", "--nj", "1")


def scores(recipe: Path, experiment: str) -> dict:
    return json.loads((recipe / "exp" / "scores.json").read_text())["experiments"][experiment]


@pytest.mark.slow
def test_all_stages_run_on_a_small_copy(recipe):
    result = run(recipe, *SMALL)
    assert result.returncode == 0, result.stderr
    assert "Warning: 34700 of the 35000 recordings are missing\n" in result.stdout
    assert "Results cannot be compared with published ones.\n" in result.stdout
    assert "h, 20 speakers, 5 folds; Neutral 60, Angry 60, Happy 60, Sad 60, Surprise 60" in result.stdout
    runs = scores(recipe, "fbank-mean-linear-paper")["runs"]
    assert [run["utterances"] for run in runs] == [60] * 5
    assert scores(recipe, "fbank-mean-linear-paper")["over_folds"]["UA"]["mean"] > 90


@pytest.mark.slow
def test_one_language_has_its_own_directories(recipe, tmp_path):
    """cmd.sh prints the commands of the long stages instead of running them."""
    dry = Path(shutil.copytree(recipe, tmp_path / "esd", ignore=shutil.ignore_patterns("data", "feats", "exp")))
    (dry / "cmd.sh").write_text("extract_cmd=(echo)\ntrain_cmd=(echo)\n")
    result = run(dry, "--corpus", recipe.parent / "ESD", *SMALL[2:], "--language", "en", "--stop-stage", "2")
    assert result.returncode == 0, result.stderr
    assert "data/esd-en: 150 utterances, 0.01 h, 10 speakers, 5 folds" in result.stdout
    assert {int(speaker[-4:]) for speaker in datadir.read(dry / "data" / "esd-en").gender} == set(range(11, 21))
    assert "soctk-extract data/esd-en feats/fbank-en " in result.stdout
    assert "soctk-train data/esd-en feats/fbank-en exp/fbank-mean-linear-paper-en " in result.stdout


@pytest.mark.slow
def test_each_language_is_tested_with_a_model_trained_on_the_other(recipe):
    for stages in (("--stop-stage", "0"), ("--stage", "2")):  # the features of both languages are there
        result = run(recipe, *SMALL, "--protocol", "cross-lingual", "--seeds", "1 2", *stages)
        assert result.returncode == 0, result.stderr
    results = (recipe / "exp" / "RESULTS.md").read_text()
    assert "Protocol cross-lingual, head linear, seeds 1, 2." in results
    assert (
        "- Protocol cross-lingual: a fold is a language: fold k tests all its speakers with a model trained on the"
        in (results)
    )
    for fold, language in ((1, range(1, 11)), (2, range(11, 21))):
        experiment = recipe / "exp" / "fbank-mean-linear-paper-cross-lingual"
        rows = (experiment / f"fold{fold}" / "seed1" / "predictions.tsv").read_text().splitlines()[1:]
        assert {row.split("\t")[1] for row in rows} == {f"esd-{i:04}" for i in language}
        assert len(rows) == 150
        settings = yaml.safe_load((experiment / f"fold{fold}" / "seed1" / "config.yaml").read_text())
        assert settings["protocol"] == "cross-lingual"


def test_batch_size_and_d_equal_the_papers():
    settings = config.load([ROOT / "conf", RECIPE / "conf"], "soc")
    assert (settings.train.batch_size, settings.pooling["soc"]["d"]) == (64, 24)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 1, "stage 0 needs the recordings\nGive --corpus DIR. ESD is given for research on request: see https://"),
        (["--language", "fr"], 2, "Invalid value for '--language': 'fr' is not one of 'all', 'en', 'zh'."),
        (["--partial", "yes"], 2, "Invalid value for '--partial': 'yes' is not one of 'false', 'true'."),
        (
            ["--protocol", "cross-lingual", "--language", "en"],
            1,
            "--protocol cross-lingual: works only with --language all, not with --language en",
        ),
    ],
)
def test_missing_and_wrong_options_are_reported(recipe, arguments, code, message):
    result = run(recipe, *arguments)
    assert result.returncode == code
    assert f"Error: {message}" in result.stderr
