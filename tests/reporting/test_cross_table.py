import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from soctk import config
from soctk.corpus.datadir import DataDir
from soctk.features.store import FeatureStore
from soctk.reporting import cross_table
from soctk.schema import Config
from soctk.training.cross import Corpus


def settings(*overrides: str) -> Config:
    return config.load([ROOT / "conf"], "mean", "linear", overrides=overrides)


@pytest.fixture
def corpora() -> list[Corpus]:
    data = DataDir({"u": Path("u.wav")}, {"u": "s"}, {"u": "Sad"}, {"u": 1.0}, {}, {"s": 1}, ("Sad", "Angry"))
    store = FeatureStore(Path("feats"), {"upstream": "mfcc"}, {})
    return [Corpus(name, data, store, dropped) for name, dropped in (("one", {"calm": 12}), ("two", {}))]


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_matrix_has_training_corpora_as_rows_and_test_corpora_as_columns(corpora, tmp_path):
    matrix = {("one", "one"): 80.0, ("one", "two"): 50.0, ("two", "one"): 66.666}
    text = cross_table.write(tmp_path / "CROSS.md", corpora, matrix, settings(), [1, 2])
    assert (tmp_path / "CROSS.md").read_text() == text
    header, _, *body = rows(text)
    assert header == ["trained on", "one", "two"]
    assert body == [["one", "80.00", "50.00"], ["two", "66.67", ""]]


def test_the_text_names_corpora_protocols_and_settings(corpora):
    text = cross_table.as_markdown(corpora, {("one", "two"): 50.0}, settings(), [1, 2])
    assert "- one: 1 utterance, dropped: calm 12.\n- two: 1 utterance, dropped: none.\n" in text
    assert "chance is 50.00" in text
    assert "- Different corpora: protocol cross-corpus: " in text
    assert "- Pooling mean, head linear, seeds 1, 2.\n- Features: mfcc. Trained with soctk " in text
    assert "†" not in text
    written = yaml.safe_load(re.search("```yaml\n(.*)```", text, flags=re.DOTALL)[1])
    assert written == {key: value for key, value in settings().model_dump().items() if key != "protocol"}


def test_recentred_scores_have_a_dagger_and_its_explanation(corpora):
    recentred = settings("recentre.by=speaker", "recentre.enrol=2")
    text = cross_table.as_markdown(corpora, {("one", "two"): 50.0}, recentred, [1])
    assert rows(text)[-1] == ["one", "50.00 †"]
    assert "- † Re-centred: the mean descriptor of each test speaker, estimated from unlabelled recordings" in text


def test_names_of_corpora_and_classes_are_shown_as_they_are(corpora):
    odd = [dataclasses.replace(corpus, name=name) for corpus, name in zip(corpora, ("a|b", "<i>*"), strict=True)]
    data = dataclasses.replace(corpora[0].data, emotions=("sad|low", "_x_"), emotion={"u": "sad|low"})
    odd[0] = dataclasses.replace(odd[0], data=data)
    text = cross_table.as_markdown(odd, {("a|b", "<i>*"): 50.0}, settings(), [1])
    assert "- Classes: sad\\|low, \\_x\\_.\n" in text
    assert "- a\\|b: 1 utterance" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert r"| trained on | &lt;i&gt;\* |" in lines
    assert r"| a\|b | 50.00 |" in lines


def test_folds_that_lack_classes_are_named(corpora):
    data = DataDir(
        wav={"s1-1": Path("u.wav"), "s2-1": Path("u.wav"), "s2-2": Path("u.wav")},
        speaker={"s1-1": "s1", "s2-1": "s2", "s2-2": "s2"},
        emotion={"s1-1": "Sad", "s2-1": "Sad", "s2-2": "Angry"},
        seconds={},
        gender={},
        fold={"s1": 1, "s2": 2},
        emotions=("Sad", "Angry"),
    )
    lacking = [dataclasses.replace(corpora[0], data=data), corpora[1]]
    text = cross_table.as_markdown(lacking, {("one", "two"): 50.0}, settings(), [1])
    assert "- one: UA and macro-F1 of fold 1 are over 1 of 2 classes: Angry has no test utterances.\n" in text
    assert "- two: UA and macro-F1 are over 1 of 2 classes: Angry has no test utterances.\n" in text


def test_a_corpus_that_shares_speakers_is_marked_where_it_is_trained_and_tested_on_itself(corpora):
    utterances = {f"{speaker}-{i}": speaker for speaker in "stu" for i in range(3)}
    data = dataclasses.replace(
        corpora[0].data,
        **{"wav": {}, "speaker": utterances, "emotion": dict.fromkeys(utterances, "Sad"), "fold": {}},
        utterance_fold={utt: 1 + int(utt[-1]) for utt in utterances},
    )
    shared = [dataclasses.replace(corpora[0], data=data), corpora[1]]
    matrix = dict.fromkeys([("one", "one"), ("one", "two"), ("two", "two")], 50.0)
    text = cross_table.as_markdown(shared, matrix, settings(), [1])
    assert rows(text)[2:] == [["one", "50.00 ‡", "50.00"], ["two", "", "50.00"]]
    assert "- ‡ one, trained and tested on itself: 3 of 3 speakers in several folds." in text
    assert "- The same corpus (one): protocol utterance-folds: published folds that share speakers" in text
    assert "- The same corpus (two): protocol soctk: " in text
