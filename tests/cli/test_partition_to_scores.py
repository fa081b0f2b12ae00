"""Corpora with a published partition, segments, or folds that share speakers go to a table of scores by commands."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner

from soctk.cli import extract, import_, pack, plot, predict, report, score, sweep, train
from soctk.corpus import datadir

RATE = 8000
LINEAR = ("--pooling", "mean", "--head", "linear")
PARTS = {"s1": "Train", "s2": "Train", "s3": "Train", "s4": "Development", "s5": "Test1", "s6": "Test1", "s7": "Test2"}
FREQUENCY = {"Happy": 0.1, "Sad": 0.4, "Angry": 0.8}  # rad per sample


def run(command, *arguments: object, code: int = 0) -> str:
    """Run a command; return its output."""
    result = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def write_table(folder: Path, change=lambda row: row) -> Path:
    """Write a recording of nine turns for each speaker, and a table of the turns like that of MSP-Podcast."""
    noise, rows = np.random.default_rng(0), []
    for speaker, part in PARTS.items():
        pieces, length = [], 0
        for turn in range(9):
            emotion = list(FREQUENCY)[turn % 3]
            tone = np.sin(np.arange(2400 + 80 * turn) * FREQUENCY[emotion]) * np.linspace(0.2, 1, 2400 + 80 * turn)
            pieces += [0.05 * noise.normal(size=800), tone * 0.4 + 0.05 * noise.normal(size=len(tone))]
            start, end = (length + 800) / RATE, (length + 800 + len(tone)) / RATE
            row = {"FileName": f"{speaker}.wav", "SpkrID": speaker, "EmoClass": emotion, "Split_Set": part}
            rows.append(change({**row, "Start_Time": f"{start:.4f}", "End_Time": f"{end:.4f}"}))
            length += 800 + len(tone)
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{speaker}.wav", np.concatenate(pieces), RATE)
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def accuracy(predictions: Path, test: str = "") -> str:
    """Return the share of right answers in % in predictions.tsv, of one test if its name is given."""
    with predictions.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if not test or row["test"] == test]
    return f"{100 * sum(row['ref'] == row['hyp'] for row in rows) / len(rows):.2f}"


COLUMNS = ("--column", "speaker=SpkrID", "--column", "emotion=EmoClass", "--column", "split=Split_Set")


def import_and_extract(table: Path, *options: str) -> str:
    output = run(import_, table, "data", *(options or COLUMNS))
    run(extract, "data", "feats", "--upstream", "fbank")
    return output


@pytest.mark.slow
def test_a_partition_with_two_tests_goes_from_its_table_to_scores_of_each_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = import_and_extract(write_table(Path("podcast")))
    assert "data: 63 utterances in 7 recordings" in output
    assert "7 speakers, train 27, dev 9, test1 18, test2 9; " in output
    assert "folds" not in output
    for name in ("one", "two"):
        output = run(train, "data", "feats", f"exp/{name}", *LINEAR, "--set", f"head.C=[{10.0 ** len(name)}]")
        assert f"exp/{name}: 1 fold x 1 seed, 1 of 1 trained now" in output
    settings = yaml.safe_load(Path("exp/one/fold1/seed1/config.yaml").read_text())
    assert settings["protocol"] == "partition"
    assert "speaker_overlap" not in settings
    lines = Path("exp/one/fold1/seed1/predictions.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:5] == ["utt", "spk", "test", "ref", "hyp"]
    assert len(lines) == 1 + 27
    output = run(score, "exp", "--compare")
    for test in ("test1", "test2"):
        assert re.search(rf"one/{test} +1 x 1 +{accuracy(Path('exp/one/fold1/seed1/predictions.tsv'), test)} ", output)
    assert "‡" not in output
    scores = json.loads(Path("exp/scores.json").read_text())
    assert scores["experiments"].keys() == {"one/test1", "one/test2", "two/test1", "two/test2"}
    assert sum(scores["experiments"]["one/test1"]["confusion"]["Sad"].values()) == 6
    pairs = {(pair["first"], pair["second"]) for pair in scores["comparisons"]}
    assert pairs == {("one/test1", "two/test1"), ("one/test2", "two/test2")}
    text = Path("exp/RESULTS.md").read_text()
    assert "Protocol partition: the published partition of the corpus: dev validates, and each test is scored" in text
    assert "## one/test2" in text
    assert "figures/one/test1-speakers.png" in run(plot, "exp/one", "--no-descriptors", "--output", "figures")
    run(report, "exp", "-o", "page.html", "--no-descriptors")
    page = Path("page.html").read_text()
    assert "train: 27 utterances of 3 speakers; dev: 9 utterances of 1 speaker; test1: 18" in page
    text = run(sweep, "data", "feats", "sweep", "--grid", "pooling=[mean]", "--set", "head.C=[0.1]", "--nested")
    assert [line.split(":")[0] for line in text.splitlines()[-3:]] == ["  test1", "  test2", "  pooling=mean"]
    run(train, "data", "feats", "exp/three", *LINEAR, "--folds", "2", code=1)
    run(train, "data", "feats", "exp/three", *LINEAR, "--protocol", "cross-lingual", code=1)


@pytest.mark.slow
def test_a_partition_of_unknown_and_shared_speakers_runs_and_every_table_tells_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"s2": "Unknown", "s6": "s1", "s7": ""}
    table = write_table(Path("podcast"), lambda row: {**row, "SpkrID": names.get(row["SpkrID"], row["SpkrID"])})
    output = import_and_extract(table)
    reason = (
        "1 of 2 test speakers also in training or validation data; the speakers of 9 of 36 training and validation "
        "utterances are unknown"
    )
    assert f"Note: test speakers may be in the training data: test1: {reason}" in output
    assert "4 speakers and 18 utterances of unknown speakers" in output
    data = datadir.read(Path("data"))
    assert len(data.unknown) == 18
    run(train, "data", "feats", "exp/one", *LINEAR, "--set", "head.C=[100.0]")
    refused = run(train, "data", "feats", "exp/two", *LINEAR, "--recentre", "speaker", code=1)
    assert "the speakers of 18 of 63 utterances are unknown, and re-centring subtracts the mean" in refused
    for style in ("text", "md", "latex", "json", "tsv"):
        told = run(score, "exp/one", "--format", style).replace("\n", " ")
        assert reason in " ".join(told.split()), style
        assert style in ("json", "tsv") or "‡" in told or r"$\ddagger$" in told, style
    assert "| one/test1 ‡" in Path("exp/one/RESULTS.md").read_text()
    run(report, "exp", "-o", "page.html", "--no-descriptors")
    page = Path("page.html").read_text()
    assert "one/test1 ‡" in page
    assert reason in page
    subgroups = json.loads(Path("exp/one/scores.json").read_text())["experiments"]["one/test2"]["subgroups"]
    assert [group["value"] for group in subgroups if group["attribute"] == "speaker"] == ["unknown"]
    run(pack, "exp/one", "model")
    card = Path("model/README.md").read_text()
    assert "Trained on all parts, the tests too, of data: 63 utterances of 4 speakers." in card
    assert "### test1" in card
    assert f"Test speakers may have trained it: {reason}." in card


@pytest.mark.slow
def test_segments_are_predicted_with_their_times(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import_and_extract(write_table(Path("podcast")))
    run(train, "data", "feats", "exp/one", *LINEAR, "--set", "head.C=[100.0]")
    run(pack, "exp/one", "model", "--fold", "1")
    rows = list(csv.DictReader(run(predict, "model", "data").splitlines(), delimiter="\t"))
    segments = datadir.read(Path("data")).segments
    assert [(row["start"], row["end"]) for row in rows] == [
        (f"{segment.start:.3f}", f"{segment.end:.3f}") for segment in segments.values()
    ]
    assert sum(row["emotion"] == list(FREQUENCY)[i % 3] for i, row in enumerate(rows)) > 50
    assert "of 63 recordings trained this model" in run(predict, "model", "data", "--score", "scored", code=1)
    tested = datadir.read(Path("data"))
    tested = tested.only(set(tested.utterances_of([1])))
    datadir.write(Path("tested"), replace(tested, split={}, fold={"s5": 1, "s6": 2, "s7": 3}))
    run(predict, "model", "tested", "--score", "scored")
    scored = accuracy(Path("scored/fold1/seed1/predictions.tsv"))
    assert scored == accuracy(Path("exp/one/fold1/seed1/predictions.tsv"))
    assert re.search(rf"scored +1 x 1 +{scored} ", run(score, "scored"))


def write_emobox(folder: Path, fold_of: dict[str, dict[str, str]]) -> None:
    """Write EmoBox's metadata: fold -> utterance -> part."""
    for fold, parts in fold_of.items():
        for part in set(parts.values()):
            path = folder / f"fold_{fold}" / f"c_{part}_fold_{fold}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [
                json.dumps({"key": utt, "wav": f"audio/{utt}.wav", "emo": "hs"[int(utt[-1]) % 2]})
                for utt, its_part in parts.items()
                if its_part == part
            ]
            path.write_text("\n".join(lines) + "\n")
    (folder / "label_map.json").write_text('{"h": "Happy", "s": "Sad"}')


