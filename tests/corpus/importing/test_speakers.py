import pytest

from soctk.corpus.importing.speakers import collect_folds, collect_sexes
from soctk.errors import SoctkError

SPEAKER = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}


def rows(column: str, *texts: str) -> dict[str, dict[str, str]]:
    return {utt: {column: text} for utt, text in zip(SPEAKER, texts, strict=True)}


@pytest.mark.parametrize("unknown", ["", "unknown", "Unknown", "u", "UNK"])
def test_an_unknown_sex_is_left_out(unknown):
    assert collect_sexes(rows("sex", "f", unknown, "Male", unknown), SPEAKER, {}) == {"a": "f", "b": "m"}
    assert collect_sexes(rows("sex", unknown, unknown, unknown, unknown), SPEAKER, {}) == {}


def test_the_remedy_for_two_sexes_names_the_fields_of_the_source():
    with pytest.raises(SoctkError) as error:
        collect_sexes(rows("sex", "f", "m", "f", ""), SPEAKER, {"sex": ["Gen der"], "speaker": ["session", "spk"]})
    what, remedy = str(error.value).split("\n  a: f and m\n")
    assert what == "1 of 3 speakers have two sexes"
    assert remedy == (
        "Probably one number names two people, a woman and a man. Then make one name of sex and speaker: "
        "--column speaker='Gen der' --column speaker=session --column speaker=spk. If the sexes are wrong, correct "
        "them, or ignore them: --column sex=."
    )


@pytest.mark.parametrize("texts", [("1", "1", "2", "3"), ("01", "01", "2.0", "3")])
def test_folds_are_numbers(texts):
    assert collect_folds(rows("fold", *texts), SPEAKER) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("texts", [("train", "train", "dev", "test"), ("Training", "Training", "validation", "eval")])
def test_a_partition_of_speakers_is_explained(texts):
    with pytest.raises(SoctkError) as error:
        collect_folds(rows("fold", *texts), SPEAKER)
    assert str(error.value).startswith(
        f"the column fold gives a partition ({', '.join(sorted(set(texts)))}), not folds\n"
    )
    assert "write 1 for its test part, 2 for its validation part and 3 for its training part" in str(error.value)
    assert "train with --folds 1" in str(error.value)
    assert "--column fold=" in str(error.value)


def test_a_partition_without_validation_needs_a_third_part():
    with pytest.raises(
        SoctkError, match="2 for the training speakers that shall validate and 3 for the other training"
    ):
        collect_folds(rows("fold", "train", "train", "train", "test"), SPEAKER)


@pytest.mark.parametrize("texts", [("train", "test", "dev", "test"), ("test", "", "test", "train")])
def test_a_partition_that_shares_speakers_cannot_be_used(texts):
    with pytest.raises(SoctkError) as error:
        collect_folds(rows("fold", *texts), SPEAKER)
    assert ", and its parts share speakers\n  a: " in str(error.value)
    assert "soctk cannot use such a partition, because its test speakers would also train." in str(error.value)
    assert "Number" not in str(error.value)
