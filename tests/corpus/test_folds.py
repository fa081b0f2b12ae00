from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import folds
from soctk.corpus.folds import assign
from soctk.errors import SoctkError


def make_corpus(speakers: dict[str, tuple[str, int]]) -> tuple[dict, dict, dict]:
    """Return the speaker and emotion of each utterance and the sex of each speaker, from speaker -> (sex, takes)."""
    speaker = {f"{name}-{e}-{i}": name for name, (_, takes) in speakers.items() for e in "abc" for i in range(takes)}
    return speaker, {utt: utt.split("-")[1] for utt in speaker}, {name: sex for name, (sex, _) in speakers.items()}


def test_each_fold_gets_as_many_men_as_women():
    corpus = make_corpus({f"s{i:02}": ("mf"[i < 12], 4) for i in range(24)})
    fold = assign(*corpus, 6)
    assert Counter((k, corpus[2][name]) for name, k in fold.items()) == {
        (k, sex): 2 for k in range(1, 7) for sex in "mf"
    }


def test_classes_are_balanced_over_folds_if_each_speaker_has_one_class():
    speaker = {f"s{i}-{take}": f"s{i}" for i in range(6) for take in range(4)}
    emotion = {utt: "sad" if int(name[1]) < 3 else "glad" for utt, name in speaker.items()}
    fold = assign(speaker, emotion, {}, 3)
    assert sorted((k, int(name[1]) < 3) for name, k in fold.items()) == [
        (k, sad) for k in (1, 2, 3) for sad in (False, True)
    ]


SPEAKERS = st.dictionaries(st.text("abcd", min_size=1), st.tuples(st.sampled_from("mf"), st.integers(1, 5)), min_size=3)


@given(SPEAKERS, st.data())
def test_every_speaker_has_a_fold_and_no_fold_is_empty(speakers, data):
    count = data.draw(st.integers(2, min(3, len(speakers))))
    corpus = make_corpus(speakers)
    fold = assign(*corpus, count)
    assert fold.keys() == speakers.keys()
    assert set(fold.values()) == set(range(1, count + 1))
    backwards = (dict(reversed(table.items())) for table in corpus)
    assert assign(*backwards, count) == fold


def test_sex_may_be_unknown():
    speaker, emotion, _ = make_corpus({f"s{i}": ("m", 2) for i in range(4)})
    assert len(set(assign(speaker, emotion, {}, 4).values())) == 4


def test_more_folds_than_speakers_are_refused():
    with pytest.raises(SoctkError, match="2 speakers with 6 utterances cannot be divided into 3 folds\nAsk for fewer"):
        assign(*make_corpus({"s1": ("m", 1), "s2": ("f", 1)}), 3)


def test_one_speaker_is_refused():
    with pytest.raises(SoctkError, match="all utterances have the same speaker, s1, but each fold needs its own test"):
        folds.read_or_assign(Path("gone"), *make_corpus({"s1": ("m", 2)}))


def test_a_table_with_another_number_of_folds_is_refused(tmp_path):
    corpus = make_corpus({f"s{i}": ("m", 2) for i in range(6)})
    table = tmp_path / "folds.yaml"
    made = folds.read_or_assign(table, *corpus, 3)
    assert folds.read_or_assign(table, *corpus, 3) == folds.read_or_assign(table, *corpus) == made
    with pytest.raises(SoctkError) as error:
        folds.read_or_assign(table, *corpus, 2)
    assert str(error.value) == (
        f"{table}: 3 folds exist already, and --num-folds asks for 2\n"
        "Remove this file to have new folds made, or leave --num-folds out."
    )


