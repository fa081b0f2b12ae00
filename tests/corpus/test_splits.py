import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import inner_splits, split
from soctk.errors import SoctkError


def make_corpus(fold: dict[str, int], utterances_each: int = 4) -> DataDir:
    """Make a corpus without files, from speaker -> fold; splits depend on utterances, speakers and folds only."""
    speaker = {f"{spk}-{i}": spk for spk in sorted(fold) for i in range(utterances_each)}
    constant = {"wav": "x.wav", "emotion": "calm", "seconds": 1.0}
    columns = {name: dict.fromkeys(speaker, value) for name, value in constant.items()}
    return DataDir(**columns, speaker=speaker, gender=dict.fromkeys(fold, "f"), fold=fold, emotions=("calm",))


FOLDS = st.integers(3, 6).flatmap(
    lambda count: st.lists(st.integers(1, count), min_size=count, max_size=12).map(
        lambda more: {f"s{i:02}": fold for i, fold in enumerate([*range(1, count + 1), *more])}
    )
)


def speakers(data: DataDir, utterances: list[str]) -> set[str]:
    return {data.speaker[utt] for utt in utterances}


@given(FOLDS)
def test_parts_have_different_speakers_and_each_speaker_is_tested_and_validated_once(fold):
    data = make_corpus(fold)
    tested, validated = [], []
    for k in data.folds:
        parts = split(data, k, "soctk", seed=0)
        groups = [speakers(data, part) for part in (parts.train, parts.valid, parts.test)]
        assert sum(map(len, groups)) == len(set.union(*groups)) == len(fold)
        assert sorted(parts.train + parts.valid + parts.test) == data.utterances
        tested += groups[2]
        validated += groups[1]
    assert sorted(tested) == sorted(validated) == sorted(fold)


def test_a_fold_validates_on_the_next_fold_and_the_last_on_the_first():
    data = make_corpus({"a": 1, "b": 2, "c": 3})
    chosen = [(k, speakers(data, split(data, k, "soctk", 0).valid)) for k in (1, 2, 3)]
    assert chosen == [(1, {"b"}), (2, {"c"}), (3, {"a"})]


@given(FOLDS, st.integers(0, 5))
def test_emobox_validates_on_a_fifth_of_the_other_utterances(fold, seed):
    data = make_corpus(fold)
    for k in data.folds:
        parts = split(data, k, "emobox", seed)
        others = len(data.utterances) - len(parts.test)
        assert parts.test == split(data, k, "soctk", seed).test
        assert len(parts.valid) == -(-others // 5)
        assert sorted(parts.train + parts.valid + parts.test) == data.utterances
        assert parts == split(data, k, "emobox", seed)


def test_emobox_validates_on_other_utterances_with_another_seed():
    data = make_corpus({"a": 1, "b": 2, "c": 3}, utterances_each=20)
    assert split(data, 1, "emobox", 1).valid != split(data, 1, "emobox", 2).valid


def test_an_unknown_fold_is_refused():
    with pytest.raises(SoctkError, match=r"--folds: no fold 4\nChoose from the folds \[1, 2, 3\]."):
        split(make_corpus({"a": 1, "b": 2, "c": 3}), 4, "soctk", 0)


def test_two_folds_are_refused():
    data = make_corpus({"a": 1, "b": 2, "c": 3})
    with pytest.raises(SoctkError, match="2 folds are too few"):
        split(dataclasses.replace(data, fold={"a": 1, "b": 2, "c": 2}), 1, "soctk", 0)


@given(FOLDS)
def test_inner_splits_score_each_speaker_once_with_a_model_of_other_speakers(fold):
    data = make_corpus(fold)
    for k in data.folds:
        parts = split(data, k, "soctk", seed=0)
        scored_speakers = []
        for fitted, scored in inner_splits(data, parts, "soctk"):
            assert sorted(fitted + scored) == sorted(parts.train + parts.valid)
            assert not speakers(data, fitted) & speakers(data, scored)
            scored_speakers += speakers(data, scored)
        assert sorted(scored_speakers) == sorted(speakers(data, parts.train + parts.valid))


def test_the_inner_split_of_emobox_is_the_split_itself():
    data = make_corpus({"a": 1, "b": 2, "c": 3})
    parts = split(data, 1, "emobox", seed=3)
    assert inner_splits(data, parts, "emobox") == [(parts.train, parts.valid)]


def two_domains(*counts: int) -> DataDir:
    """Make a corpus of two folds with the given numbers of speakers, both sexes and two emotions."""
    fold = {f"{name}{i:02}": k for k, name in ((1, "one"), (2, "two")) for i in range(counts[k - 1])}
    data = make_corpus(fold)
    emotion = {utt: ("calm", "sad")[int(utt[-1]) % 2] for utt in data.utterances}
    gender = {speaker: "mf"[int(speaker[-1]) % 2] for speaker in fold}
    return dataclasses.replace(data, emotion=emotion, gender=gender, emotions=("calm", "sad"))


@pytest.mark.parametrize("protocol", ["cross-lingual", "cross-corpus"])
@given(counts=st.tuples(st.integers(2, 12), st.integers(2, 12)), seed=st.integers(0, 9))
def test_cross_protocols_train_and_validate_on_one_fold_and_test_the_other(protocol, counts, seed):
    data = two_domains(*counts)
    for fold, name in ((1, "one"), (2, "two")):
        parts = split(data, fold, protocol, seed)
        assert {utt[:3] for utt in parts.test} == {name}
        assert sorted(parts.train + parts.valid + parts.test) == data.utterances
        assert parts.train and parts.valid
        assert not speakers(data, parts.train) & speakers(data, parts.valid)


def test_five_seeds_of_a_cross_protocol_validate_each_speaker_once_and_both_sexes_each_time():
    data = two_domains(10, 10)
    validated = [speakers(data, split(data, 1, "cross-lingual", seed).valid) for seed in range(5)]
    assert sorted(speaker for group in validated for speaker in group) == [f"two{i:02}" for i in range(10)]
    assert all({data.gender[speaker] for speaker in group} == {"m", "f"} for group in validated)


def test_inner_splits_of_a_cross_protocol_stay_within_the_training_fold():
    data = two_domains(3, 10)
    parts = split(data, 1, "cross-lingual", seed=1)
    pairs = inner_splits(data, parts, "cross-lingual")
    assert len(pairs) == 5
    assert sorted(utt for _, scored in pairs for utt in scored) == sorted(parts.train + parts.valid)
    assert all(not speakers(data, fitted) & speakers(data, scored) for fitted, scored in pairs)


def test_a_cross_protocol_refuses_three_folds():
    with pytest.raises(SoctkError, match="spk2fold: 3 folds, but --protocol cross-lingual needs two"):
        split(make_corpus({"a": 1, "b": 2, "c": 3}), 1, "cross-lingual", 0)
