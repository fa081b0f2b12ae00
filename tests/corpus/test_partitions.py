"""Published partitions and published folds that share speakers: splits, overlaps of speakers, and notes."""

import dataclasses
import itertools

import pytest

from soctk.corpus import independence, quick_checks
from soctk.corpus.datadir import DataDir
from soctk.corpus.segments import Segment
from soctk.corpus.splits import Split, inner_splits, protocol_of, split
from soctk.errors import SoctkError


def make(parts: dict[str, str], speaker: dict[str, str] | None = None, **changes) -> DataDir:
    """Make a corpus without files, from utterance -> part; the speaker is the first letter, the emotion the last."""
    parts = dict(sorted(parts.items()))
    speaker = {utt: utt[0] for utt in parts} | (speaker or {})
    data = DataDir(
        wav={},
        speaker=speaker,
        emotion={utt: utt[-1] for utt in parts},
        seconds=dict.fromkeys(parts, 1.0),
        gender={},
        fold={},
        emotions=tuple(sorted({utt[-1] for utt in parts})),
        split=parts,
    )
    return dataclasses.replace(data, **changes)


PARTS = {"a1x": "train", "a2y": "train", "b1x": "dev", "b2y": "dev", "c1x": "test1", "c2y": "test1", "d1x": "test2"}


def test_dev_validates_and_all_tests_are_tested():
    data = make(PARTS)
    parts = split(data, 1, "partition", seed=3)
    assert parts == Split(["a1x", "a2y"], ["b1x", "b2y"], ["c1x", "c2y", "d1x"])
    assert inner_splits(data, parts, "partition") == [(["a1x", "a2y"], ["b1x", "b2y"])]
    assert split(data, 1, "emobox", seed=3) == parts
    with pytest.raises(SoctkError, match=r"no fold 2\nChoose from the folds \[1\]"):
        split(data, 2, "partition", 0)


def without_dev(speakers: int, utterances_each: int = 4) -> DataDir:
    names = [chr(ord("a") + i) for i in range(speakers)]
    parts = {f"{name}{take}{emotion}": "train" for name in names for take in range(utterances_each) for emotion in "xy"}
    return make({**parts, "z1x": "test", "z2y": "test"})


@pytest.mark.parametrize("speakers", [2, 5, 8])
def test_without_dev_some_training_speakers_validate(speakers):
    data = without_dev(speakers)
    validated = []
    for seed in range(min(5, speakers)):
        parts = split(data, 1, "partition", seed)
        assert sorted(parts.train + parts.valid) == data.part("train")
        assert parts.test == ["z1x", "z2y"]
        assert not {utt[0] for utt in parts.train} & {utt[0] for utt in parts.valid}
        validated += parts.valid
    assert sorted(validated) == data.part("train")
    scored = [scored for _, scored in inner_splits(data, split(data, 1, "partition", 0), "partition")]
    assert sorted(itertools.chain(*scored)) == data.part("train")


@pytest.mark.parametrize("is_known", [True, False], ids=["one speaker", "unknown speakers"])
def test_without_dev_and_speakers_a_fifth_of_each_emotion_validates(is_known):
    data = without_dev(1, utterances_each=50)
    if not is_known:
        data = dataclasses.replace(data, speaker={utt: utt for utt in data.speaker})
    parts = [split(data, 1, "partition", seed) for seed in range(5)]
    assert [sum(utt.endswith("x") for utt in part.valid) for part in parts] == [10] * 5
    assert sorted(utt for part in parts for utt in part.valid) == data.part("train")
    assert all(sorted(part.train + part.valid) == data.part("train") for part in parts)


def test_without_dev_emobox_draws_a_fifth_of_train():
    data = without_dev(3, utterances_each=5)
    parts = split(data, 1, "emobox", seed=1)
    assert len(parts.valid) == 6
    assert sorted(parts.train + parts.valid) == data.part("train")
    assert parts.valid != split(data, 1, "emobox", seed=2).valid
    assert inner_splits(data, parts, "emobox") == [(parts.train, parts.valid)]


def test_a_partition_replaces_the_default_protocol_and_refuses_those_that_need_folds_of_speakers():
    data = make(PARTS)
    assert protocol_of(data, "soctk") == "partition"
    assert protocol_of(data, "emobox") == "emobox"
    with pytest.raises(SoctkError, match="published partition, and --protocol cross-lingual needs folds of speakers"):
        protocol_of(data, "cross-lingual")
    folds = dataclasses.replace(data, split={}, utterance_fold={utt: 1 + i % 3 for i, utt in enumerate(data.speaker)})
    assert protocol_of(folds, "soctk") == "utterance-folds"
    speakers = dataclasses.replace(data, split={}, fold={"a": 1, "b": 2, "c": 3, "d": 1})
    assert protocol_of(speakers, "soctk") == "soctk"


