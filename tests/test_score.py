import pandas as pd
import pytest

from soctk import score
from soctk.errors import SoctkError


def write_run(path, pairs: str, utterances: list[str] | None = None, emotions: str = "abc") -> None:
    """Write predictions.tsv with the reference and hypothesis of each utterance as pairs of letters: "aa ab bb"."""
    words = pairs.split()
    utterances = utterances or [f"{path.parent.name}-{i}" for i in range(len(words))]
    table = {"utt": utterances, "spk": [utt[:5] for utt in utterances]}
    table |= {"ref": [word[0] for word in words], "hyp": [word[1] for word in words]}
    table |= {emotion: [float(word[1] == emotion) for word in words] for emotion in emotions}
    path.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_csv(path / "predictions.tsv", sep="\t", index=False)


def test_metrics_by_hand():
    # 6 of a (4 right, 2 taken for b), 2 of b (1 right, 1 taken for a)
    pairs = ["aa", "aa", "aa", "aa", "ab", "ab", "bb", "ba"]
    result = score.metrics(pd.DataFrame({"ref": [p[0] for p in pairs], "hyp": [p[1] for p in pairs]}))
    assert result["WA"] == pytest.approx(100 * 5 / 8)
    assert result["UA"] == pytest.approx(100 * (4 / 6 + 1 / 2) / 2)
    # F1 of a: precision 4/5, recall 4/6; of b: precision 1/3, recall 1/2
    assert result["F1"] == pytest.approx(100 * (8 / 11 + 2 / 5) / 2)


def test_a_class_that_is_only_ever_predicted_counts_as_errors_and_not_as_a_class():
    result = score.metrics(pd.DataFrame({"ref": ["a", "a", "b"], "hyp": ["a", "c", "b"]}))
    assert result == pytest.approx({"WA": 100 * 2 / 3, "UA": 75.0, "F1": 100 * (2 / 3 + 1) / 2})


def test_means_and_deviations_by_hand(tmp_path):
    # WA: fold 1 has 100 and 50 over the seeds, fold 2 has 50 and 0
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa ba")
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa ba")
    write_run(tmp_path / "m" / "fold2" / "seed2", "ab ba")
    (experiment,) = score.score(tmp_path)
    assert (experiment.name, experiment.seeds, experiment.protocol) == ("m", [1, 2], "unknown")
    assert experiment.folds["WA"].to_dict() == {1: 75.0, 2: 25.0}
    assert experiment.folds["utterances"].to_dict() == {1: 2, 2: 2}
    assert experiment.over_folds()["WA"].mean == 50.0
    assert experiment.over_folds()["WA"].sd == pytest.approx(35.3553, abs=1e-4)  # of 75 and 25
    assert experiment.over_seeds()["WA"].mean == 50.0
    assert experiment.over_seeds()["WA"].sd == pytest.approx(35.3553, abs=1e-4)  # of 75 and 25


def test_experiments_are_found_at_any_depth_and_unfinished_runs_are_not(tmp_path):
    for name in ("one", "deeper/two"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "one" / "fold1" / "seed2.unfinished", "aa bb")
    assert [experiment.name for experiment in score.score(tmp_path)] == ["deeper/two", "one"]
    for below in ("one", "one/fold1", "one/fold1/seed1"):
        (single,) = score.score(tmp_path / below)
        assert single.name == "one"


def test_the_protocol_is_that_of_the_runs(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb")
    (tmp_path / "m" / "fold1" / "seed1" / "config.yaml").write_text("protocol: emobox\n")
    assert score.score(tmp_path)[0].protocol == "emobox"


def test_an_empty_directory_is_told(tmp_path):
    with pytest.raises(SoctkError, match=r"no EXPERIMENT/foldK/seedS/predictions.tsv below it\nTrain first"):
        score.score(tmp_path)


def test_a_seed_that_lacks_folds_is_left_out_and_named(tmp_path):
    for run in ("fold1/seed1", "fold2/seed1", "fold1/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    (experiment,) = score.score(tmp_path)
    assert (experiment.seeds, experiment.left_out) == ([1], [2])


def test_seeds_that_all_lack_folds_are_refused(tmp_path):
    for run in ("fold1/seed1", "fold2/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    with pytest.raises(SoctkError, match=r"no seed has all the folds: seed 1 has folds \[1\]; seed 2 has folds \[2\]"):
        score.score(tmp_path)


def test_runs_of_different_protocols_are_refused(tmp_path):
    for fold, protocol in ((1, "soctk"), (2, "emobox")):
        write_run(tmp_path / "m" / f"fold{fold}" / "seed1", "aa bb")
        (tmp_path / "m" / f"fold{fold}" / "seed1" / "config.yaml").write_text(f"protocol: {protocol}\n")
    with pytest.raises(SoctkError, match="its runs are of different protocols: emobox, soctk"):
        score.score(tmp_path)


def test_an_utterance_in_two_folds_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s1-u1", "s1-u2"])
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa bb", ["s2-u1", "s1-u2"])
    with pytest.raises(SoctkError, match="s1-u2 is tested in folds 1 and 2"):
        score.score(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a table"),
        ("\x00\x01binary", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tref\thyp\ta\nu1\ta\ta\t1\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref\thyp\ta\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref\thyp\ta\nu1\ts\ta\tb\t1\n", "no posterior column for b"),
        ("utt\tspk\tref\thyp\ta\nu1\ts\ta\ta\t1\nu1\ts\ta\ta\t1\n", "1 utterances stand there twice, such as u1"),
    ],
)
def test_malformed_predictions_are_refused(tmp_path, content, message):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(SoctkError) as error:
        score.score(tmp_path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_an_emotion_named_like_a_missing_value_is_an_emotion(tmp_path):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("utt\tspk\tref\thyp\tNA\tnone\n001\t1\tNA\tNA\t1\t0\n002\t1\tnone\tNA\t1\t0\n")
    assert score.score(tmp_path)[0].folds["WA"].to_dict() == {1: 50.0}
