import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, write_corpus

from soctk import config
from soctk.corpus import splits
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.extract import Extraction
from soctk.features.store import FeatureStore
from soctk.training import cross

LABELS = [
    {"calm": "Neutral", "angry": "Angry", "sad": "Sad"},
    {"calm": "Neutral", "angry": "Angry", "sad": None},
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> list[cross.Corpus]:
    """Two corpora of the same speakers and emotions, with features, as they are before labels are mapped."""
    found = []
    for name in ("one", "two"):
        root = tmp_path_factory.mktemp(name)
        data = write_corpus(root)
        extract.extract(data, root / "feats", Extraction("mfcc"))
        found.append(cross.Corpus(name, data, FeatureStore.open(root / "feats"), {}))
    return found


def settings(head: str = "linear", *overrides: str) -> config.Config:
    overrides = ["train.epochs=2", *overrides] if head == "mlp" else overrides
    return config.load([ROOT / "conf"], "mean", head, overrides=overrides)


def test_classes_that_not_all_have_are_dropped_by_name(corpora):
    one, two = cross.with_common_classes(corpora, LABELS)
    for corpus in (one, two):
        assert corpus.data.emotions == ("Neutral", "Angry")
        assert corpus.dropped == {"sad": 12}
        assert set(corpus.data.emotion.values()) == {"Neutral", "Angry"}
        assert len(corpus.data.wav) == 24
        assert cross.describe(corpus) == "24 utterances, dropped: sad 12"


def test_labels_that_soctk_import_has_mapped_already_stay(corpora):
    one, _ = cross.with_common_classes(
        corpora, [{"wütend": "angry", "ruhig": "calm"}, {"calm": "calm", "angry": "angry"}]
    )
    assert (one.data.emotions, one.dropped) == (("angry", "calm"), {"sad": 12})


def test_labels_that_become_one_class_are_all_kept(corpora):
    together = {"calm": "Neutral", "angry": "Angry", "sad": "Angry"}
    one, _ = cross.with_common_classes(corpora, [together, LABELS[0] | {"sad": None}])
    assert one.dropped == {}
    assert list(one.data.emotion.values()).count("Angry") == 24


def test_speakers_and_folds_without_utterances_are_gone(corpora):
    data = corpora[0].data
    emotion = {utt: "sad" if data.fold[data.speaker[utt]] == 1 else "calm" for utt in data.wav}
    emotion[next(utt for utt in emotion if data.fold[data.speaker[utt]] == 2)] = "angry"
    odd = dataclasses.replace(corpora[0], data=dataclasses.replace(data, emotion=emotion))
    one, _ = cross.with_common_classes([odd, corpora[1]], [LABELS[1], LABELS[1]])
    assert one.data.folds == [1, 2]
    assert set(one.data.speaker.values()) == one.data.fold.keys() == one.data.gender.keys()


def test_one_trains_and_validates_and_the_other_is_tested(corpora):
    one, two = cross.with_common_classes(corpora, LABELS)
    data, store = cross.pair(train=one, test=two)
    split = splits.split(data, 1, "cross-corpus", seed=1)
    assert {utt.partition(":")[0] for utt in split.train + split.valid} == {"one"}
    assert {utt.partition(":")[0] for utt in split.test} == {"two"}
    frames = store.load(["two:spk0-calm-0", "one:spk0-calm-0", "one:spk0-angry-1"])
    expected = [two.store.load(["spk0-calm-0"]), one.store.load(["spk0-calm-0", "spk0-angry-1"])]
    assert torch.equal(frames, torch.cat(expected))
    assert store.lengths(["two:spk0-calm-0", "one:spk0-calm-0"]) == [
        *two.store.lengths(["spk0-calm-0"]),
        *one.store.lengths(["spk0-calm-0"]),
    ]


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_ua_is_the_mean_of_the_recalls_of_each_run(corpora, tmp_path, head):
    one, two = cross.with_common_classes(corpora, LABELS)
    path = cross.run(one, two, settings(head), tmp_path, seeds=[1, 2])
    assert path == tmp_path / "one-to-two"
    values = []
    for seed in (1, 2):
        table = pd.read_csv(path / "fold1" / f"seed{seed}" / "predictions.tsv", sep="\t")
        assert set(table["spk"]) == {f"two:spk{i}" for i in range(6)}
        recalls = [(group["hyp"] == emotion).mean() for emotion, group in table.groupby("ref")]
        values.append(100 * sum(recalls) / len(recalls))
    assert cross.mean_ua(path, [1, 2]) == pytest.approx(sum(values) / 2)
    assert cross.mean_ua(path, [2]) == pytest.approx(values[1])


def test_a_corpus_with_itself_is_tested_fold_by_fold(corpora, tmp_path):
    one, _ = cross.with_common_classes(corpora, LABELS)
    path = cross.run(one, one, settings(), tmp_path, seeds=[1])
    assert sorted(file.parts[-3] for file in path.glob("fold*/seed1/predictions.tsv")) == ["fold1", "fold2", "fold3"]


def test_the_report_has_the_matrix_and_names_what_was_dropped(corpora, tmp_path):
    both = cross.with_common_classes(corpora, LABELS)
    matrix = {("one", "one"): 80.0, ("one", "two"): 50.0, ("two", "one"): 66.666}
    text = cross.write_report(tmp_path / "CROSS.md", both, matrix, settings(), [1, 2])
    assert (tmp_path / "CROSS.md").read_text() == text
    assert "- one: 24 utterances, dropped: sad 12.\n" in text
    assert "chance is 50.00" in text
    assert "- Another corpus: protocol cross-corpus: a fold is a corpus: fold k tests all its speakers" in text
    assert "- Pooling mean, head linear, seeds 1, 2.\n" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["trained on", "one", "two"]
    assert rows[2:] == [["one", "80.00", "50.00"], ["two", "66.67", ""]]
    assert "test speaker" not in text
    written = yaml.safe_load(re.search("```yaml\n(.*)```", text, flags=re.DOTALL)[1])
    assert written == {key: value for key, value in settings().model_dump().items() if key != "protocol"}


def test_the_report_marks_what_takes_recordings_of_the_test_speakers(corpora, tmp_path):
    both = cross.with_common_classes(corpora, LABELS)
    recentred = settings("linear", "recentre.by=speaker", "recentre.enrol=2")
    text = cross.write_report(tmp_path / "CROSS.md", both, {("one", "two"): 50.0}, recentred, [1])
    assert "50.00 † |" in text
    assert "- † Re-centred: the mean descriptor of each test speaker, from unlabelled recordings" in text


def test_too_few_classes_in_common_are_told(corpora):
    with pytest.raises(SoctkError, match="--corpus: the corpora have 1 classes in common: Angry\nGive label maps"):
        cross.with_common_classes(corpora, [LABELS[0], {"angry": "Angry"}])


def test_corpora_of_one_name_are_told(corpora):
    with pytest.raises(SoctkError, match="2 corpora are called one\nRename a data directory"):
        cross.with_common_classes([corpora[0], corpora[0]], [LABELS[0], LABELS[0]])


def test_a_name_with_a_colon_is_told(corpora):
    odd = dataclasses.replace(corpora[0], name="my:corpus")
    with pytest.raises(SoctkError, match="my:corpus: no name with a colon\nRename the data directory"):
        cross.with_common_classes([odd, corpora[1]], LABELS)


def test_features_of_another_kind_are_told(corpora, tmp_path):
    other = FeatureStore(Path("elsewhere"), {**corpora[1].store.settings, "layers": [7]}, {})
    with pytest.raises(SoctkError, match=r"(?s)elsewhere: the features .* those of one\n  layers: .* \[7\] asked for"):
        cross.with_common_classes([corpora[0], dataclasses.replace(corpora[1], store=other)], LABELS)


@pytest.mark.parametrize("name", ["mini", "ravdess", "esd"])
def test_the_recipes_label_maps_have_their_classes(name):
    from soctk.corpus import labels

    assert set(labels.read(ROOT / "egs" / name / "conf" / "labels.yaml").values()) <= set(labels.CLASSES)
