import dataclasses
import json

import pytest

from soctk.corpus import datadir
from soctk.errors import SoctkError
from soctk.scoring import cues
from soctk.scoring.cues import Cues, CueScore


def score(cue: str, value: float, low: float | None, high: float | None = 99.0, test: str = "") -> CueScore:
    return CueScore(cue=cue, test=test, WA=(30.0, 20.0, 40.0), UA=(value, low, high), chance_WA=25.0, chance_UA=25.0)


def made(*scores: CueScore, **changes) -> Cues:
    return Cues(**{"checksum": "x", "scores": list(scores), "constant": [], "exclusive": {}} | changes)


def test_the_sentence_names_the_cues_above_chance_and_their_ua():
    found = made(score(cues.LEVEL, 43.2, 31.0), score(cues.DURATION, 30.0, 24.9), score(cues.FLOOR, 46.0, 26.0))
    lines = cues.describe(found)
    assert lines[0] == (
        "Noise floor alone tells emotions here: UA 46% against 25% by chance; so do recording level (43%)."
    )
    assert any("--normalise level, and compare" in line for line in lines)
    assert any("No emotion changes the background noise" in line for line in lines)
    assert not any("cut differently" in line for line in lines)


def test_a_cue_that_consists_of_others_is_named_only_without_them():
    both = score(cues.LEVEL_AND_FLOOR, 60.0, 50.0)
    assert cues.describe(made(score(cues.LEVEL, 43.2, 31.0), both))[0].startswith("Recording level alone")
    assert cues.describe(made(both))[0].startswith("Level and noise floor alone tells emotions here: UA 60%")
    assert "--normalise level" in cues.describe(made(both))[1]


def test_nothing_above_chance_is_said_and_so_are_too_few_speakers():
    assert cues.describe(made(score(cues.LEVEL, 43.2, 25.0))) == ["No trivial classifier is better than chance."]
    assert cues.describe(made(score(cues.LEVEL, 90.0, None, None))) == [
        "Fewer than 5 test speakers, so it is not known what differs from chance."
    ]


def test_values_of_one_emotion_only_are_counted_and_each_test_has_a_sentence():
    found = made(score("utt2text", 90.0, 80.0, test="test1"), score("utt2text", 20.0, 10.0, test="test2"),
                 exclusive={"utt2text": (3, 7), "utt2room": (1, 2)})  # fmt: skip
    lines = cues.describe(found)
    assert lines[:3] == [
        "test1: utt2text alone tells emotions here: UA 90% against 25% by chance.",
        "test2: No trivial classifier is better than chance.",
        "utt2text: 3 of 7 values with several utterances occur in one emotion only.",
    ]
    assert "folds of sentences (utt2fold)" in lines[3]


def test_the_file_gives_back_what_was_written(tmp_path, corpus):
    found = made(score(cues.LEVEL, 43.2, None, None), checksum=cues.checksum(corpus), exclusive={"utt2text": (3, 7)})
    cues.write(tmp_path / "data", found)
    assert cues.read(corpus) == found
    assert datadir.read(tmp_path / "data") == corpus


@pytest.mark.parametrize(
    "change",
    [
        lambda corpus: {"fold": {name: 4 - fold for name, fold in corpus.fold.items()}},
        lambda corpus: {"extra": {"sentence": dict.fromkeys(corpus.utterances, "a")}},
        lambda corpus: {"gender": dict.fromkeys(corpus.fold, "f")},
        lambda corpus: {"seconds": dict.fromkeys(corpus.utterances, 9.5)},
    ],
    ids=["folds", "utt2X", "sex", "durations"],
)
def test_scores_of_other_files_are_not_used(tmp_path, corpus, change):
    assert cues.read(corpus) is None
    cues.write(tmp_path / "data", made(checksum=cues.checksum(corpus)))
    assert cues.read(corpus) is not None
    assert cues.read(dataclasses.replace(corpus, **change(corpus))) is None


@pytest.mark.parametrize("damage", [lambda text: text[:30], lambda text: json.dumps(json.loads(text) | {"scores": 1})])
def test_a_damaged_file_is_named_with_its_remedy(tmp_path, corpus, damage):
    cues.write(tmp_path / "data", made(checksum=cues.checksum(corpus)))
    file = tmp_path / "data" / "cues.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(SoctkError) as error:
        cues.read(corpus)
    assert str(error.value).startswith(f"{file}: not the scores of trivial classifiers (")
    assert error.value.remedy == "Run soctk-check on the data directory again, which writes this file."
