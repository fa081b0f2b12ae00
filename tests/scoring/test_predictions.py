"""Valid predictions are read; invalid ones are refused with a message that names the fault."""

import dataclasses

import pandas as pd
import pytest
import yaml
from conftest import write_run

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.scoring import predictions
from soctk.scoring.predictions import Predictions
from soctk.scoring.runs import RunDirectory


def read(exp) -> Predictions:
    (runs,) = predictions.find(exp).values()
    return predictions.read(runs)


def message(exp) -> str:
    with pytest.raises(SoctkError) as error:
        read(exp)
    return str(error.value)


def test_the_rows_of_all_runs_are_read(tmp_path):
    for run in ("fold1/seed1", "fold1/seed2", "fold2/seed1", "fold2/seed2"):
        write_run(tmp_path / "m" / run, "aa bc")
    predicted = read(tmp_path)
    assert (predicted.folds, predicted.seeds, predicted.emotions) == ([1, 2], [1, 2], ("a", "b", "c"))
    assert predicted.table[["ref", "hyp"]].to_numpy().tolist() == [[0, 0], [1, 2]] * 4
    assert predicted.posteriors.tolist() == [[1, 0, 0], [0, 0, 1]] * 4
    assert predicted.utterances["utt"].tolist() == ["fold1-0", "fold1-1", "fold2-0", "fold2-1"]
    assert predicted.speakers[1] == ["fold1", "fold2"]


def test_experiments_are_found_at_any_depth_without_unfinished_runs(tmp_path):
    for name in ("one", "deeper/two"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "one" / "fold1" / "seed2.unfinished", "aa bb")
    experiments = predictions.find(tmp_path)
    assert experiments == {path: [RunDirectory(path, 1, 1)] for path in (tmp_path / "deeper" / "two", tmp_path / "one")}


def test_runs_without_predictions_are_skipped(tmp_path):
    write_run(tmp_path / "one" / "fold1" / "seed1", "aa bb")
    (tmp_path / "one" / "fold2" / "seed1").mkdir(parents=True)
    (tmp_path / "one" / "fold2" / "seed1" / "config.yaml").write_text("protocol: soctk\n")
    assert predictions.find(tmp_path) == {tmp_path / "one": [RunDirectory(tmp_path / "one", 1, 1)]}


def test_runs_are_sorted_by_number(tmp_path):
    for fold in (10, 2):
        write_run(tmp_path / "one" / f"fold{fold}" / "seed1", "aa bb")
    assert [run.fold for run in predictions.find(tmp_path)[tmp_path / "one"]] == [2, 10]


def test_linked_experiments_are_found_once(tmp_path):
    write_run(tmp_path / "exp" / "one" / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "elsewhere" / "x" / "fold1" / "seed1", "aa bb")
    (tmp_path / "exp" / "latest").symlink_to("one")
    (tmp_path / "exp" / "two").symlink_to(tmp_path / "elsewhere" / "x")
    assert [path.name for path in predictions.find(tmp_path / "exp")] == ["one", "two"]