@given(st.dictionaries(st.text("abc019", min_size=1), st.integers(1, 6), min_size=1))
def test_a_fold_table_is_read_as_speaker_to_fold(tmp_path_factory, fold):
    path = tmp_path_factory.mktemp("folds") / "folds.yaml"
    fold = {speaker: sorted(set(fold.values())).index(number) + 1 for speaker, number in fold.items()}  # no gaps
    numbers = sorted(set(fold.values()))
    rows = {k: [f"'{speaker}'" for speaker, its_fold in fold.items() if its_fold == k] for k in numbers}
    path.write_text("".join(f"{k}: [{', '.join(speakers)}]\n" for k, speakers in rows.items()))
    assert folds.read(path) == fold


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1: [a, b]\n2: [b]\n", "speaker b is in folds 1 and 2\nKeep the speaker in one fold."),
        ("one: [a]\n", "'one' is not a fold number with a list of speakers\nWrite lines"),
        ("1: a\n", "'1' is not a fold number with a list of speakers"),
        ("yes: [a]\n", "'yes' is not a fold number with a list of speakers"),
        ("1: [a, null]\n", "'1' is not a fold number with a list of speakers\nWrite lines of the form"),
        ("1: [[a]]\n", "'1' is not a fold number with a list of speakers"),
        (
            b"1: [jose\\u0301]\n2: [jos\\u00e9\\u200b]\n".decode("unicode-escape"),
            "speaker josé is in folds 1 and 2",
        ),
        ("0: [a]\n1: [b]\n", "the folds are 0, 1, not 1, 2, ...\nNumber the folds from 1 without a gap"),
        ("1: [a]\n3: [b]\n", "the folds are 1, 3, not 1, 2, ..."),
        ("1: [a, b]\n2: []\n3: []\n", "fold 2 has no speakers, fold 3 has no speakers\nNumber"),
        ("1: [a]\n2: [b]\n1: [c]\n", "'1' is given twice\n  in \"<unicode string>\", line 3, column 1"),
    ],
)
def test_a_malformed_fold_table_is_refused(tmp_path, content, message):
    (tmp_path / "folds.yaml").write_text(content)
    with pytest.raises(SoctkError) as error:
        folds.read(tmp_path / "folds.yaml")
    assert message in str(error.value)


def test_speakers_are_read_as_they_are_written(tmp_path):
    (tmp_path / "folds.yaml").write_text("1: [0011, no, 1.0]\n02: [0x1, ann lee]\n")
    assert folds.read(tmp_path / "folds.yaml") == {"0011": 1, "no": 1, "1.0": 1, "0x1": 2, "ann_lee": 2}


def test_speakers_without_a_fold_are_listed_with_those_that_look_like_them(tmp_path):
    (tmp_path / "folds.yaml").write_text("1: [1, s2]\n2: [s3]\n")
    speaker, emotion, gender = make_corpus(dict.fromkeys(("01", "s2", "s4"), ("m", 2)))
    message = r"2 of 3 speakers have no fold\n  01 \(the table has '1'\)\n  s4\nAdd them"
    with pytest.raises(SoctkError, match=message):
        folds.read_or_assign(tmp_path / "folds.yaml", speaker, emotion, gender)


def test_a_fold_whose_speakers_are_all_missing_from_the_corpus_is_named_with_the_table(tmp_path):
    (tmp_path / "folds.yaml").write_text("1: [ann]\n2: [zoe]\n3: [bob, yan]\n")
    with pytest.raises(SoctkError) as error:
        folds.read_or_assign(tmp_path / "folds.yaml", {"u1": "ann", "u2": "bob"}, {"u1": "sad", "u2": "sad"}, {})
    assert str(error.value) == (
        f"{tmp_path / 'folds.yaml'}: no speaker of the corpus is in fold 2\n"
        "Divide the speakers of the corpus, or remove this file to have new folds made."
    )


def test_folds_are_made_if_class_and_sex_together_have_too_few_utterances():
    speaker = {f"s{i}-1": f"s{i}" for i in range(4)}
    gender = {name: "mf"[int(name[1]) % 2] for name in speaker.values()}
    assert set(assign(speaker, dict.fromkeys(speaker, "sad"), gender, 3).values()) == {1, 2, 3}


@pytest.mark.parametrize(("speakers", "count"), [(4, 4), (7, 5)])
def test_by_default_there_are_five_folds_or_one_for_each_of_fewer_speakers(tmp_path, speakers, count):
    corpus = make_corpus({f"s{i}": ("m", 2) for i in range(speakers)})
    assert set(folds.read_or_assign(tmp_path / "folds.yaml", *corpus).values()) == set(range(1, count + 1))
