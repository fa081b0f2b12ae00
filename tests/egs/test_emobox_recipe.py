"""egs/emobox: EmoBox's metadata with generated recordings.

The metadata are those of a checkout of EmoBox, thinned to a few utterances of each class: the folder in the environment
variable SOCTK_EMOBOX, or the mirror beside the checkout. The mirror lacks the largest files; where the list of training
utterances is among them, some of the test utterances take its place. Other tests write small metadata of their own.
"""

import json
import os
import re
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT
from recipes import MIRROR, RATE, call, copy, git_show, load, run, to_scores, tone

from soctk.corpus import datadir, independence

NAMES = re.findall(r"^([a-z0-9]+)\t", (ROOT / "egs/emobox/corpora.tsv").read_text(), flags=re.MULTILINE)[1:]
EACH = {"train": 6, "valid": 2, "test": 2}  # utterances of each class that are kept in a part of a fold
REPOSITORY = "emo-box+EmoBox"
VIDEO = (".avi", ".mp4", ".webm", ".m4a")  # the tests write WAV files of the same names


def list_metadata(name: str) -> list[str]:
    """Return the paths of the metadata of a corpus in EmoBox; empty without EmoBox."""
    if "SOCTK_EMOBOX" in os.environ:
        checkout = Path(os.environ["SOCTK_EMOBOX"])
        return [file.relative_to(checkout).as_posix() for file in (checkout / "data" / name).rglob("*.json*")]
    folder = MIRROR / REPOSITORY / "repo"
    command = ["git", "--git-dir", str(folder), "ls-tree", "-r", "--name-only", "HEAD", f"data/{name}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines() if folder.is_dir() else []


def read_metadata(path: str) -> str | None:
    """Return a file of EmoBox; None if the mirror lacks it."""
    if "SOCTK_EMOBOX" in os.environ:
        return Path(os.environ["SOCTK_EMOBOX"], path).read_text(encoding="utf-8")
    return git_show(REPOSITORY, path)


def thin_out(name: str, checkout: Path) -> list[dict]:
    """Write the thinned metadata of a corpus below `checkout`, and return the utterances that are left."""
    paths = [path for path in list_metadata(name) if path.endswith(".jsonl") or "/label_" in path]
    if not paths:
        pytest.skip("no checkout of EmoBox: set SOCTK_EMOBOX")
    texts = {path: read_metadata(path) for path in paths}
    lines = {
        path: [json.loads(line) for line in text.splitlines()]
        for path, text in texts.items()
        if text is not None and path.endswith(".jsonl")
    }
    for path in [path for path, text in texts.items() if text is None and "_train_" in path]:
        tested = lines[path.replace("_train_", "_test_")]
        if len(list_metadata(name)) and re.search("fold_1", path) and not any("fold_2" in other for other in paths):
            half = {row["key"] for row in tested[::2]}
            lines[path] = [row for row in tested if row["key"] in half]
            lines[path.replace("_train_", "_test_")] = [row for row in tested if row["key"] not in half]
    kept, seen = set(), Counter()
    for path, rows in lines.items():
        part = re.search(r"_(test|valid)_fold_\d|_(train)_fold_1\.", path)
        if part and not (part[2] and any("fold_2" in other for other in paths)):
            for row in rows:
                group = (path, row.get("emo"))
                if seen[group] < EACH[part[1] or part[2]] and float(row.get("end_time", 0)) < 100:
                    seen[group] += 1
                    kept.add(row["key"])
    for path in paths:
        file = checkout / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path in lines:
            file.write_text("".join(json.dumps(row) + "\n" for row in lines[path] if row["key"] in kept))
        elif texts[path] is not None:
            file.write_text(texts[path])
    rows = {row["key"]: row for rows in lines.values() for row in rows if "wav" in row and row["key"] in kept}
    return list(rows.values())


def record(corpus: Path, rows: list[dict]) -> None:
    """Write the recordings of utterances, with decomposed Unicode names as macOS writes them."""
    for number, path in enumerate(dict.fromkeys(row["wav"] for row in rows)):
        file = corpus / unicodedata.normalize("NFD", path.partition("/")[2])
        file = file.with_suffix(".wav") if file.suffix in VIDEO else file
        if file.suffix == ".flac":  # a long recording with many utterances
            file.parent.mkdir(parents=True, exist_ok=True)
            tone(file.with_suffix(".wav"), number, seconds=100)
            samples, _ = soundfile.read(file.with_suffix(".wav"))
            soundfile.write(file, samples, RATE)
            file.with_suffix(".wav").unlink()
        else:
            tone(file, number)


# How the folds of a corpus divide it. All others have one fold, a partition.
FOLDS = {"cafe", "casia", "emovo", "esd", "iemocap", "jlcorpus", "polish", "ravdess", "savee", "subesco"}
FOLDS_OF_UTTERANCES = {"emodb"}
UNKNOWN = {"emozionalmente", "meld", "mer2023"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_corpus_of_emobox_goes_from_its_metadata_to_scores(name, tmp_path, monkeypatch):
    rows = thin_out(name, tmp_path)
    record(tmp_path / "audio", rows)
    result = call(load("emobox", monkeypatch), name, tmp_path / "audio", tmp_path / "corpus", "--emobox", tmp_path)
    assert result.exit_code == 0, result.output
    data = datadir.read(tmp_path / "corpus")
    assert len(data.utterances) == len(rows)
    assert (bool(data.fold), bool(data.utterance_fold)) == (name in FOLDS, name in FOLDS_OF_UTTERANCES)
    assert bool(data.segments) == (name == "pavoque")
    assert (data.unknown == set(data.utterances)) == (name in UNKNOWN)
    (label_map,) = (tmp_path / "data" / name).glob("label_*.json")
    classes = json.loads(label_map.read_text())
    wanted = Counter(classes.get(row["emo"], row["emo"]).replace(" ", "_") for row in rows)
    assert Counter(data.emotion.values()) == wanted
    overlaps = independence.find_overlaps(data)
    assert overlaps or name not in {"emodb", "aesdd", "ased", "tess", "emns", "pavoque", *UNKNOWN}
    scores = to_scores(tmp_path / "corpus", tmp_path, "--folds", "1")["mean"]
    assert [run["utterances"] for run in scores["runs"]] == [len(data.utterances_of([1]))]
    assert scores["speaker_overlap"] == "; ".join(overlaps.values())


# A recording of each corpus -> its speaker and sex, by the corpora's own descriptions of their file names.
PEOPLE = {
    "aesdd": ("aesdd/anger/a06 (5)b.wav", "5", None),
    "ased": ("ased/02Fearful/f2-01-02-01-33.wav", "33", None),
    "asvpesd": ("asvpesd/Audio/actor_/03-02-13-01-41-116-02-02-02-06.wav", "116", None),
    "cafe": ("cafe/CaFE_48k/Peur/Faible/05-P-1-5.wav", "05", None),
    "casia": ("casia/wangzhe/surprise/233.wav", "wangzhe", None),
    "cremad": ("cremad/AudioWAV/1054_TSI_SAD_XX.wav", "1054", None),
    "emns": ("emns/cleaned_webm/recorded_audio_DHazw6s.webm", "emns", None),
    "emodb": ("emodb/wav/13a07Fd.wav", "13", None),
    "emovdb": ("emovdb/jenie_Sleepy/sleepiness_141-168_0157.wav", "jenie", None),
    "emovo": ("emovo/m2/pau-m2-l1.wav", "m2", "m"),
    "enterface": ("enterface/subject 19/anger/sentence 3/s19_an_3.avi", "19", None),
    "esd": ("esd/0016/Angry/0016_000628.wav", "0016", None),
    "iemocap": ("iemocap/Session2/sentences/wav/Ses02M_script01_2/Ses02M_script01_2_F013.wav", "Ses02F", "f"),
    "jlcorpus": ("jlcorpus/JL(wav+txt)/female2_anxious_2a_2.wav", "female2", "f"),
    "m3ed": ("m3ed/modality_speech/B_guainiguofenmeili_2_3.wav", "guainiguofenmeili", None),
    "mead": ("mead/W028/audio/contempt/level_1/027.m4a", "W028", "f"),
    "mesd": ("mesd/Mexican Emotional Speech Database (MESD)/Anger_M_B_disputa.wav", "M", None),
    "msppodcast": ("msppodcast/Audio/MSP-PODCAST_0860_0261_0009.wav", "0860", None),
    "oreau": ("oreau/Or\u00e9auFR_02/m/sesss/07z03Sa.wav", "m07", "m"),
    "pavoque": ("pavoque/pavoque-happy.flac", "stefan", None),
    "polish": ("polish/m5.s_nie_3.wav", "m5", "m"),
    "ravdess": ("ravdess/audio/Actor_21/03-01-05-02-02-02-21.wav", "21", None),
    "resd": ("resd/test/08_sadness_anger/08_sadness_anger a_010.wav", "08a", None),
    "savee": ("savee/KL_sa04.wav", "KL", None),
    "shemo": ("shemo/male/M47A18.wav", "M47", "m"),
    "subesco": ("subesco/F_02_MONIKA_S_8_SAD_3.wav", "F02", "f"),
    "tess": ("tess/OAF_rough_disgust.wav", "OAF", None),
    "turevdb": ("turevdb/Sound Source/Sad/1234_hl_cekirge.wav", "1234", None),
    "urdu": ("urdu/Happy/SM5_F8_H062.wav", "M5", "m"),
}


def test_the_names_of_recordings_tell_the_speakers(monkeypatch):
    load("emobox", monkeypatch)
    import corpora

    described = corpora.read()
    assert described.keys() == set(NAMES) == {*PEOPLE, *UNKNOWN}
    for name, (path, speaker, sex) in PEOPLE.items():
        expected = {"speaker": speaker, **({"sex": sex} if sex else {})}
        assert described[name].describe(f"downloads/{path}") == expected
    assert all(described[name].describe("any/path.mp4") == {} for name in UNKNOWN)
    with pytest.raises(ValueError, match=r"downloads/esd/x\.wav"):
        described["esd"].describe("downloads/esd/x.wav")


def make_metadata(checkout: Path, name: str, paths: dict[str, dict[str, str]], labels: dict[str, str]) -> list[dict]:
    """Write metadata like EmoBox's: fold_K -> part -> paths of recordings, whose folders or names give the label."""
    rows = {}
    for fold, parts in paths.items():
        for part, files in parts.items():
            lines = [
                {"key": f"{name}-{path}", "dataset": name, "wav": f"downloads/{name}/{path}", "type": "raw",
                 "sample_rate": RATE, "task": "category", "length": 0.1, "emo": label, "channel": 1}
                for path, label in files.items()
            ]  # fmt: skip
            file = checkout / "data" / name / fold / f"{name}_{part}_{fold}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
            rows |= {line["key"]: line for line in lines}
    (checkout / "data" / name / "label_map.json").write_text(json.dumps(labels))
    return list(rows.values())


CASIA = {"sad": "Sad", "happy": "Happy"}


def make_casia(checkout: Path) -> list[dict]:
    """Four speakers in four folds; the same names occur for each speaker and emotion."""
    of = {s: {f"{s}/{e}/20{n}.wav": e for e in CASIA for n in range(5)} for s in ("zhaoz", "wang", "liu", "zhaoq")}
    folds = {
        f"fold_{k}": {"test": of[s], "train": {p: e for other in of if other != s for p, e in of[other].items()}}
        for k, s in enumerate(of, start=1)
    }
    return make_metadata(checkout, "casia", folds, CASIA)


def make_tess(checkout: Path) -> list[dict]:
    """Two speakers, both in training and test data."""
    files = {f"{s}AF_w{n}_{e}.wav": e for s in "OY" for n in range(8) for e in ("sad", "ps")}
    train = {path: label for path, label in files.items() if int(path[5]) < 6}
    test = {path: label for path, label in files.items() if int(path[5]) >= 6}
    return make_metadata(checkout, "tess", {"fold_1": {"train": train, "test": test}}, {"sad": "Sad", "ps": "Surprise"})


def stage_0(monkeypatch, name: str, tmp_path: Path, *options: object):
    return call(load("emobox", monkeypatch), name, tmp_path / "audio", tmp_path / "corpus", *options)


def test_folds_of_speakers_become_folds(tmp_path, monkeypatch):
    record(tmp_path / "audio", make_casia(tmp_path))
    result = stage_0(monkeypatch, "casia", tmp_path, "--emobox", tmp_path / "data")
    assert result.exit_code == 0, result.output
    data = datadir.read(tmp_path / "corpus")
    assert data.fold == {"liu": 3, "wang": 2, "zhaoq": 4, "zhaoz": 1}
    assert Counter(data.emotion.values()) == {"Sad": 20, "Happy": 20}
    assert {utt for utt in data.utterances if data.wav[utt].match("*/wang/happy/*.wav")} == {
        utt for utt in data.utterances if data.speaker[utt] == "wang" and data.emotion[utt] == "Happy"
    }
    assert "Note: The same file names (201.wav, ...) occur for each speaker and emotion." in result.output


def test_one_fold_becomes_a_partition_with_a_reason_for_the_mark(tmp_path, monkeypatch):
    record(tmp_path / "audio", make_tess(tmp_path))
    assert stage_0(monkeypatch, "tess", tmp_path, "--emobox", tmp_path).exit_code == 0
    data = datadir.read(tmp_path / "corpus")
    assert Counter(data.split.values()) == {"train": 24, "test": 8}
    assert independence.find_overlaps(data)["test"].startswith("2 of 2 test speakers also in training")


def test_missing_metadata_and_recordings_are_reported(tmp_path, monkeypatch):
    rows = make_casia(tmp_path)
    (tmp_path / "audio").mkdir()
    for options, message in (
        ((), "stage 0 needs EmoBox's metadata\ngit clone https://github.com/emo-box/EmoBox, and give"),
        (("--emobox", tmp_path / "audio"), "no metadata of casia: neither data/casia nor casia is a folder"),
        (("--emobox", tmp_path), "40 of the 40 recordings are missing\n  downloads/casia/zhaoz/sad/200.wav\n"),
    ):
        result = stage_0(monkeypatch, "casia", tmp_path, *options)
        assert result.exit_code == 1
        assert message in result.output
    record(tmp_path / "audio", rows)
    next((tmp_path / "audio").rglob("liu/sad/200.wav")).unlink()
    result = stage_0(monkeypatch, "casia", tmp_path, "--emobox", tmp_path)
    assert result.exit_code == 1
    assert (
        "1 of the 40 recordings are missing\n  downloads/casia/liu/sad/200.wav\nGet the whole corpus" in result.output
    )
    assert not (tmp_path / "corpus").exists()
    result = stage_0(monkeypatch, "casia", tmp_path, "--emobox", tmp_path, "--partial")
    assert result.exit_code == 0, result.output
    assert "Results cannot be compared with published ones." in result.output
    assert "= 39 utterances + 1 without a recording" in result.output


@pytest.mark.slow
def test_all_corpora_that_are_there_go_from_metadata_to_scores_and_one_table(tmp_path, monkeypatch):
    """Stages 0 to 2 run in this process; run.sh scores each corpus and writes the table."""
    recipe = copy("emobox", tmp_path)
    for name, make in (("casia", make_casia), ("tess", make_tess)):
        folder = tmp_path / name
        record(folder / "audio", make(folder))
        assert stage_0(monkeypatch, name, folder, "--emobox", folder).exit_code == 0
        scores = to_scores(folder / "corpus", folder)["mean"]
        assert sum(run["utterances"] for run in scores["runs"]) == {"casia": 40, "tess": 8}[name]
        (recipe / "exp" / name).mkdir(parents=True)
        (recipe / "data").mkdir(exist_ok=True)
        (folder / "exp" / "mean").rename(recipe / "exp" / name / "fbank-mean-linear")
        (folder / "corpus").rename(recipe / "data" / f"emobox-{name}")
    (recipe / "exp").rename(tmp_path / "elsewhere")
    result = run(recipe, "--stage", 3, "--pooling", "mean", "--head", "linear", "--expdir", "elsewhere",
                 "--dataset=all")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "== casia\n" in result.stdout
    lines = (tmp_path / "elsewhere" / "EMOBOX.md").read_text().splitlines()
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines if "|" in line
    }
    assert rows["casia"][:2] == ["40", "4"]
    assert rows["tess \u2021"][:2] == ["8", "1"]
    mean = (float(rows["casia"][2]) + float(rows["tess \u2021"][2])) / 2
    assert float(rows["mean of 2"][2]) == pytest.approx(mean, abs=0.006)
    assert (tmp_path / "elsewhere" / "casia" / "RESULTS.md").is_file()


@pytest.mark.slow
def test_all_corpora_run_although_one_of_them_fails(tmp_path):
    recipe = copy("emobox", tmp_path)
    for name in ("casia", "tess"):
        (tmp_path / "audio" / name).mkdir(parents=True)
    record(tmp_path / "audio", make_tess(tmp_path / "checkout"))
    options = ("--stop-stage", 0, "--emobox", "checkout", "--corpus", "audio")
    result = run(recipe, *options)
    assert result.returncode == 1
    assert "run.sh: these corpora failed; their messages are above: casia\n" in result.stderr
    assert "no metadata of casia" in result.stdout + result.stderr
    assert (recipe / "data" / "emobox-tess" / "utt2split").is_file()


@pytest.mark.slow
def test_without_any_corpus_the_names_of_the_folders_are_listed(tmp_path):
    recipe = copy("emobox", tmp_path)
    (tmp_path / "audio").mkdir()
    result = run(recipe, "--emobox", tmp_path, "--corpus", "audio")
    assert result.returncode == 1
    assert "audio: no folder has the name of a corpus: aesdd, ased, " in result.stderr


def test_published_scores_stand_beside_those_of_the_same_encoder(tmp_path, monkeypatch):
    load("emobox", monkeypatch)
    import table

    settings = {
        "protocol": "emobox",
        "pooling": {"mean": {}},
        "frames": {"layers": "all"},
        "features": {"upstream": "hubert_base", "layers": [12], "num_layers": 13},
    }
    scores = {
        name: {
            "runs": [{"fold": 1, "seed": 1, "utterances": 10}, {"fold": 2, "seed": 1, "utterances": 20}],
            "over_folds": {metric: {"mean": value} for metric in ("WA", "UA", "F1")},
            "settings": settings | ({"speaker_overlap": {"test": "2 speakers"}} if name == "emodb" else {}),
        }
        for name, value in (("ravdess", 60.0), ("emodb", 91.0))
    }
    lines = table.make_table(scores, "hubert_base-mean").splitlines()
    assert "| ravdess | 30 | 2 | 60.00 | 60.00 | 60.00 | 66.21 | 65.43 | 65.31 |  |" in lines
    assert "| emodb \u2021 | 30 | 2 | 91.00 | 91.00 | 91.00 | 87.73 | 87.73 | 87.82 |  |" in lines
    assert lines[-1] == "| mean of 2 |  |  | 75.50 | 75.50 | 75.50 |  |  |  |  |"
