"""Tests of the summary of the corpus, against counts by hand."""

import dataclasses

from conftest import write_corpus, write_run

from soctk.reporting import corpora
from soctk.scoring import score


def scored(tmp_path, name: str, data=None):
    """Score an experiment whose predictions are perfect, on the corpus of conftest, with or without its directory."""
    corpus = write_corpus(tmp_path)
    for fold in corpus.folds:
        utterances = corpus.utterances_of([fold])
        pairs = " ".join(2 * corpus.emotion[utt][0] for utt in utterances)
        write_run(tmp_path / "exp" / name / f"fold{fold}" / "seed1", pairs, utterances, emotions="cas")
        path = tmp_path / "exp" / name / f"fold{fold}" / "seed1" / "predictions.tsv"
        lines = path.read_text().splitlines()
        full = {"c": "calm", "a": "angry", "s": "sad"}
        rows = [line.split("\t") for line in lines]
        rows = [[full.get(cell, cell) for cell in row] for row in rows]
        path.write_text("".join("\t".join(row) + "\n" for row in rows))
    (experiment,) = score.score([tmp_path / "exp" / name], data and tmp_path / data)
    return experiment


def test_a_data_directory_gives_utterances_hours_speakers_classes_and_folds(tmp_path):
    experiment = scored(tmp_path, "m", "data")
    seconds = sum(experiment.data.seconds.values())
    lengths = sorted(experiment.data.seconds.values())
    (corpus,) = corpora.summarise([experiment])
    assert corpus.name == "data"
    assert corpus.rows == [
        ("Utterances", "36, 6 per speaker"),
        (
            "Duration",
            f"{seconds / 3600:.2f} h; {lengths[0]:.1f} to {lengths[-1]:.1f} s each, "
            f"median {(lengths[17] + lengths[18]) / 2:.1f} s",
        ),
        ("Speakers", "6 (3 male, 3 female)"),
        ("Classes", "3: calm 12, angry 12, sad 12"),
        ("Chance", "UA 33.3; WA 33.3 if the largest class is always chosen"),
        ("Folds", "3, 12 utterances and 2 speakers each"),
    ]


def test_speakers_of_unknown_sex_are_counted(tmp_path):
    experiment = scored(tmp_path, "m", "data")
    data = dataclasses.replace(experiment.data, gender={"spk0": "m", "spk1": "f", "spk3": "f"})
    (corpus,) = corpora.summarise([dataclasses.replace(experiment, data=data)])
    assert dict(corpus.rows)["Speakers"] == "6 (3 of unknown sex, 2 female, 1 male)"


def test_without_a_data_directory_the_predictions_are_counted(tmp_path):
    """Unequal speakers, and a fold without a class."""
    write_run(tmp_path / "exp" / "m" / "fold1" / "seed1", "aa ab bb bc", ["s-1", "s-2", "s-3", "t-1"])
    write_run(tmp_path / "exp" / "m" / "fold2" / "seed1", "aa bb cc aa aa aa aa", [f"u-{i}" for i in range(7)])
    (corpus,) = corpora.summarise(score.score([tmp_path / "exp"]))
    assert corpus.name is None
    assert corpus.rows == [
        ("Utterances", "11, 1 to 7 (median 3) per speaker"),
        ("Speakers", "3"),
        ("Classes", "3: a 7, b 3, c 1"),
        ("Chance", "UA 33.3; WA 63.6 if the largest class is always chosen"),
        ("Folds", "2, 4 to 7 (median 5.5) utterances and 1 to 2 (median 1.5) speakers each"),
        ("Classes without test utterances", "fold 1: c"),
    ]


def test_experiments_on_the_same_corpus_share_a_summary(tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / "exp" / name / "fold1" / "seed1", "aa bb")
    write_run(tmp_path / "exp" / "other" / "fold1" / "seed1", "aa bb cc")
    found = corpora.summarise(score.score([tmp_path / "exp"]))
    assert [corpus.experiments for corpus in found] == [["one", "two"], ["other"]]


def test_the_chance_level_of_ua_is_that_of_the_classes_with_utterances(tmp_path):
    for fold in (1, 2):
        write_run(tmp_path / "exp" / "m" / f"fold{fold}" / "seed1", "aa bb", emotions="abc")
    (corpus,) = corpora.summarise(score.score([tmp_path / "exp"]))
    rows = dict(corpus.rows)
    assert rows["Classes"] == "3: a 2, b 2, c 0"
    assert rows["Chance"] == "UA 50.0; WA 50.0 if the largest class is always chosen"
    assert rows["Folds"] == "2, 2 utterances and 1 speaker each"