def test_folds_of_utterances_are_split_like_folds_of_speakers():
    utterances = [f"a{i}{'xy'[i % 2]}" for i in range(6)]
    data = make(
        dict.fromkeys(utterances, "train"), split={}, utterance_fold={utt: 1 + int(utt[1]) % 3 for utt in utterances}
    )
    assert split(data, 3, "utterance-folds", 0) == Split(["a1y", "a4x"], ["a0x", "a3y"], ["a2x", "a5y"])


def test_speakers_of_each_test_that_are_in_training_are_counted():
    assert independence.find_overlaps(make(PARTS)) == {}
    shared = make(PARTS, {"c1x": "a", "d1x": "b"})
    assert independence.find_overlaps(shared) == {
        "test1": "1 of 2 test speakers also in training or validation data",
        "test2": "1 of 1 test speaker also in training or validation data",
    }


def test_unknown_speakers_are_counted_for_each_test():
    unknown = make(PARTS, {"d1x": "d1x"})
    assert independence.find_overlaps(unknown) == {"test2": "the speakers of all test utterances are unknown"}
    unknown = make(PARTS, {"a1x": "a1x", "c1x": "c1x"})
    assert independence.find_overlaps(unknown) == {
        "test1": "the speakers of 1 of 2 test utterances are unknown; the speakers of 1 of 4 training and validation "
        "utterances are unknown",
        "test2": "the speakers of 1 of 4 training and validation utterances are unknown",
    }


def test_speakers_in_several_folds_are_counted():
    folds = {utt: 1 + i % 3 for i, utt in enumerate(PARTS)}
    data = make(PARTS, split={}, utterance_fold=folds)
    assert independence.find_overlaps(data) == {"all": "3 of 4 speakers in several folds"}
    disjoint = dataclasses.replace(data, utterance_fold={utt: 1 + "abcd".index(utt[0]) % 3 for utt in PARTS})
    assert independence.find_overlaps(disjoint) == {}
    speakers = dataclasses.replace(data, utterance_fold={}, fold={"a": 1, "b": 2, "c": 3, "d": 1})
    assert independence.find_overlaps(speakers) == {}


def test_notes_on_a_partition_name_its_tests():
    data = make({**PARTS, "d2z": "test2"}, {"d1x": "a"})
    notes = "\n".join(quick_checks.notes(data))
    assert "Note: tests that do not train all emotions: test1: z, test2: z. The models never predict" in notes
    assert "Note: tests that do not test all emotions: test1: z, test2: y. " in notes
    assert "test speakers may be in the training data: test2: 1 of 2 test speakers also in training" in notes
    assert "--folds" not in notes
    assert "fewer than 3 folds" not in notes


def test_segments_that_share_sound_across_parts_are_found():
    times = {"a1x": (0, 2), "a2y": (1, 3), "b1x": (1.5, 2.5), "b2y": (3.95, 5), "c1x": (2.92, 4.0), "c2y": (9, 9.5)}
    data = make({utt: part for utt, part in PARTS.items() if utt in times})
    segments = {utt: Segment("tape2" if utt == "c2y" else "tape", *span) for utt, span in times.items()}
    notes = "\n".join(quick_checks.notes(dataclasses.replace(data, segments=segments)))
    assert (
        "Note: segments of different parts overlap by more than 0.1 s: a2y and b1x (1.00 s). The same sound is in "
        "training and test data: correct the times, or put the segments of a recording into one part. "
        "All tables of scores mark these results with \u2021."
    ) in notes
    segmented = dataclasses.replace(data, segments={**segments, "c1x": Segment("tape", 2.3, 4.0)})
    reason = "2 pairs of segments of the test and other parts share sound, such as a2y and c1x (0.70 s)"
    found = {test: independence.describe_shared_sound(segmented, test) for test in ("", "test1", "test2")}
    assert found == {"": reason, "test1": reason, "test2": ""}
    assert independence.describe_shared_sound(dataclasses.replace(data, segments=segments)) == ""  # train and dev
    assert independence.describe_shared_sound(data) == ""


def test_unknown_speakers_of_a_corpus_that_only_tests_are_counted():
    data = make(PARTS, {"d1x": "d1x", "a1x": "a1x"})
    assert independence.find_unknown(data) == {
        "test2": "the speakers of 1 of 1 utterances are unknown",
        "train": "the speakers of 1 of 2 utterances are unknown",
    }
    assert independence.find_unknown(dataclasses.replace(data, split={}, fold=dict.fromkeys("abcd", 1))) == {}


def test_a_recording_in_two_parts_of_a_partition_is_found():
    data = make(PARTS)
    infos = {utt: quick_checks.AudioInfo(1.0, 1, 16000, utt, False, 0.0, (1,)) for utt in PARTS}
    infos["d1x"] = dataclasses.replace(infos["d1x"], digest="a1x")
    (note,) = quick_checks.recording_notes(data, infos)
    assert note.startswith(
        "Note: the same recording in several parts of the partition (in training and test data): a1x (x) = d1x (x). "
        "Keep one of them, or list them in the file `duplicates`"
    )