def test_a_directory_without_predictions_is_refused(tmp_path):
    with pytest.raises(SoctkError, match=r"no EXPERIMENT/foldK/seedS/predictions.tsv in this directory\nTrain first"):
        predictions.find(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref\thyp\ta\n", "the table has no rows"),
        ("\x00\x01binary", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tref\thyp\ta\nu1\ta\ta\t1\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref\thyp\ta\nu1\ts\ta\tb\t1\n", "no posterior column for b"),
        ("utt\tspk\tref\thyp\ta\nu1\ts\ta\ta\t1\nu1\ts\ta\ta\t1\n", "1 utterance occurs twice, such as u1"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t1\tx\n", "a posterior is not a number"),
        (
            "utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t0.9\t0.2\n",
            "utterance u1: the posteriors are not between 0 and 1, or do",
        ),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t1.5\t-0.5\n", "utterance u1: the posteriors are not between 0 and 1"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t1\tnan\n", "utterance u1: the posteriors are not"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t0.4\t0.6\n", "utterance u1: hyp is not the class with the highest"),
    ],
)
def test_malformed_predictions_are_refused(tmp_path, content, fault):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert message(tmp_path).startswith(f"{path}: {fault}")


def test_an_emotion_may_have_the_name_of_a_missing_value(tmp_path):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("utt\tspk\tref\thyp\tNA\tnone\n001\t1\tNA\tNA\t1\t0\n002\t1\tnone\tNA\t1\t0\n")
    predicted = read(tmp_path)
    assert predicted.emotions == ("NA", "none")
    assert predicted.table["utt"].tolist() == ["001", "002"]


def test_posteriors_may_have_rounding_errors_of_six_decimals(tmp_path):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("utt\tspk\tref\thyp\ta\tb\tc\nu1\ts\ta\tb\t0.333333\t0.333333\t0.333333\n")
    assert read(tmp_path).posteriors.sum() == pytest.approx(1, abs=1e-15)


def test_a_seed_with_missing_folds_is_left_out(tmp_path):
    for run in ("fold1/seed1", "fold2/seed1", "fold1/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    predicted = read(tmp_path)
    assert (predicted.seeds, predicted.left_out) == ([1], [2])


def test_runs_are_refused_when_every_seed_lacks_a_fold(tmp_path):
    for run in ("fold1/seed1", "fold2/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    assert "every seed lacks a fold: seed 1 has folds [1]; seed 2 has folds [2]" in message(tmp_path)


def test_an_utterance_in_two_folds_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s1-u1", "s1-u2"])
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa bb", ["s2-u1", "s1-u2"])
    assert "s1-u2 is tested in folds 1 and 2" in message(tmp_path)


def test_a_speaker_in_two_folds_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s1-u1", "s1-u2"])
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa bb", ["s2-u1", "s1-u3"])
    assert (
        "s1 is tested in folds 1 and 2, and therefore was in the training data of both\nFolds must be disjoint"
        in message(tmp_path)
    )


def test_an_utterance_missing_from_one_seed_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb cc", ["s-1", "s-2", "s-3"])
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa bb", ["s-1", "s-2"])
    assert (
        "seeds 1 and 2 of fold 1 have different test data: 1 utterance occurs in only one of them, such as s-3"
        in message(tmp_path)
    )


def test_labels_that_differ_between_seeds_are_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s-1", "s-2"])
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa ab", ["s-1", "s-2"])
    assert "seeds 1 and 2 of fold 1 have different test data: speakers or labels differ" in message(tmp_path)


def test_seeds_may_list_utterances_in_different_orders(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s-1", "s-2"])
    write_run(tmp_path / "m" / "fold1" / "seed2", "bb aa", ["s-2", "s-1"])
    assert len(read(tmp_path).utterances) == 2


def test_runs_with_different_emotions_are_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa", emotions="ab")
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa", emotions="abc")
    assert "the runs have different emotions: a, b; a, b, c" in message(tmp_path)


@pytest.fixture
def tested(tmp_path, corpus) -> tuple[Predictions, DataDir]:
    """Return perfect predictions of fold 1 of the corpus of tests/conftest.py, and this corpus."""
    run = tmp_path / "exp" / "m" / "fold1" / "seed1"
    utterances = corpus.utterances_of([1])
    table = {"utt": utterances, "spk": [corpus.speaker[utt] for utt in utterances]}
    table |= {key: [corpus.emotion[utt] for utt in utterances] for key in ("ref", "hyp")}
    table |= {emotion: [float(corpus.emotion[utt] == emotion) for utt in utterances] for emotion in corpus.emotions}
    run.mkdir(parents=True)
    pd.DataFrame(table).to_csv(run / "predictions.tsv", sep="\t", index=False)
    (run / "config.yaml").write_text(
        yaml.safe_dump({"data": corpus.checksum(), "made_from": {"data": "../../../../data"}})
    )
    return read(tmp_path / "exp"), corpus


def drop_rows(predicted: Predictions, rows) -> Predictions:
    return dataclasses.replace(predicted, table=predicted.table[~rows])


def test_predictions_that_agree_with_the_corpus_are_accepted(tested):
    predicted, corpus = tested
    predictions.check_against(predicted, corpus)


def test_the_data_directory_is_the_given_one_or_else_the_recorded_one(tested, tmp_path):
    predicted, corpus = tested
    assert predictions.data_directory(predicted) == corpus.path
    assert predictions.data_directory(predicted, tmp_path / "other") == tmp_path / "other"
    corpus.path.rename(tmp_path / "gone")
    assert predictions.data_directory(predicted) is None


def test_a_missing_utterance_is_refused(tested):
    predicted, corpus = tested
    missing = corpus.utterances_of([1])[0]
    with pytest.raises(SoctkError, match=f"1 utterance is missing\n  {missing}\n"):
        predictions.check_against(drop_rows(predicted, predicted.table["utt"] == missing), corpus)


def test_an_utterance_outside_the_corpus_is_refused(tested):
    predicted, corpus = tested
    table = predicted.table.assign(utt=predicted.table["utt"].where(predicted.table.index > 0, "spk0-new-0"))
    with pytest.raises(SoctkError, match="1 utterance is missing"):
        predictions.check_against(dataclasses.replace(predicted, table=table), corpus)
    more = pd.concat([predicted.table, table[:1]], ignore_index=True)
    with pytest.raises(SoctkError, match="1 utterance is not in the data directory\n  spk0-new-0\n"):
        predictions.check_against(dataclasses.replace(predicted, table=more), corpus)


def test_a_tested_speaker_who_was_in_the_training_data_is_refused(tested):
    predicted, corpus = tested
    with pytest.raises(SoctkError) as error:
        predictions.check_against(dataclasses.replace(predicted, table=predicted.table.assign(fold=2)), corpus)
    assert (
        "2 speakers are tested in a fold that trained on them: spk0-angry-0 of spk0 is tested in fold 2, "
        f"but {corpus.path} assigns spk0 to fold 1\nThese scores are not speaker-independent" in str(error.value)
    )


def test_a_data_directory_with_other_folds_is_refused(tested):
    predicted, corpus = tested
    other = dataclasses.replace(corpus, fold={**corpus.fold, "spk0": 2})
    with pytest.raises(SoctkError, match="has other labels, speakers or folds than the data directory of training"):
        predictions.check_against(predicted, other)


def test_labels_that_differ_from_those_of_the_corpus_are_refused(tested):
    predicted, corpus = tested
    utt, label = predicted.table["utt"][0], corpus.emotion[predicted.table["utt"][0]]
    other = next(k for k, emotion in enumerate(predicted.emotions) if emotion != label)
    table = predicted.table.assign(ref=predicted.table["ref"].where(predicted.table.index > 0, other))
    with pytest.raises(SoctkError) as error:
        predictions.check_against(dataclasses.replace(predicted, table=table), corpus)
    assert (
        "1 utterance has another label than in the data directory\n"
        f"  {utt}: {predicted.emotions[other]}, but {label} in {corpus.path}\nGive the data directory"
        in str(error.value)
    )
