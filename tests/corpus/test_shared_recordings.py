from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import duplicates, splits
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.schema import Protocol


def made_of(fold: dict[str, int], known: tuple[str, ...] = ()) -> DataDir:
    """Return a corpus of the given speakers, each with the utterances SPEAKER-1 and SPEAKER-2."""
    utterances = [f"{speaker}-{take}" for speaker in fold for take in (1, 2)]
    return DataDir(
        wav={utt: Path(utt) for utt in utterances},
        speaker={utt: utt.partition("-")[0] for utt in utterances},
        emotion={utt: "ab"[int(utt[-1]) - 1] for utt in utterances},
        seconds=dict.fromkeys(utterances, 1.0),
        gender={},
        fold=fold,
        emotions=("a", "b"),
        duplicates=frozenset(frozenset(line.split()) for line in known),
        path=Path("data"),
    )


def digests(data: DataDir, *same: str) -> dict[str, str]:
    """Return different digests, but equal ones for the utterances in each text of `same`."""
    return {utt: utt for utt in data.wav} | {utt: line for line in same for utt in line.split()}


FOUR = {"p": 1, "q": 2, "r": 3, "s": 4}


def check(data: DataDir, same: str, protocol: Protocol = "soctk", folds=(1,), seeds=(1,)):
    return duplicates.check_splits(data, digests(data, same), protocol, folds, seeds)


@pytest.mark.parametrize(
    ("same", "places"),
    [
        ("p-1 r-2", "p-1 (speaker p, test) = r-2 (speaker r, training, part 2 of the inner cross-validation)"),
        ("p-1 q-2", "p-1 (speaker p, test) = q-2 (speaker q, validation)"),
        ("q-1 s-1", "q-1 (speaker q, validation) = s-1 (speaker s, training, part 3 of the inner cross-validation)"),
        ("r-1 r-2 s-1", "r-1 (speaker r, training, part 2 of the inner cross-validation) = s-1 (speaker s, training, "
         "part 3 of the inner cross-validation)"),
    ],
)  # fmt: skip
def test_a_recording_in_two_parts_of_a_fold_is_an_error_that_names_utterances_speakers_and_parts(same, places):
    with pytest.raises(SoctkError) as error:
        check(made_of(FOUR), same)
    silent = "Are these recordings silent? Then another channel may have the sound (soctk-check). If not, keep"
    advice = silent if len(same.split()) > 2 else "Keep"
    assert str(error.value) == (
        "data: 1 recording in several of the training, validation and test utterances of a fold\n"
        f"  fold 1: {places}\n"
        f"{advice} one utterance of each recording, or put all its speakers into one fold (spk2fold). If a publication "
        "of the corpus lists them as duplicates, write their ids on one line of the file `duplicates` of the data "
        "directory; they are then allowed."
    )


def test_each_shared_recording_is_listed_once_for_all_folds_and_seeds():
    data = made_of(FOUR)
    with pytest.raises(SoctkError, match="2 recordings in several") as error:
        duplicates.check_splits(data, digests(data, "p-1 q-1", "r-1 s-2"), "soctk", [1, 2, 3, 4], [1, 2, 3])
    assert [line.partition(" = ")[0] for line in error.value.what.splitlines()[1:]] == [
        "  fold 1: p-1 (speaker p, test)",
        "  fold 1: r-1 (speaker r, training, part 2 of the inner cross-validation)",
    ]


def test_a_recording_in_one_part_only_is_no_error():
    assert check(made_of(FOUR), "p-1 p-2", folds=(1, 2, 3, 4)) == []
    assert check(made_of({"p": 1, "q": 2, "r": 3, "s": 3}), "r-1 s-1", folds=(1, 2, 3)) == []


def test_utterances_without_features_and_features_without_utterances_are_not_compared():
    data = made_of(FOUR)
    assert duplicates.check_splits(data, {"p-1": "x", "p-1-sp0.9": "x", "unknown": "x"}, "soctk", [1], [1]) == []


def test_known_duplicates_are_returned_and_allowed_but_not_a_third_copy():
    data = made_of(FOUR, ("p-1 q-1", "r-1 s-1"))
    assert check(data, "p-1 q-1", folds=(1, 2, 3, 4), seeds=(1, 2)) == [("p-1", "q-1")]
    assert duplicates.describe_allowed([("p-1", "q-1")]) == (
        "known duplicates (file `duplicates`) are in training and in validation or test data: p-1 = q-1"
    )
    with pytest.raises(SoctkError, match=r"p-1 .* = q-1 .* = s-2 "):
        check(data, "p-1 q-1 s-2")


def test_under_emobox_a_speakers_own_recordings_may_not_be_in_training_and_validation():
    data = made_of({f"s{i}": 1 + i % 3 for i in range(9)})
    split = splits.split(data, 1, "emobox", seed=1)
    pair = next(utt for utt in split.valid if f"{utt[:-1]}{3 - int(utt[-1])}" in split.train)
    same = f"{pair[:-1]}1 {pair[:-1]}2"
    with pytest.raises(SoctkError, match=rf"fold 1: {pair[:-1]}") as error:
        check(data, same, "emobox")
    assert "spk2fold" not in error.value.remedy  # one fold has the speaker already
    assert check(data, same, "soctk", folds=(1, 2, 3)) == []


@given(st.data())
def test_check_splits_equals_a_comparison_of_all_pairs(draw):
    folds = draw.draw(st.lists(st.integers(1, 4), min_size=6, max_size=10).filter(lambda f: len(set(f)) == 4))
    data = made_of({f"s{i}": fold for i, fold in enumerate(folds)})
    same = {utt: draw.draw(st.integers(0, 30)) for utt in data.wav}
    protocol, fold = draw.draw(st.sampled_from(["soctk", "emobox"])), draw.draw(st.integers(1, 4))
    split = splits.split(data, fold, protocol, 3)
    pairs = [(split.train, split.valid), (split.train, split.test), (split.valid, split.test)]
    pairs += splits.inner_splits(data, split, protocol)
    leaks = any(same[one] == same[two] for first, second in pairs for one in first for two in second)
    if leaks:
        with pytest.raises(SoctkError, match="in several of the training, validation and test utterances"):
            duplicates.check_splits(data, {utt: str(d) for utt, d in same.items()}, protocol, [fold], [3])
    else:
        assert duplicates.check_splits(data, {utt: str(d) for utt, d in same.items()}, protocol, [fold], [3]) == []


@pytest.mark.parametrize(
    ("same", "places"),
    [
        ("p-1 s-2", "p-1 (speaker p, training) = s-2 (speaker s, test)"),
        ("r-1 q-2", "r-1 (speaker r, validation) = q-2 (speaker q, training)"),
    ],
)
def test_the_parts_of_a_partition_may_not_share_recordings(same, places):
    parts = {"p": "train", "q": "train", "r": "dev", "s": "test"}
    folds = made_of(FOUR)
    data = replace(folds, fold={}, split={utt: parts[name] for utt, name in folds.speaker.items()})
    with pytest.raises(SoctkError) as error:
        check(data, same, "partition")
    assert {*places.split(" = ")} == {*str(error.value).split("fold 1: ")[1].split("\n")[0].split(" = ")}
    assert "spk2fold" not in str(error.value)
    assert check(replace(data, duplicates=frozenset({frozenset(same.split())})), same, "partition") == [
        tuple(sorted(same.split()))
    ]
    assert check(data, "p-1 q-2", "partition") == []
