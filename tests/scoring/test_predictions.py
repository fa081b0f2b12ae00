"""What is refused, and with which message."""

import dataclasses

import pandas as pd
import pytest
import yaml
from conftest import write_run

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.scoring import predictions
from soctk.scoring.predictions import Predictions


def read(exp) -> Predictions:
    ((path, runs),) = predictions.find(exp).items()
    return predictions.read(path, runs)


def message(exp) -> str:
    with pytest.raises(SoctkError) as error:
        read(exp)
    return str(error.value)


def test_the_rows_of_all_runs_are_there(tmp_path):
    for run in ("fold1/seed1", "fold1/seed2", "fold2/seed1", "fold2/seed2"):
        write_run(tmp_path / "m" / run, "aa bc")
    found = read(tmp_path)
    assert (found.folds, found.seeds, found.emotions) == ([1, 2], [1, 2], ("a", "b", "c"))
    assert found.table[["ref", "hyp"]].to_numpy().tolist() == [[0, 0], [1, 2]] * 4
    assert found.posteriors.tolist() == [[1, 0, 0], [0, 0, 1]] * 4
    assert found.utterances["utt"].tolist() == ["fold1-0", "fold1-1", "fold2-0", "fold2-1"]
    assert found.speakers[1] == ["fold1", "fold2"]


def test_experiments_are_found_at_any_depth_and_unfinished_runs_are_not(tmp_path):
    for name in ("one", "deeper/two"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "one" / "fold1" / "seed2.unfinished", "aa bb")
    assert {path.name: list(runs) for path, runs in predictions.find(tmp_path).items()} == {
        "two": [(1, 1)],
        "one": [(1, 1)],
    }


def test_an_experiment_that_is_a_link_is_found_and_one_that_is_there_already_is_not_found_again(tmp_path):
    write_run(tmp_path / "exp" / "one" / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "elsewhere" / "x" / "fold1" / "seed1", "aa bb")
    (tmp_path / "exp" / "latest").symlink_to("one")
    (tmp_path / "exp" / "two").symlink_to(tmp_path / "elsewhere" / "x")
    assert [path.name for path in predictions.find(tmp_path / "exp")] == ["one", "two"]


def test_an_empty_directory_is_told(tmp_path):
    with pytest.raises(SoctkError, match=r"no EXPERIMENT/foldK/seedS/predictions.tsv below it\nTrain first"):
        predictions.find(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not a table"),
        ("\x00\x01binary", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tref\thyp\ta\nu1\ta\ta\t1\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref\thyp\ta\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref\thyp\ta\nu1\ts\ta\tb\t1\n", "no posterior column for b"),
        ("utt\tspk\tref\thyp\ta\nu1\ts\ta\ta\t1\nu1\ts\ta\ta\t1\n", "1 utterances stand there twice, such as u1"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t1\tx\n", "a posterior is no number"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t0.9\t0.2\n", "u1 has posteriors that are not between 0 and 1, or do"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t1.5\t-0.5\n", "u1 has posteriors that are not between 0 and 1"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t1\tnan\n", "u1 has posteriors that are not"),
        ("utt\tspk\tref\thyp\ta\tb\nu1\ts\ta\ta\t0.4\t0.6\n", "u1 has a hyp that is not the class of the highest"),
    ],
)
def test_malformed_predictions_are_refused(tmp_path, content, told):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert message(tmp_path).startswith(f"{path}: {told}")


def test_an_emotion_named_like_a_missing_value_is_an_emotion(tmp_path):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("utt\tspk\tref\thyp\tNA\tnone\n001\t1\tNA\tNA\t1\t0\n002\t1\tnone\tNA\t1\t0\n")
    found = read(tmp_path)
    assert found.emotions == ("NA", "none")
    assert found.table["utt"].tolist() == ["001", "002"]


def test_posteriors_are_allowed_their_six_decimals(tmp_path):
    path = tmp_path / "m" / "fold1" / "seed1" / "predictions.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("utt\tspk\tref\thyp\ta\tb\tc\nu1\ts\ta\tb\t0.333333\t0.333333\t0.333333\n")
    assert read(tmp_path).posteriors.sum() == pytest.approx(1, abs=1e-15)


