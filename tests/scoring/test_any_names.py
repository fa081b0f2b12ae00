"""Names of emotions, speakers and properties give the same scores as other names, or they are refused."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_run
from hypothesis import given, settings
from hypothesis import strategies as st

from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.reporting import formats, listening
from soctk.reporting.report import make
from soctk.scoring import prediction_file, score
from soctk.scoring.runs import RunDirectory
from soctk.training.run_writer import RunWriter

EMOTIONS, SPEAKERS = ("e0", "e1", "e2"), tuple(f"s{i}" for i in range(6))
# Columns and keys of our own tables and files, and words that libraries take for missing values or numbers.
WORDS = ["fold", "seed", "precision", "recall", "F1", "utterances", "utt", "spk", "ref", "hyp", "WA", "UA", "log_loss"]
WORDS += ["ECE", "count", "index", "value", "attribute", "name", "level_0", "0", "1", "01", "nan", "NaN", "None", "NA"]
WORDS += ["null", "true", "False", "ref.1", "hyp.1", "a.1", "all", "mean", "unknown", "speaker", "comparisons", "inf"]
WORDS += [
    "-1",
    "1e5",
    "Unnamed:0",
    "emotion",
    "columns",
    "runs",
    "as",
    "epoch",
    "C",
    '"',
    "'",
    "#x",
    "=1+1",
    "a|b",
    "é",
]
NAMES = st.sampled_from(WORDS) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=4
)


def corpus_of(emotions, speakers, properties=None) -> DataDir:
    """Return a corpus of 6 speakers with 4 utterances each in 2 folds."""
    utterances = {f"{speaker}-{i}": number for number, speaker in enumerate(speakers) for i in range(4)}
    order = sorted(utterances)
    return DataDir(
        wav=dict.fromkeys(order, Path(__file__)),
        speaker={utt: speakers[utterances[utt]] for utt in order},
        emotion={utt: emotions[(utterances[utt] + int(utt[-1])) % 3] for utt in order},
        seconds=dict.fromkeys(order, 1.0),
        gender={},
        fold={speaker: 1 + number % 2 for number, speaker in enumerate(speakers)},
        emotions=tuple(emotions),
        extra={name: {utt: utt[-1] for utt in order} for name in properties or ()},
    )


def score_of(emotions, speakers, properties=()) -> tuple[dict, list]:
    """Write a data directory and predictions as soctk-train does; return the scores with the names of EMOTIONS."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        datadir.write(root / "data", corpus_of(emotions, speakers, properties))
        data = datadir.read(root / "data", recordings=False)
        for fold in (1, 2):
            for seed in (1, 2):
                run = RunDirectory(root / "exp" / "m", fold, seed)
                utterances = sorted(
                    data.utterances_of([fold]), key=lambda utt: (speakers.index(data.speaker[utt]), utt)
                )
                logits = torch.from_numpy(np.random.default_rng([fold, seed]).normal(size=(len(utterances), 3)))
                for row, utt in enumerate(utterances):
                    logits[row, data.emotions.index(data.emotion[utt])] += 1
                with RunWriter.opened(run, tensorboard=False) as writer:
                    writer.write_predictions(prediction_file.of_classes(data, utterances, logits.softmax(-1).numpy()))
        report = make([root / "exp"], "soctk-score exp", data=root / "data")
        for style in formats.FORMATS.values():
            style(report)
        listening.list_errors(report.experiments[0], root)
        scores = rounded(report.experiments[0].as_dict())
    assert list(scores["per_class"]) == list(scores["confusion"]) == list(emotions)
    scores["per_class"] = list(scores["per_class"].values())
    scores["confusion"] = [list(row.values()) for row in scores["confusion"].values()]
    groups = [(group["attribute"], group["value"], group["scores"]) for group in scores.pop("subgroups")]
    return scores, groups


@functools.cache
def usual_scores() -> tuple[dict, list]:
    return score_of(EMOTIONS, SPEAKERS)


def rounded(value):
    """Round all numbers: the order of speakers changes the last digits of sums."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def by_speaker(groups: list, speakers) -> list:
    found = {value: scores for attribute, value, scores in groups if attribute == "speaker"}
    assert found.keys() == set(speakers)
    return [found[speaker] for speaker in speakers]


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(NAMES, min_size=3, max_size=3, unique=True), st.lists(NAMES, min_size=6, max_size=6, unique=True))
def test_scores_do_not_depend_on_the_names_of_emotions_and_speakers(emotions, speakers):
    expected, expected_groups = usual_scores()
    try:
        scores, groups = score_of(emotions, speakers)
    except SoctkError as error:
        assert "not a valid data directory" in str(error)
        return
    assert scores == expected
    assert by_speaker(groups, speakers) == by_speaker(expected_groups, SPEAKERS)
    assert [group for group in groups if group[0] == "fold"] == [g for g in expected_groups if g[0] == "fold"]


@pytest.mark.parametrize("emotion", ["fold", "seed", "precision", "utterances", "WA", "nan", "1", "hyp.1", "index"])
def test_an_emotion_may_have_the_name_of_a_column(emotion):
    assert score_of((emotion, "e1", "e2"), SPEAKERS)[0] == usual_scores()[0]


@pytest.mark.parametrize("emotion", ["utt", "spk", "ref", "hyp", "test", "dist"])
def test_an_emotion_with_the_name_of_a_column_of_predictions_tsv_is_refused(tmp_path, emotion):
    with pytest.raises(SoctkError, match=f"emotions: {emotion} is the name of a column of predictions.tsv; choose an"):
        datadir.write(tmp_path, corpus_of((emotion, "e1", "e2"), SPEAKERS))


@pytest.mark.parametrize("name", ["seed", "utterances", "WA", "attribute", "value", "text", "hyp", "1", "nan"])
def test_a_property_may_have_the_name_of_a_column(name):
    scores, groups = score_of(EMOTIONS, SPEAKERS, [name])
    expected, expected_groups = usual_scores()
    assert {gap["attribute"] for gap in scores.pop("gaps")} == {name}
    assert scores == {key: value for key, value in expected.items() if key != "gaps"}
    assert [group[1] for group in groups if group[0] == name] == ["0", "1", "2", "3"]
    assert [group for group in groups if group[0] != name] == expected_groups


@pytest.mark.parametrize("name", ["fold", "speaker", "sex", "duration", "spk", "emo", "dur"])
def test_a_property_with_the_name_of_another_file_or_subgroup_is_refused(tmp_path, name):
    with pytest.raises(SoctkError, match=f"utt2{name}: .* rename"):
        datadir.write(tmp_path, corpus_of(EMOTIONS, SPEAKERS, [name]))
    assert not list(tmp_path.iterdir())


def test_experiments_may_have_any_name(tmp_path):
    for name in ("all", "fold", "comparisons", "nan", "1", "mean ± sd over folds"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb ab")
    report = make([tmp_path], "soctk-score exp", is_compared=True)
    assert len(report.experiments) == 6
    assert {experiment.pooled["UA"].value for experiment in report.experiments} == {75}
    assert len(report.comparison) == 3 * 15
    assert set(report.comparison["first"]) | set(report.comparison["second"]) == {
        e.name for e in score.score([tmp_path])
    }
