import dataclasses
from pathlib import Path

import numpy as np
import pytest

from soctk.corpus.audio import AudioInfo
from soctk.corpus.conditions import Conditions
from soctk.corpus.datadir import DataDir
from soctk.scoring import cues as names
from soctk.training import trivial

EMOTIONS = ("angry", "happy", "sad")


def make_corpus(takes: int = 4, speakers: int = 12, **changes) -> DataDir:
    """Return a corpus in which each speaker has `takes` utterances of each emotion, in 3 folds of speakers."""
    utterances = [f"s{i:02}-{name}-{take}" for i in range(speakers) for name in EMOTIONS for take in range(takes)]
    speaker = {utt: utt[:3] for utt in utterances}
    data = DataDir(
        wav=dict.fromkeys(utterances, Path("any.wav")),
        speaker=speaker,
        emotion={utt: utt.split("-")[1] for utt in utterances},
        seconds=dict.fromkeys(utterances, 1.0),
        gender={},
        fold={name: int(name[1:]) % 3 + 1 for name in speaker.values()},
        emotions=EMOTIONS,
    )
    return dataclasses.replace(data, **changes)


def make_infos(data: DataDir, are_random: bool = False, **columns) -> dict[str, AudioInfo]:
    """Return properties of the recordings; `columns` gives some of the conditions, the others are equal or random."""
    generator = np.random.default_rng(0)
    infos = {}
    for utt in data.utterances:
        values = dict(zip(Conditions.__slots__, are_random * generator.normal(size=6), strict=True))
        values |= {name: column[utt] for name, column in columns.items()}
        seconds = 1 + are_random * generator.random()
        infos[utt] = AudioInfo(seconds, 1, 16000, utt, False, 0.0, (1,), Conditions(**values))
    return infos


def score_of(data: DataDir, infos: dict[str, AudioInfo] | None = None) -> dict[str, names.CueScore]:
    return {score.cue: score for score in trivial.evaluate(data, infos or make_infos(data)).scores}


def test_a_level_that_goes_with_the_emotion_is_found_and_other_cues_are_not():
    data = make_corpus(takes=10)
    level = {utt: EMOTIONS.index(name) + np.random.default_rng(i).normal(0, 0.1)
             for i, (utt, name) in enumerate(data.emotion.items())}  # fmt: skip
    scores = score_of(data, make_infos(data, are_random=True, level=level))
    prominent = {cue for cue, score in scores.items() if score.stands_out}
    assert prominent == {names.LEVEL, names.LEVEL_AND_FLOOR, names.ALL_OF_SOUND}
    assert scores[names.LEVEL].UA[0] > 95
    assert scores[names.LEVEL].chance_UA == pytest.approx(100 / 3)


def test_a_level_that_tells_the_emotion_in_two_ways_is_found():
    """The middle levels are one emotion, and high and low levels the others' in turn: no linear function tells them."""
    data = make_corpus(takes=10)
    level = {utt: 0.0 if name == "angry" else (-1.0) ** i for i, (utt, name) in enumerate(data.emotion.items())}
    assert score_of(data, make_infos(data, level=level))[names.LEVEL].UA[0] > 60


def test_a_cue_that_is_equal_in_all_utterances_has_no_score():
    data = make_corpus()
    found = trivial.evaluate(data, make_infos(data, floor={utt: float(utt[-1]) for utt in data.utterances}))
    assert found.constant == [names.LEVEL, names.DURATION, names.BANDWIDTH, names.ENDS]
    assert [score.cue for score in found.scores] == [names.FLOOR, names.LEVEL_AND_FLOOR, names.ALL_OF_SOUND]


def test_no_test_utterance_trains():
    """Each speaker has levels of its own: a classifier that knew them would tell all emotions, and another none."""
    data = make_corpus(takes=2, speakers=30)
    generator = np.random.default_rng(0)
    order = {name: generator.permutation(3) for name in data.fold}
    level = {utt: 10.0 * int(utt[1:3]) + order[data.speaker[utt]][EMOTIONS.index(data.emotion[utt])]
             for utt in data.utterances}  # fmt: skip
    scores = score_of(data, make_infos(data, level=level))
    assert not scores[names.LEVEL].stands_out
    by_word = dataclasses.replace(data, extra={"word": {utt: utt for utt in data.utterances}})
    assert score_of(by_word)["utt2word"].UA[0] <= 100 / 3 + 1e-9


def test_a_sentence_of_one_emotion_tells_it():
    data = make_corpus()
    sentence = {utt: "shout" if utt.split("-")[1] == "angry" else "talk" for utt in data.utterances}
    sentence["s00-sad-0"] = "once"
    found = trivial.evaluate(dataclasses.replace(data, extra={"sentence": sentence}), make_infos(data))
    score = next(score for score in found.scores if score.cue == "utt2sentence")
    # All angry utterances are right, and "talk" means one of the two other emotions, in each fold the same or another:
    # 36 + 32 .. 48 of 144 utterances with the exception of one, whose sentence does not occur in training.
    assert 100 * (48 + 32 - 1) / 144 - 1 <= score.WA[0] <= 100 * (48 + 64) / 144
    assert score.stands_out
    assert found.exclusive == {"utt2sentence": (1, 2)}  # shout of shout and talk; "once" has one utterance


