import dataclasses

import numpy as np
import pandas as pd
import pytest
from conftest import write_run

from soctk.corpus.datadir import DataDir
from soctk.scoring import predictions, subgroups

UTTERANCES = ["ann-1", "ann-2", "bob-1", "bob-2"]


@pytest.fixture
def predicted(tmp_path) -> predictions.Predictions:
    """Predictions of two seeds. Correct answers (of 2): Ann 1 and 2, Bob 0 and 1."""
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa ba ab ba", UTTERANCES, "ab")
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa bb aa ba", UTTERANCES, "ab")
    (runs,) = predictions.find(tmp_path).values()
    return predictions.read(runs)


DATA = DataDir(
    wav=dict.fromkeys(UTTERANCES),
    speaker={utt: utt[:3] for utt in UTTERANCES},
    emotion=dict(zip(UTTERANCES, "abab", strict=True)),
    seconds=dict(zip(UTTERANCES, (1.0, 2.0, 9.0, 10.0), strict=True)),
    gender={"ann": "f", "bob": "m"},
    fold={"ann": 1, "bob": 1},
    emotions=("a", "b"),
    extra={"text": dict(zip(UTTERANCES, ("yes", "no", "yes", "no"), strict=True))},
)


def accuracy(parts: list[subgroups.Subgroup]) -> dict[tuple[str, str], tuple[int, int, float]]:
    return {(p.attribute, p.value): (p.utterances, p.speakers, p.scores["WA"].value) for p in parts}


def test_scores_equal_hand_worked_ones(predicted):
    assert accuracy(subgroups.subgroups(predicted, DATA)) == {
        ("fold", "1"): (4, 2, 50.0),
        ("speaker", "ann"): (2, 1, 75.0),
        ("speaker", "bob"): (2, 1, 25.0),
        ("sex", "female"): (2, 1, 75.0),
        ("sex", "male"): (2, 1, 25.0),
        ("duration", "1: up to 1.75 s"): (1, 1, 100.0),
        ("duration", "2: to 5.50 s"): (1, 1, 50.0),
        ("duration", "3: to 9.25 s"): (1, 1, 50.0),
        ("duration", "4: over 9.25 s"): (1, 1, 0.0),
        ("text", "no"): (2, 2, 25.0),
        ("text", "yes"): (2, 2, 75.0),
    }


def test_without_a_data_directory_the_subgroups_are_folds_and_speakers(predicted):
    assert {part.attribute for part in subgroups.subgroups(predicted, None)} == {"fold", "speaker"}


def test_speakers_of_unknown_sex_are_a_group(predicted):
    parts = subgroups.subgroups(predicted, dataclasses.replace(DATA, gender={"ann": "f"}))
    assert {part.value: part.utterances for part in parts if part.attribute == "sex"} == {"female": 2, "unknown": 2}


def test_without_spk2gender_there_are_no_scores_by_sex(predicted):
    attributes = {part.attribute for part in subgroups.subgroups(predicted, dataclasses.replace(DATA, gender={}))}
    assert attributes == {"fold", "speaker", "duration", "text"}


def test_equal_durations_form_one_subgroup(predicted):
    alike = dataclasses.replace(DATA, seconds=dict.fromkeys(UTTERANCES, 2.0))
    parts = [part for part in subgroups.subgroups(predicted, alike) if part.attribute == "duration"]
    assert accuracy(parts) == {("duration", "1: up to 2.00 s"): (4, 2, 50.0)}


def test_the_subgroups_of_an_attribute_contain_all_utterances(predicted):
    parts = pd.DataFrame([vars(part) for part in subgroups.subgroups(predicted, DATA)])
    assert set(parts.groupby("attribute")["utterances"].sum()) == {4}


def test_the_interval_of_a_subgroup_uses_only_its_speakers(tmp_path):
    speakers = [f"s{i}" for i in range(6)]
    write_run(tmp_path / "m" / "fold1" / "seed1", " ".join(["aa"] * 6), [f"{speaker}-1" for speaker in speakers])
    (runs,) = predictions.find(tmp_path).values()
    intervals = {part.value: part.scores["WA"] for part in subgroups.subgroups(predictions.read(runs), None)}
    assert not np.isnan(intervals["1"].low)  # fold 1 has six speakers
    assert all(np.isnan(intervals[speaker].low) for speaker in speakers)  # one speaker gives no interval
