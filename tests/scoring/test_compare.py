import pytest
from conftest import write_run

from soctk.errors import SoctkError
from soctk.scoring.compare import compare
from soctk.scoring.score import score


def write_experiment(path, answers: dict[str, str], seed: int = 1) -> None:
    """Write one fold: speaker -> pairs of reference and hypothesis."""
    pairs = " ".join(answers.values())
    utterances = [f"{speaker}-{i}" for speaker, words in answers.items() for i in range(len(words.split()))]
    write_run(path / "fold1" / f"seed{seed}", pairs, utterances, "ab")


RIGHT, WRONG = "aa bb aa bb", "aa ba aa bb"
SPEAKERS = [f"s{i}" for i in range(6)]


def test_a_comparison_equals_a_hand_worked_one(tmp_path):
    write_experiment(tmp_path / "a", dict.fromkeys(SPEAKERS, WRONG))
    write_experiment(tmp_path / "b", dict.fromkeys(SPEAKERS, RIGHT))
    table = compare(score([tmp_path])).set_index("metric")
    assert table["difference"].to_dict() == pytest.approx({"WA": 25, "UA": 25, "F1": 100 - 100 * (4 / 5 + 2 / 3) / 2})
    # All six speakers favour b: 2 of the 64 exchanges differ as much. McNemar: 6 of 6 discordant utterances, 2 / 2^6.
    assert table["p"].tolist() == pytest.approx([2 / 64] * 3)
    assert table["mcnemar"]["WA"] == pytest.approx(2 / 64)
    assert table["mcnemar"][["UA", "F1"]].isna().all()
    assert table.loc["WA", ["first", "second"]].tolist() == ["a", "b"]


def test_p_values_are_corrected_for_the_number_of_pairs(tmp_path):
    for name, words in (("a", WRONG), ("b", RIGHT), ("c", "ab ba ab ba")):
        write_experiment(tmp_path / name, dict.fromkeys(SPEAKERS, words))
    table = compare(score([tmp_path]))
    accuracy = table[table["metric"] == "WA"]
    assert accuracy["p"].tolist() == pytest.approx([2 / 64] * 3)
    assert accuracy["p_holm"].tolist() == pytest.approx([6 / 64] * 3)


def test_mcnemar_p_values_of_pairs_without_a_common_seed_do_not_count_as_tests(tmp_path):
    for name, words, seed in (("a", WRONG, 1), ("b", RIGHT, 1), ("c", RIGHT, 2)):
        write_experiment(tmp_path / name, dict.fromkeys(SPEAKERS, words), seed)
    table = compare(score([tmp_path])).query("metric == 'WA'").set_index(["first", "second"])
    # McNemar is computed for a and b alone: one test, so Holm's correction multiplies by 1.
    assert table["mcnemar_holm"]["a", "b"] == pytest.approx(2 / 64)
    assert table["mcnemar_holm"].drop([("a", "b")]).isna().all()


def test_seeds_are_averaged_and_mcnemar_uses_the_first_common_seed(tmp_path):
    write_experiment(tmp_path / "a", dict.fromkeys(SPEAKERS, WRONG), seed=1)
    write_experiment(tmp_path / "a", dict.fromkeys(SPEAKERS, RIGHT), seed=2)
    write_experiment(tmp_path / "b", dict.fromkeys(SPEAKERS, RIGHT), seed=2)
    write_experiment(tmp_path / "c", dict.fromkeys(SPEAKERS, RIGHT), seed=3)
    table = compare(score([tmp_path])).query("metric == 'WA'").set_index(["first", "second"])
    assert table["difference"].to_dict() == {("a", "b"): 12.5, ("a", "c"): 12.5, ("b", "c"): 0}
    assert table["mcnemar"]["a", "b"] == 1
    assert table["mcnemar_holm"]["a", "b"] == 1
    assert table[["mcnemar", "mcnemar_holm"]].loc[[("a", "c"), ("b", "c")]].isna().all(axis=None)


def test_experiments_on_different_utterances_are_refused(tmp_path):
    write_experiment(tmp_path / "a", dict.fromkeys(SPEAKERS, RIGHT))
    write_experiment(tmp_path / "b", dict.fromkeys(SPEAKERS[:5], RIGHT))
    with pytest.raises(SoctkError, match="a and b have different test data: 4 utterances belong to only one of them"):
        compare(score([tmp_path]))
    write_experiment(tmp_path / "b", dict.fromkeys(SPEAKERS, "ba bb aa bb"))
    with pytest.raises(SoctkError, match="a and b have different test data: their labels, speakers or folds differ"):
        compare(score([tmp_path]))


def test_experiments_with_different_emotions_are_refused(tmp_path):
    for name, emotions in (("a", "ab"), ("b", "abc")):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb", ["s1-1", "s2-1"], emotions)
    with pytest.raises(SoctkError, match="a and b have different test data: their labels, speakers or folds differ"):
        compare(score([tmp_path]))


def test_a_single_experiment_cannot_be_compared(tmp_path):
    write_experiment(tmp_path / "a", dict.fromkeys(SPEAKERS, RIGHT))
    with pytest.raises(SoctkError, match="--compare: a comparison needs two experiments, not only a"):
        compare(score([tmp_path]))
