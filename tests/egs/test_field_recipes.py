"""Stage 0 of egs/emodb, cremad, iemocap, msp_podcast and meld on small corpora with the published layouts."""

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT
from recipes import call, git_show, load, to_scores, tone

from soctk.corpus import datadir, folds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> list[Path]:
    """50 recordings; the files of the corpora are hard links to them."""
    folder = tmp_path_factory.mktemp("sounds")
    return [tone(folder / f"{number}.wav", number) for number in range(50)]


def place(path: Path, sounds: list[Path], number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(sounds[number % len(sounds)])
    return path


# --- EmoDB


def make_emodb(corpus: Path, sounds: list[Path]) -> Path:
    names = (ROOT / "egs" / "emodb" / "local" / "names.txt").read_text().split()
    for number, name in enumerate(names):
        place(corpus / "wav" / f"{name}.wav", sounds, number)
    return corpus


def test_emodb_has_its_utterances_classes_and_sexes(sounds, tmp_path, monkeypatch):
    result = call(load("emodb", monkeypatch), make_emodb(tmp_path / "download", sounds), tmp_path / "data")
    assert result.exit_code == 0, result.output
    data = datadir.read(tmp_path / "data")
    counts = {"Neutral": 79, "Happy": 71, "Sad": 62, "Angry": 127, "Fear": 69, "Disgust": 46, "Boredom": 81}
    assert Counter(data.emotion.values()) == counts  # Burkhardt et al. 2005
    assert (data.emotion["03-a01Fa"], data.emotion["16-b10Wb"]) == ("Happy", "Angry")
    assert Counter(data.gender.values()) == {"f": 5, "m": 5}
    assert {(data.fold[name], sex) for name, sex in data.gender.items()} == {(k, s) for k in range(1, 6) for s in "fm"}
    assert data.extra["sentence"]["03-a01Fa"] == "a01"
    assert "Warning: the recordings last 53.5 s together, not 1487.1 s: they are cut or padded" in result.output


def test_a_half_unpacked_emodb_and_a_wrong_folder_are_reported(sounds, tmp_path, monkeypatch):
    prepare, corpus = load("emodb", monkeypatch), make_emodb(tmp_path / "download", sounds)
    for path in sorted((corpus / "wav").iterdir())[:3]:
        path.unlink()
    result = call(prepare, corpus, tmp_path / "data")
    assert result.exit_code == 1
    assert "3 of the 535 recordings are missing\n  03a01Fa\n  03a01Nc\n  03a01Wa\nUnpack download.zip" in result.output
    assert not (tmp_path / "data").exists()
    place(corpus / "wav" / "17a01Fa.wav", sounds, 0)
    result = call(prepare, corpus, tmp_path / "data", "--partial")
    assert result.exit_code == 0
    assert "Note: 1 file is not part of the corpus and not used, such as 17a01Fa" in result.output
    (tmp_path / "empty").mkdir()
    message = call(prepare, tmp_path / "empty", tmp_path / "d").output
    assert "535 of the 535 recordings are missing" in message
    assert "--partial" not in message


# --- CREMA-D


def test_crema_ds_names_equal_those_of_emobox(monkeypatch):
    prepare = load("cremad", monkeypatch)
    names = prepare.expected_names()
    assert len(set(names)) == len(names) == 7442
    assert Counter(name.split("_")[2] for name in names) == dict.fromkeys(prepare.EMOTIONS, 1271) | {"NEU": 1087}
    text = git_show("emo-box+EmoBox", "data/cremad/cremad.jsonl")
    if text is not None:
        assert {Path(json.loads(line)["wav"]).stem for line in text.splitlines()} == set(names)


def test_crema_d_has_its_classes_levels_and_sexes(sounds, tmp_path, monkeypatch):
    prepare = load("cremad", monkeypatch)
    fold = folds.read(Path("conf/folds.yaml"))
    with Path("local/sex.csv").open() as file:
        sexes = {row["actor"]: row["sex"] for row in csv.DictReader(file)}
    assert fold.keys() == sexes.keys() == {str(actor) for actor in prepare.ACTORS}
    assert Counter(sexes.values()) == {"m": 48, "f": 43}
    chosen = {min(name for name in fold if fold[name] == k) for k in range(1, 6)}
    names = [name for name in prepare.expected_names() if name[:4] in chosen]
    for number, name in enumerate(names):
        place(tmp_path / "CREMA-D" / "AudioWAV" / f"{name}.wav", sounds, number)
    result = call(prepare, tmp_path / "CREMA-D", tmp_path / "data", "--partial")
    assert result.exit_code == 0, result.output
    assert f"Warning: {7442 - len(names)} of the 7442 recordings are missing" in result.output
    data = datadir.read(tmp_path / "data")
    assert len(data.utterances) == len(names) > 400
    assert data.emotion["1003-IEO-FEA-HI"] == "Fear"
    assert data.extra["level"]["1003-IEO-FEA-HI"] == "high"
    assert data.gender["1003"] == "f"
    assert data.folds == [1, 2, 3, 4, 5]


def test_pointers_of_git_lfs_are_named(tmp_path, monkeypatch):
    prepare = load("cremad", monkeypatch)
    for name in prepare.expected_names():
        if name.startswith("1001"):
            path = tmp_path / "AudioWAV" / f"{name}.wav"
            path.parent.mkdir(exist_ok=True)
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 70000\n")
    result = call(prepare, tmp_path, tmp_path / "data", "--partial")
    assert result.exit_code == 1
    assert "git lfs pull" in result.output


# --- IEMOCAP

ROUND = ("neu", "hap", "exc", "sad", "ang", "fru", "xxx")


def make_iemocap(corpus: Path, number_of_turns: int = 14) -> Path:
    """Write five sessions with two dialogues each. Every turn but the last of a dialogue has a recording of a class."""
    number = 0
    for session in range(1, 6):
        folder = corpus / "IEMOCAP_full_release" / f"Session{session}"
        for dialogue in (f"Ses0{session}F_impro01", f"Ses0{session}M_script01_1"):
            lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            for turn in range(number_of_turns):
                name = f"{dialogue}_{'FM'[turn % 2]}{turn // 2:03}"
                label = ROUND[turn % len(ROUND)]
                lines.append(f"[{turn}.2901 - {turn}.8]\t{name}\t{label}\t[2.5000, 3.{turn % 10}000, 4.0000]")
                lines += [f"C-E2:\t{label};\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
                number += 1
                tone(folder / "sentences" / "wav" / dialogue / f"{name}.wav", number)
            table = folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text("\n".join(lines))
            (table.parent / "Categorical").mkdir(exist_ok=True)
            (table.parent / "Categorical" / f"{dialogue}_e1_cat.txt").write_text("not read")
            (table.parent / f"._{dialogue}.txt").write_text("of macOS")
    return corpus


def test_iemocaps_turns_have_their_speaker_class_and_ratings(tmp_path, monkeypatch):
    result = call(load("iemocap", monkeypatch), make_iemocap(tmp_path / "corpus"), tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "140 turns = 100 in 4 classes + 20 fru + 20 xxx\n" in result.output
    assert "has 5531 turns in these classes; this is another version of IEMOCAP" in result.output
    data = datadir.read(tmp_path / "data")
    utt = "Ses01M-Ses01F_impro01_M000"  # the woman wore the markers, the man speaks
    assert (data.speaker[utt], data.emotion[utt], data.extra["label"][utt]) == ("Ses01M", "Happy", "hap")
    assert data.emotion["Ses01F-Ses01F_impro01_F001"] == "Happy"
    assert data.extra["dialogue"]["Ses05M-Ses05M_script01_1_M003"] == "scripted"
    assert {name: values[utt] for name, values in data.dimensions.items()} == {
        "valence": 2.5,
        "arousal": 3.1,
        "dominance": 4.0,
    }
    assert data.gender == {f"Ses0{session}{sex}": sex.lower() for session in range(1, 6) for sex in "FM"}
    assert data.fold == {f"Ses0{session}{sex}": session for session in range(1, 6) for sex in "FM"}


def test_wrong_copies_of_iemocap_are_reported(tmp_path, monkeypatch):
    prepare, corpus = load("iemocap", monkeypatch), make_iemocap(tmp_path / "corpus", 4)
    release = corpus / "IEMOCAP_full_release"
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "empty", "5 of the 5 sessions are missing\n  Session1/dialog/EmoEvaluation\n"),
        (release / "Session1", "4 of the 5 sessions are missing\n  Session2/dialog/EmoEvaluation\n"),
        (release / "Session1" / "sentences", "5 of the 5 sessions are missing"),
    ):
        result = call(prepare, folder, tmp_path / "data")
        assert result.exit_code == 1
        assert message in result.output
        assert "Unpack IEMOCAP_full_release again" in result.output
    shutil.copytree(release / "Session5", corpus / "again" / "Session5")
    assert "sessions are there twice\n  Session5: " in call(prepare, corpus, tmp_path / "data").output
    shutil.rmtree(corpus / "again")
    wav = release / "Session2" / "sentences" / "wav"
    shutil.rmtree(wav)
    message = call(prepare, corpus, tmp_path / "data").output
    assert f"8 of the 40 recordings are missing\n  {wav}/Ses02F_impro01/Ses02F_impro01_F000.wav\n" in message
    assert not (tmp_path / "data").exists()
    shutil.rmtree(release / "Session2")
    result = call(prepare, corpus, tmp_path / "data", "--partial")
    assert "Warning: 1 of the 5 sessions are missing" in result.output
    table = release / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    table.write_text("nothing")
    message = call(prepare, corpus, tmp_path / "data", "--partial").output
    assert f"{table}: no line with times, turn, label and three ratings\n" in message


@pytest.mark.slow
def test_iemocap_goes_from_its_tree_to_scores(tmp_path, monkeypatch):
    assert call(load("iemocap", monkeypatch), make_iemocap(tmp_path / "corpus"), tmp_path / "data").exit_code == 0
    scores = to_scores(tmp_path / "data", tmp_path)["mean"]
    assert [run["utterances"] for run in scores["runs"]] == [20] * 5
    groups = {(group["attribute"], group["value"]) for group in scores["subgroups"]}
    assert {("dialogue", "improvised"), ("dialogue", "scripted")} <= groups


# --- MSP-Podcast

PODCAST = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
PARTS = {"Train": 4, "Development": 2, "Test1": 2, "Test2": 2}


def make_podcast(corpus: Path, parts: dict[str, int] | None = None, columns: tuple[str, ...] = PODCAST) -> Path:
    """Write a release: some speakers in each part, each with two turns of each class, some without agreement."""
    rows, speaker = [], 0
    for part, count in (parts or PARTS).items():
        for _ in range(count):
            speaker += 1
            for turn, label in enumerate([*"NHSAFDUC"] * 2 + ["X", "O"]):
                name = f"MSP-PODCAST_{speaker:04}_{turn:04}.wav"
                values = [
                    name,
                    label,
                    f"{1 + turn % 7}.5",
                    f"{1 + len(rows) % 6}.25",
                    f"{1 + turn % 5}.0",
                    str(speaker),
                ]
                rows.append([*values, "Male" if speaker % 2 else "Female", part])
                tone(corpus / "Audios" / name, len(rows))
    rows[0][5:7] = "Unknown", "Unknown"
    table = corpus / "Labels" / "labels_consensus.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return corpus


def test_msp_podcast_has_its_partition_classes_and_dimensions(tmp_path, monkeypatch):
    result = call(load("msp_podcast", monkeypatch), make_podcast(tmp_path / "release"), tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "180 rows = 160 in 8 classes + 10 no agreement + 10 other\n" in result.output
    data = datadir.read(tmp_path / "data")
    assert Counter(data.split.values()) == {"train": 64, "dev": 32, "test1": 32, "test2": 32}
    utt = "spk0002-MSP-PODCAST_0002_0007"
    assert (data.emotion[utt], data.gender["spk0002"], data.split[utt]) == ("Contempt", "f", "train")
    assert {name: values[utt] for name, values in data.dimensions.items()} == {
        "arousal": 1.5,
        "valence": 2.25,
        "dominance": 3.0,
    }
    assert data.unknown == {"MSP-PODCAST_0001_0000"}
    assert not data.fold


@pytest.mark.slow
def test_msp_podcast_goes_from_its_table_to_scores_of_each_test(tmp_path, monkeypatch):
    assert call(load("msp_podcast", monkeypatch), make_podcast(tmp_path / "release"), tmp_path / "data").exit_code == 0
    scores = to_scores(tmp_path / "data", tmp_path)
    assert {name: own["runs"][0]["utterances"] for name, own in scores.items()} == {"mean/test1": 32, "mean/test2": 32}
    assert "the speakers of 1 of " in scores["mean/test1"]["speaker_overlap"]  # the unknown speaker of Train
    (tmp_path / "exp").rename(tmp_path / "classes")
    scores = to_scores(tmp_path / "data", tmp_path, "--target", "arousal+valence+dominance")
    assert scores.keys() == {"mean/test1", "mean/test2"}
    for own in scores.values():
        assert {"CCC_arousal", "CCC_valence", "CCC_dominance"} <= own["runs"][0].keys()


def test_wrong_copies_of_msp_podcast_are_reported(tmp_path, monkeypatch):
    prepare, corpus = load("msp_podcast", monkeypatch), make_podcast(tmp_path / "release", {"Train": 1, "Test1": 1})
    table = corpus / "Labels" / "labels_consensus.csv"
    text = table.read_text()

    def message(folder: Path = corpus) -> str:
        result = call(prepare, folder, tmp_path / "data")
        assert result.exit_code == 1
        return result.output

    assert f"{corpus / 'Audios'}: no labels_consensus.csv\nUnpack Audios and Labels" in message(corpus / "Audios")
    table.write_text(text.replace("EmoClass", "EmoLabel", 1))
    assert "no column EmoClass\nTake the table of the release as it is." in message()
    table.write_text(text.replace(",Train", ",Training").replace(",H,", ",joy,"))
    assert "unknown values\n  EmoClass joy\n  Split_Set Training\n" in message()
    table.write_text(text)
    (corpus / "Audios" / "MSP-PODCAST_0001_0003.wav").unlink()
    assert "1 of the 32 recordings are missing\n  MSP-PODCAST_0001_0003\nUnpack" in message()
    shutil.copy(table, corpus / "labels_consensus.csv")
    assert "labels_consensus.csv is there 2 times" in message()


# --- MELD


def tables_of_meld(step: int) -> dict[str, str]:
    """Return part -> every step-th row of the real table, or rows like it where the mirror is missing."""
    texts = {}
    for part in ("train", "dev", "test"):
        text = git_show("declare-lab+MELD", f"data/MELD/{part}_sent_emo.csv")
        if text is None:
            text = MADE[part]
            rows = list(csv.reader(io.StringIO(text)))
        else:
            rows = list(csv.reader(io.StringIO(text)))
            rows = [rows[0], *rows[1::step]]
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        texts[part] = out.getvalue()
    return texts


def made_table(dialogues: int) -> str:
    emotions = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")
    out = io.StringIO()
    writer = csv.writer(out)
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    writer.writerow(header.split(","))
    for dialogue in range(dialogues):
        for number, emotion in enumerate(emotions):
            speaker = ("Ross", "ross ", "The Waiter")[(dialogue + number) % 3]
            text = "Oh my God, he\u2019s lost it."
            writer.writerow([number, text, speaker, emotion, "x", dialogue, number, 1, 1, "0:0:1,5", "0:0:2,5"])
    return out.getvalue()


MADE = {"train": made_table(8), "dev": made_table(4), "test": made_table(4)}


def make_meld(corpus: Path, tables: dict[str, str], suffix: str = ".mp4") -> Path:
    folders = {"train": "train/train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    number = 0
    for part, text in tables.items():
        table = corpus / (f"train/{part}_sent_emo.csv" if part == "train" else f"{part}_sent_emo.csv")
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(text, encoding="utf-8")
        for row in csv.DictReader(io.StringIO(text)):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            if (part, name) not in {("dev", "dia110_utt7"), ("train", "dia125_utt3")}:
                number += 1
                tone(corpus / folders[part] / f"{name}{suffix}", number)
    tone(corpus / folders["test"] / f"final_videos_testdia101_utt0{suffix}", number + 1)
    return corpus


@pytest.mark.parametrize("suffix", [".mp4", ".wav"])
def test_meld_has_its_partition_and_its_speakers(tmp_path, monkeypatch, suffix):
    tables = tables_of_meld(60)
    rows = [row for text in tables.values() for row in csv.DictReader(io.StringIO(text))]
    result = call(load("meld", monkeypatch), make_meld(tmp_path / "MELD.Raw", tables, suffix), tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "Warning: dev_sent_emo.csv has " in result.output
    data = datadir.read(tmp_path / "data")
    assert set(data.split.values()) == {"train", "dev", "test"}
    assert abs(len(data.utterances) - len(rows)) <= 2
    assert "ross" in data.speaker.values()
    assert "Ross" not in data.speaker.values()
    assert Counter(data.emotion.values())["Happy"] == sum(row["Emotion"] == "joy" for row in rows)
    assert data.channel == "mix"
    assert not [path for path in data.wav.values() if "final_videos" in path.name]


@pytest.mark.slow
def test_meld_goes_from_its_tables_to_scores(tmp_path, monkeypatch):
    corpus = make_meld(tmp_path / "MELD.Raw", tables_of_meld(60))
    assert call(load("meld", monkeypatch), corpus, tmp_path / "data").exit_code == 0
    scores = to_scores(tmp_path / "data", tmp_path)["mean"]
    tested = [utt for utt, part in datadir.read(tmp_path / "data").split.items() if part == "test"]
    assert [run["utterances"] for run in scores["runs"]] == [len(tested)]


def test_wrong_copies_of_meld_are_reported(tmp_path, monkeypatch):
    prepare, corpus = load("meld", monkeypatch), make_meld(tmp_path / "MELD.Raw", MADE)

    def message(folder: Path = corpus) -> str:
        result = call(prepare, folder, tmp_path / "data")
        assert result.exit_code == 1
        return result.output

    text = message(corpus / "train")
    assert "2 of the 3 tables are missing\n  dev_sent_emo.csv\n  test_sent_emo.csv\nUnpack MELD.Raw.tar.gz" in text
    (corpus / "dev_splits_complete").rename(corpus / "dev")
    text = message()
    assert "28 of the 112 recordings are missing\n  dev_splits_complete/dia0_utt0.mp4\n" in text
    assert "28 of the 112" in call(prepare, corpus, tmp_path / "data", "--partial").output
    (corpus / "dev").rename(corpus / "dev_splits_complete")
    table = corpus / "test_sent_emo.csv"
    table.write_text(table.read_text().replace(",joy,", ",happiness,", 1))
    assert "unknown emotions: happiness\nTake the table of MELD as it is." in message()
    table.write_text(table.read_text().replace("Speaker", "Who", 1))
    assert f"{table}: no column Speaker\n" in message()