@pytest.fixture
def emobox(tmp_path, monkeypatch):
    """A folder like an EmoBox checkout with the recordings of 24 utterances; the emotion is heard."""
    monkeypatch.chdir(tmp_path)
    utterances = [f"{speaker}_{take}" for speaker in ("ann", "bob", "cid", "dan") for take in range(6)]
    noise = np.random.default_rng(0)
    Path("audio").mkdir()
    for utt in utterances:
        tone = 0.4 * np.sin(np.arange(4000) * (0.1, 0.6)[int(utt[-1]) % 2]) * np.linspace(0.2, 1, 4000)
        soundfile.write(f"audio/{utt}.wav", tone + 0.05 * noise.normal(size=4000), RATE)
    return utterances


@pytest.mark.slow
def test_the_one_fold_of_a_corpus_of_emobox_is_a_partition_without_dev(emobox):
    write_emobox(Path("data/c"), {"1": {utt: "test" if utt.startswith("dan") else "train" for utt in emobox}})
    output = run(import_, "data/c", "known", "--pattern", "{speaker}_{n}.wav")
    assert "4 speakers, train 18, test 6; Happy 12, Sad 12" in output
    assert "may be in the training data" not in output
    output = run(import_, "data/c", "unknown")
    assert "unknown speakers, train 18, test 6" in output
    run(extract, "unknown", "feats", "--upstream", "fbank")
    for protocol, name in (("soctk", "partition"), ("emobox", "emobox")):
        run(train, "unknown", "feats", f"exp/{protocol}", *LINEAR, "--protocol", protocol)
        assert f"protocol: {name}\n" in Path(f"exp/{protocol}/fold1/seed1/config.yaml").read_text()
    output = run(score, "exp")
    assert re.search(rf"soctk ‡ +1 x 1 +{accuracy(Path('exp/soctk/fold1/seed1/predictions.tsv'))} ", output)
    assert "the speakers of all test utterances are unknown" in " ".join(output.split())


@pytest.mark.slow
def test_folds_of_emobox_that_share_speakers_are_used_as_they_are(emobox):
    folds = {str(k): {utt: "test" if int(utt[-1]) // 2 + 1 == k else "train" for utt in emobox} for k in (1, 2, 3)}
    write_emobox(Path("data/c"), folds)
    output = run(import_, "data/c", "shared", "--pattern", "{speaker}_{n}.wav")
    assert "Note: the published folds share 4 of 4 speakers; they are used as they are" in output
    assert Path("shared/utt2fold").exists()
    assert not Path("shared/spk2fold").exists()
    run(extract, "shared", "feats", "--upstream", "fbank")
    run(train, "shared", "feats", "exp/one", *LINEAR)
    assert "protocol: utterance-folds\n" in Path("exp/one/fold3/seed1/config.yaml").read_text()
    output = " ".join(run(score, "exp").split())
    assert "one ‡ 3 x 1 " in output
    assert "(one): 4 of 4 speakers in several folds. Do not compare these scores" in output
    output = run(import_, "data/c", "disjoint", "--pattern", "{speaker}_{n}.wav", "--column", "utterance-fold=")
    assert "4 speakers, 4 folds" in output
