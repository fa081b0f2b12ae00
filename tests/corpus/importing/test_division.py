import pytest

from soctk.corpus.importing import Account
from soctk.corpus.importing.division import Divided, collect_folds, divide
from soctk.errors import SoctkError

SPEAKER = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}


def rows(column: str, *texts: str) -> dict[str, dict[str, str]]:
    return {utt: {column: text} for utt, text in zip(SPEAKER, texts, strict=True)}


def division(tmp_path, utterances, speaker=None, count=None, account=None):
    speaker, emotion = speaker or SPEAKER, dict.fromkeys(SPEAKER, "sad")
    return divide(Divided(utterances, speaker, emotion, {}), tmp_path / "folds.yaml", count, account or Account())


@pytest.mark.parametrize("texts", [("1", "1", "2", "3"), ("01", "01", "2.0", "3")])
def test_folds_are_numbers(texts):
    assert collect_folds(rows("fold", *texts), SPEAKER) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("column", ["split", "fold", "utterance_fold"])
@pytest.mark.parametrize(
    "texts",
    [
        ("train", "dev", "test1", "test2"),
        ("Training", "VALIDATION", "Test1", "TEST2"),
        ("Train", "Development", "test1", "test2"),
        ("train", "valid", "test1", "test2"),
    ],
)
def test_a_partition_has_the_same_names_in_any_spelling(tmp_path, column, texts):
    assert division(tmp_path, rows(column, *texts)) == {
        "split": {"a1": "train", "a2": "dev", "b1": "test1", "c1": "test2"}
    }
    assert not (tmp_path / "folds.yaml").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [("eval", "test"), ("testing", "test"), ("Test 1", "test_1"), ("test-other", "test_other"), ("TEST", "test")],
)
def test_a_test_keeps_its_name(tmp_path, text, name):
    assert division(tmp_path, rows("split", "train", "train", "train", text))["split"]["c1"] == name


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ("train", "test", "first", ""),
            "these parts of the partition have unknown names\n  no part: 1 utterance\n  first: 1 utterance\n"
            "Name them train, dev, test, or test1, test2, ... (also development, validation, eval), or ignore the "
            "column and let soctk make folds: --column split=.",
        ),
        (("train", "dev", "train", "dev"), "the partition has only dev and train\nAdd rows of a test, or ignore"),
        (
            ("test", "dev", "test1", "dev"),
            "the partition has only dev and test and test1\nAdd rows of train, or ignore",
        ),
    ],
)
def test_a_partition_with_unknown_or_missing_parts_is_refused(tmp_path, texts, message):
    with pytest.raises(SoctkError) as error:
        division(tmp_path, rows("split", *texts))
    assert str(error.value).startswith(message)


def test_only_one_column_may_divide_the_utterances(tmp_path):
    both = {utt: {"split": "test" if utt == "c1" else "train", "fold": "1"} for utt in SPEAKER}
    with pytest.raises(
        SoctkError, match="the columns fold and split divide the utterances in different ways\nIgnore all"
    ):
        division(tmp_path, both)


def test_a_number_of_folds_contradicts_a_partition(tmp_path):
    with pytest.raises(SoctkError, match=r"published partition, but 4 folds are requested\nLeave --num-folds out"):
        division(tmp_path, rows("split", "train", "train", "train", "test"), count=4)


def test_published_folds_become_folds_of_speakers_if_these_are_not_shared(tmp_path):
    found = division(tmp_path, rows("utterance_fold", "1", "1", "2", "3"))
    assert found == {"fold": {"a": 1, "b": 2, "c": 3}}
    assert (tmp_path / "folds.yaml").exists()


def test_published_folds_that_share_speakers_are_kept_with_a_note(tmp_path):
    account = Account()
    found = division(tmp_path, rows("utterance_fold", "1", "2", "2", "3"), account=account)
    assert found == {"utterance_fold": {"a1": 1, "a2": 2, "b1": 2, "c1": 3}}
    (note,) = account.notes
    assert note.startswith("Note: the published folds share 1 of 3 speakers; they are used as they are, and all tables")
    assert "--column utterance-fold=" in note
    with pytest.raises(SoctkError, match="published folds, but 2 folds are requested"):
        division(tmp_path, rows("utterance_fold", "1", "2", "2", "3"), count=2)


def test_published_folds_do_not_need_speakers(tmp_path):
    account = Account()
    found = division(tmp_path, rows("utterance_fold", "1", "2", "2", "3"), {utt: utt for utt in SPEAKER}, None, account)
    assert found == {"utterance_fold": {"a1": 1, "a2": 2, "b1": 2, "c1": 3}}
    assert account.notes[0].startswith("Note: the published folds are of unknown speakers; ")


def test_an_utterance_without_a_published_fold_is_named(tmp_path):
    with pytest.raises(SoctkError, match="1 of 4 utterances are in no published fold\n  b1\nAdd them to a fold"):
        division(tmp_path, rows("utterance_fold", "1", "2", "", "3"))


def test_folds_of_a_table_that_share_speakers_are_refused_with_both_remedies(tmp_path):
    with pytest.raises(SoctkError) as error:
        division(tmp_path, rows("fold", "1", "2", "2", "3"))
    assert "these speakers have no fold, or not the same in all rows\n  a: 1 and 2\n" in str(error.value)
    assert "let soctk make folds: --column fold=. To use published folds that share speakers" in str(error.value)
