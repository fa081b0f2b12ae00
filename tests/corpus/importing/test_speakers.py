import pytest

from soctk.corpus.importing.speakers import collect_sexes
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
