from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.errors import SoctkError
from soctk.folds import assign


def a_corpus(speakers: dict[str, tuple[str, int]]) -> tuple[dict, dict, dict]:
    """Return speaker and emotion of each utterance and sex of each speaker, given as speaker -> (sex, takes)."""
    speaker = {f"{name}-{e}-{i}": name for name, (_, takes) in speakers.items() for e in "abc" for i in range(takes)}
    return speaker, {utt: utt.split("-")[1] for utt in speaker}, {name: sex for name, (sex, _) in speakers.items()}


def test_sexes_are_balanced():
    corpus = a_corpus({f"s{i:02}": ("mf"[i < 12], 4) for i in range(24)})
    folds = assign(*corpus, 6)
    assert Counter((fold, corpus[2][name]) for name, fold in folds.items()) == {
        (fold, sex): 2 for fold in range(1, 7) for sex in "mf"
    }


def test_classes_are_balanced_where_speakers_have_different_ones():
    speaker = {f"s{i}-{take}": f"s{i}" for i in range(6) for take in range(4)}
    emotion = {utt: "sad" if int(name[1]) < 3 else "glad" for utt, name in speaker.items()}
    folds = assign(speaker, emotion, {}, 3)
    assert sorted((fold, int(name[1]) < 3) for name, fold in folds.items()) == [
        (fold, sad) for fold in (1, 2, 3) for sad in (False, True)
    ]


SPEAKERS = st.dictionaries(st.text("abcd", min_size=1), st.tuples(st.sampled_from("mf"), st.integers(1, 5)), min_size=3)


@given(SPEAKERS, st.data())
def test_every_speaker_has_a_fold_and_no_fold_is_empty(speakers, data):
    count = data.draw(st.integers(2, min(3, len(speakers))))
    corpus = a_corpus(speakers)
    folds = assign(*corpus, count)
    assert folds.keys() == speakers.keys()
    assert set(folds.values()) == set(range(1, count + 1))
    backwards = (dict(reversed(table.items())) for table in corpus)
    assert assign(*backwards, count) == folds


def test_sex_may_be_unknown():
    speaker, emotion, _ = a_corpus({f"s{i}": ("m", 2) for i in range(4)})
    assert len(set(assign(speaker, emotion, {}, 4).values())) == 4


def test_more_folds_than_speakers_are_refused():
    with pytest.raises(SoctkError, match="2 speakers with 6 utterances cannot be shared out to 3 folds\nAsk for fewer"):
        assign(*a_corpus({"s1": ("m", 1), "s2": ("f", 1)}), 3)
