"""Scores of published partitions: several tests in one predictions.tsv, and speakers that may be in training data."""

import dataclasses

import numpy as np
import pytest
from conftest import write_run

from soctk.corpus import datadir
from soctk.corpus.segments import Segment
from soctk.errors import SoctkError
from soctk.reporting import formats, wording
from soctk.reporting.report import make
from soctk.scoring import prediction_file, predictions, score
from soctk.scoring.compare import compare
from soctk.scoring.runs import RunDirectory

CONFIG = """
protocol: partition
head: {name: linear}
speaker_overlap: {test2: the speakers of all test utterances are unknown}
"""


def write_tests(path, pairs: str, tests: str, config: str = CONFIG) -> None:
    """Write a run whose utterances belong to tests; the letters of `tests` are their numbers, "1 1 2"."""
    write_run(path, pairs, config=config)
    header, *rows = (path / "predictions.tsv").read_text().splitlines()
    numbers = [f"test{number}" for number in tests.split()]
    lines = [line.split("\t") for line in (header, *rows)]
    lines = [[*line[:2], name, *line[2:]] for line, name in zip(lines, ["test", *numbers], strict=True)]
    (path / "predictions.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))


def test_each_test_is_scored_apart(tmp_path):
    write_tests(tmp_path / "m" / "fold1" / "seed1", "aa bb ab aa bb", "1 1 1 2 2")
    write_tests(tmp_path / "m" / "fold1" / "seed2", "aa bb ab aa ba", "1 1 1 2 2")
    first, second = score.score([tmp_path])
    assert [(e.name, e.test) for e in (first, second)] == [("m/test1", "test1"), ("m/test2", "test2")]
    assert first.pooled["WA"].value == pytest.approx(100 * 2 / 3)
    assert second.pooled["WA"].value == 75
    assert first.runs["utterances"].tolist() == [3, 3]
    assert second.as_dict()["test"] == "test2"
    assert (first.speaker_overlap, second.speaker_overlap) == ("", "the speakers of all test utterances are unknown")


def test_one_test_keeps_the_name_of_the_experiment(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", config=CONFIG)
    (only,) = score.score([tmp_path])
    assert (only.name, only.test) == ("m", "")
    assert only.speaker_overlap == "the speakers of all test utterances are unknown"


@pytest.mark.parametrize("emotions", ["abc", "123"])
def test_the_column_test_is_written_and_read(tmp_path, corpus, emotions):
    names = dict(zip(corpus.emotions, emotions, strict=True))
    split = {utt: ("test1" if utt.endswith("0") else "test2") for utt in corpus.utterances}
    data = dataclasses.replace(
        corpus, fold={}, split=split, emotions=tuple(emotions), emotion={u: names[e] for u, e in corpus.emotion.items()}
    )
    posteriors = [[1.0 if data.emotions[i] == data.emotion[utt] else 0.0 for i in range(3)] for utt in data.utterances]
    table = prediction_file.of_classes(data, data.utterances, np.array(posteriors))
    assert list(table.columns) == ["utt", "spk", "test", "ref", "hyp", *emotions]
    prediction_file.write(tmp_path / "predictions.tsv", table)
    found = prediction_file.read_run(tmp_path / "predictions.tsv")
    assert found.emotions == tuple(emotions)
    assert found.table["test"].tolist() == list(split.values())
    assert found.posteriors.tolist() == posteriors
    one = dataclasses.replace(data, split=dict.fromkeys(split, "test"))
    assert "test" not in prediction_file.of_classes(one, one.utterances, np.array(posteriors))


def test_a_row_without_its_test_is_damaged(tmp_path):
    path = tmp_path / "m" / "fold1" / "seed1"
    write_tests(path, "aa bb", "1 2")
    (path / "predictions.tsv").write_text((path / "predictions.tsv").read_text().replace("test2", ""))
    with pytest.raises(SoctkError, match="a row lacks its test"):
        predictions.read([RunDirectory(tmp_path / "m", 1, 1)])


def test_only_the_same_tests_are_compared(tmp_path):
    for name, pairs in (("m", "aa bb ab aa bb"), ("n", "aa bb aa ab bb")):
        write_tests(tmp_path / name / "fold1" / "seed1", pairs, "1 1 1 2 2")
    table = compare(score.score([tmp_path]))
    pairs = set(zip(table["first"], table["second"], strict=True))
    assert pairs == {("m/test1", "n/test1"), ("m/test2", "n/test2")}
    differences = {row["first"]: row["difference"] for row in table[table["metric"] == "WA"].to_dict("records")}
    assert differences == {"m/test1": pytest.approx(100 / 3), "m/test2": pytest.approx(-50)}
    with pytest.raises(SoctkError, match=r"no two experiments predict the same .* on the same test"):
        compare(score.score([tmp_path / "m"]))


def test_every_format_marks_only_the_tests_whose_speakers_may_be_in_training_data(tmp_path):
    write_tests(tmp_path / "m" / "fold1" / "seed1", "aa bb ab aa bb", "1 1 1 2 2")
    made = make([tmp_path], "soctk-score")
    reason = "the speakers of all test utterances are unknown"
    for style, mark in (("text", "‡"), ("md", "‡"), ("latex", r"$\ddagger$")):
        text = formats.FORMATS[style](made)
        rows = [line for line in text.splitlines() if "test2" in line and "50.00" not in line and "100.00" in line]
        assert rows, style
        assert all(mark in row for row in rows), style
        assert not any(mark in line for line in text.splitlines() if line.strip(" |").startswith(("m/test1", "test1")))
        assert reason in " ".join(text.split()), style
    (sentence,) = wording.overlaps(made.experiments)
    assert sentence.startswith(
        f"‡ Test speakers are, or may be, in the training data (m/test2): {reason}. Do not compare"
    )
    assert "each utterance of an unknown speaker as a speaker of its own" in sentence


def test_segments_that_share_sound_across_folds_are_marked(tmp_path, corpus):
    tape = next(iter(corpus.wav.values()))
    times = {utt: (i, i + 1) for i, utt in enumerate(corpus.utterances)}
    for fold in corpus.folds:
        utterances = corpus.utterances_of([fold])
        emotions = " ".join(2 * corpus.emotion[utt][0] for utt in utterances)
        write_run(tmp_path / "m" / f"fold{fold}" / "seed1", emotions, utterances, "cas")
    names = {"calm": "c", "angry": "a", "sad": "s"}
    labels = {"emotions": tuple(names.values()), "emotion": {u: names[e] for u, e in corpus.emotion.items()}}
    (last,) = (utt for utt in corpus.utterances if utt.startswith("spk0-sad-1"))  # the next one is of spk1, of fold 2
    for end, mark in ((times[last][1], ""), (times[last][1] + 0.5, " \u2021")):
        segments = {utt: Segment("tape", *span) for utt, span in (times | {last: (times[last][0], end)}).items()}
        data = dataclasses.replace(corpus, wav={"tape": tape}, segments=segments, **labels)
        datadir.write(tmp_path / "data", data)
        (found,) = score.score([tmp_path / "m"], tmp_path / "data")
        assert wording.label(found) == f"m{mark}"
    assert wording.overlaps([found])[0].startswith(
        "\u2021 Test speakers are, or may be, in the training data (m): 1 pair of segments of different folds shares "
        "sound, such as spk0-sad-1 and spk1-angry-0 (0.50 s). Do not compare"
    )


def test_speakers_may_be_in_several_folds_only_if_the_run_recorded_it(tmp_path):
    for fold, names in ((1, ["x-1", "y-1"]), (2, ["x-2", "z-1"])):
        write_run(tmp_path / "m" / f"fold{fold}" / "seed1", "aa bb", names, config="protocol: soctk")
    with pytest.raises(
        SoctkError, match="x is tested in folds 1 and 2, and therefore was in the training data of both"
    ):
        score.score([tmp_path])
    for path in tmp_path.rglob("config.yaml"):
        path.write_text("protocol: utterance-folds\nspeaker_overlap: {all: 1 of 3 speakers in several folds}")
    (found,) = score.score([tmp_path])
    assert found.speaker_overlap == "1 of 3 speakers in several folds"
    assert wording.label(found) == "m ‡"


def test_folds_of_utterances_are_compared_with_the_data_directory(tmp_path, corpus):
    folds = {utt: 1 + int(utt[-1]) for utt in corpus.utterances}
    data = dataclasses.replace(corpus, fold={}, utterance_fold=folds)
    datadir.write(tmp_path / "data", data)
    for fold in (1, 2):
        utterances = data.utterances_of([fold])
        pairs = " ".join(2 * data.emotion[utt][0] for utt in utterances)
        write_run(tmp_path / "m" / f"fold{fold}" / "seed1", pairs, utterances, "cas", "speaker_overlap: {all: shared}")
    renamed = {"calm": "c", "angry": "a", "sad": "s"}
    datadir.write(
        tmp_path / "data",
        dataclasses.replace(data, emotions=("c", "a", "s"), emotion={u: renamed[e] for u, e in data.emotion.items()}),
    )
    assert len(score.score([tmp_path / "m"], tmp_path / "data")) == 1
    moved = {**folds, "spk0-sad-0": 2, "spk0-sad-1": 1}
    datadir.write(tmp_path / "data", dataclasses.replace(datadir.read(tmp_path / "data"), utterance_fold=moved))
    with pytest.raises(
        SoctkError, match=r"2 utterances are tested in another fold than .*data assigns, such as spk0-sad"
    ):
        score.score([tmp_path / "m"], tmp_path / "data")