def test_a_text_of_several_words_is_read_by_its_letters():
    """No text occurs twice, but the words of each emotion do."""
    data = make_corpus()
    words = {"angry": "go away", "happy": "so glad", "sad": "oh dear"}
    text = {utt: f"{words[name]} {utt[:3]}{i}" for i, (utt, name) in enumerate(data.emotion.items())}
    data = dataclasses.replace(data, extra={"text": text})
    assert score_of(data)["utt2text"].UA[0] == 100


def test_classes_count_equally():
    """Of 20 utterances with x, 16 are angry; of those with y, 10 angry and 4 sad: 26 to 4, so y means sad."""
    takes = [("angry", "x")] * 16 + [("angry", "y")] * 10 + [("sad", "y")] * 4
    rows = [(f"s{i:02}-{name}-{take}", value) for i in range(6) for take, (name, value) in enumerate(takes)]
    data = make_corpus()
    speaker = {utt: utt[:3] for utt, _ in rows}
    data = dataclasses.replace(
        data,
        wav=dict.fromkeys(speaker, Path("any.wav")),
        speaker=speaker,
        emotion={utt: utt.split("-")[1] for utt in speaker},
        seconds=dict.fromkeys(speaker, 1.0),
        fold={name: int(name[1:]) % 3 + 1 for name in speaker.values()},
        extra={"value": dict(rows)},
    )
    score = score_of(data)["utt2value"]
    assert score.UA[0] == pytest.approx(100 * (16 / 26 + 1) / 2)
    assert score.WA[0] == pytest.approx(100 * 20 / 30)
    assert (score.chance_WA, score.chance_UA) == pytest.approx((100 * 26 / 30, 50))


def test_the_speaker_is_a_cue_only_where_test_speakers_train():
    data = make_corpus(takes=3)
    assert names.SPEAKER not in score_of(data)
    folds = {utt: int(utt[-1]) + 1 for utt in data.utterances}
    own = {utt: EMOTIONS[int(utt[1:3]) % 3] for utt in data.utterances}  # a speaker has one emotion
    shared = dataclasses.replace(data, fold={}, utterance_fold=folds, emotion=own)
    assert score_of(shared)[names.SPEAKER].UA[0] == 100


def test_the_sex_is_a_cue_where_it_is_known():
    data = make_corpus()
    gender = {name: "fm"[int(name[1:]) % 2] for name in data.fold}
    assert score_of(dataclasses.replace(data, gender=gender))[names.SEX].UA[0] <= 100 / 3 + 1e-9


def test_a_partition_trains_on_train_and_dev_and_has_a_score_for_each_test():
    """Train and dev say nothing of test1, whose level means the reverse, and all of test2."""
    data = make_corpus(takes=8, speakers=20)
    parts = ["train", "train", "dev", "test1", "test2"]
    split = {utt: parts[int(utt[1:3]) % 5] for utt in data.utterances}
    level = {utt: float(EMOTIONS.index(data.emotion[utt])) for utt in data.utterances}
    level |= {utt: -value for utt, value in level.items() if split[utt] == "test1"}
    data = dataclasses.replace(data, fold={}, split=split)
    found = [score for score in trivial.evaluate(data, make_infos(data, level=level)).scores
             if score.cue == names.LEVEL]  # fmt: skip
    assert {score.test: round(score.UA[0], 1) for score in found} == {"test1": 33.3, "test2": 100}


def test_the_training_data_of_a_large_corpus_are_drawn(monkeypatch):
    """Ten random utterances tell less about a weak cue than all; the draw is the same each time."""
    data = make_corpus(takes=10)
    level = {utt: EMOTIONS.index(name) + np.random.default_rng(i).normal() for i, (utt, name) in
             enumerate(data.emotion.items())}  # fmt: skip
    infos = make_infos(data, level=level)
    whole = score_of(data, infos)[names.LEVEL].UA[0]
    monkeypatch.setattr(trivial, "MOST_TRAINING", 10)
    drawn = score_of(data, infos)[names.LEVEL].UA[0]
    assert drawn != whole
    assert drawn == score_of(data, infos)[names.LEVEL].UA[0]


def test_obstacles_are_named():
    data = make_corpus()
    assert trivial.find_obstacle(data) == ""
    assert "emotions" in trivial.find_obstacle(dataclasses.replace(data, emotion=dict.fromkeys(data.emotion, "sad")))
    assert "folds" in trivial.find_obstacle(dataclasses.replace(data, fold=dict.fromkeys(data.fold, 1)))