def test_a_seed_that_lacks_folds_is_left_out(tmp_path):
    for run in ("fold1/seed1", "fold2/seed1", "fold1/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    found = read(tmp_path)
    assert (found.seeds, found.left_out) == ([1], [2])


def test_seeds_that_all_lack_folds_are_refused(tmp_path):
    for run in ("fold1/seed1", "fold2/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    assert "no seed has all the folds: seed 1 has folds [1]; seed 2 has folds [2]" in message(tmp_path)


def test_an_utterance_scored_in_two_folds_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s1-u1", "s1-u2"])
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa bb", ["s2-u1", "s1-u2"])
    assert "s1-u2 is tested in folds 1 and 2" in message(tmp_path)


def test_a_speaker_of_two_folds_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s1-u1", "s1-u2"])
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa bb", ["s2-u1", "s1-u3"])
    assert "s1 is tested in folds 1 and 2, and so has trained for both\nFolds must be disjoint" in message(tmp_path)


def test_an_utterance_that_one_seed_lacks_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb cc", ["s-1", "s-2", "s-3"])
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa bb", ["s-1", "s-2"])
    assert (
        "seeds 1 and 2 of fold 1 differ in what they test: 1 utterances are missing from one of them, such as s-3"
        in message(tmp_path)
    )


def test_a_label_that_differs_between_seeds_is_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s-1", "s-2"])
    write_run(tmp_path / "m" / "fold1" / "seed2", "aa ab", ["s-1", "s-2"])
    assert "seeds 1 and 2 of fold 1 differ in what they test: labels" in message(tmp_path)


def test_the_order_of_the_rows_is_no_difference(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", ["s-1", "s-2"])
    write_run(tmp_path / "m" / "fold1" / "seed2", "bb aa", ["s-2", "s-1"])
    assert len(read(tmp_path).utterances) == 2


def test_runs_of_different_settings_are_refused(tmp_path):
    for fold, protocol in ((1, "soctk"), (2, "emobox")):
        write_run(tmp_path / "m" / f"fold{fold}" / "seed1", "aa bb", config=f"protocol: {protocol}\nseed: {fold}\n")
    assert "its runs are of different settings\n  protocol: soctk there, emobox here\n" in message(tmp_path)


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ("recentre: null\n", "recentre"),
        ("recentre: {by: null}\n", "recentre.by"),
        ("head: null\n", "head"),
        ("head: {name: []}\n", "head.name"),
        ("made_from: null\n", "made_from"),
        ("made_from: {data: 1}\n", "made_from.data"),
        ("made_with: x\n", "made_with"),
        ("protocol: [soctk]\n", "protocol"),
        ("pooling: [mean]\n", "pooling"),
        ("frames: {layers: null}\n", "frames.layers"),
        ("frames: {speeds: [x]}\n", "frames.speeds"),
        ("frames: {speeds: 0.9}\n", "frames.speeds"),
        ("features: {speeds: 3}\n", "features.speeds"),
        ("features: {upstream: null}\n", "features.upstream"),
        ("features: {num_layers: x, layers: 1}\n", "features.layers, features.num_layers"),
    ],
)
def test_a_damaged_config_is_told(tmp_path, config, keys):
    run = tmp_path / "m" / "fold1" / "seed1"
    write_run(run, "aa bb", config=config)
    assert message(tmp_path) == (
        f"{run / 'config.yaml'}: damaged at {keys}\nRemove the run's directory and train it again."
    )


def test_runs_of_different_emotions_are_refused(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa", emotions="ab")
    write_run(tmp_path / "m" / "fold2" / "seed1", "aa", emotions="abc")
    assert "its runs are of different emotions: a, b; a, b, c" in message(tmp_path)


# What the data directory of the predictions says: the corpus of tests/conftest.py, tested on fold 1 of 3.


@pytest.fixture
def tested(tmp_path, corpus) -> tuple[Predictions, DataDir]:
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


def without(found: Predictions, rows) -> Predictions:
    return dataclasses.replace(found, table=found.table[~rows])


def test_predictions_that_are_the_corpuss_are_taken(tested):
    found, corpus = tested
    predictions.check_against(found, corpus)


def test_the_data_directory_is_the_one_that_is_given_or_that_the_runs_name(tested, tmp_path):
    found, corpus = tested
    assert predictions.data_directory(found) == corpus.path
    assert predictions.data_directory(found, tmp_path / "other") == tmp_path / "other"
    corpus.path.rename(tmp_path / "gone")
    assert predictions.data_directory(found) is None


def test_an_utterance_that_is_missing_is_refused(tested):
    found, corpus = tested
    missing = corpus.utterances_of([1])[0]
    with pytest.raises(SoctkError, match=f"1 utterances are missing\n  {missing}\n"):
        predictions.check_against(without(found, found.table["utt"] == missing), corpus)


def test_an_utterance_that_the_corpus_does_not_have_is_refused(tested):
    found, corpus = tested
    table = found.table.assign(utt=found.table["utt"].where(found.table.index > 0, "spk0-new-0"))
    with pytest.raises(SoctkError, match="1 utterances are missing"):
        predictions.check_against(dataclasses.replace(found, table=table), corpus)
    more = pd.concat([found.table, table[:1]], ignore_index=True)
    with pytest.raises(SoctkError, match="1 utterances are not in the data directory\n  spk0-new-0\n"):
        predictions.check_against(dataclasses.replace(found, table=more), corpus)


def test_a_speaker_in_both_train_and_test_is_refused(tested):
    found, corpus = tested
    with pytest.raises(SoctkError) as error:
        predictions.check_against(dataclasses.replace(found, table=found.table.assign(fold=2)), corpus)
    assert (
        "2 speakers are tested in a fold that they train for: spk0-angry-0 of spk0 in fold 2, "
        f"while {corpus.path} has spk0 in fold 1\nIts scores are not those of unknown speakers" in str(error.value)
    )


def test_another_corpus_is_refused(tested):
    found, corpus = tested
    other = dataclasses.replace(corpus, fold={**corpus.fold, "spk0": 2})
    with pytest.raises(SoctkError, match="has other labels, speakers or folds than the data directory it was trained"):
        predictions.check_against(found, other)
