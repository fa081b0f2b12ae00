import dataclasses
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import torch
from conftest import ROOT, write_corpus

from soctk import config
from soctk.corpus import splits
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.extract import Extraction
from soctk.features.store import FeatureStore
from soctk.schema import Config
from soctk.training import cross

LABELS = [
    {"calm": "Neutral", "angry": "Angry", "sad": "Sad"},
    {"calm": "Neutral", "angry": "Angry", "sad": None},
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> list[cross.Corpus]:
    """Two corpora with the same speakers and emotions, with features and their own labels."""
    corpora = []
    for seed, name in enumerate(("one", "two")):
        root = tmp_path_factory.mktemp(name)
        data = write_corpus(root, seed=seed)
        extract.extract(data, root / "feats", Extraction("mfcc"))
        corpora.append(cross.Corpus(name, data, FeatureStore.open(root / "feats"), {}))
    return corpora


original = FeatureStore.recordings.fget


def settings(head: str = "linear", *overrides: str) -> Config:
    overrides = ["train.epochs=2", *overrides] if head == "mlp" else overrides
    return config.load([ROOT / "conf"], "mean", head, overrides=overrides)


def test_labels_without_a_common_class_are_dropped_and_counted(corpora):
    one, two = cross.with_common_classes(corpora, LABELS)
    for corpus in (one, two):
        assert corpus.data.emotions == ("Neutral", "Angry")
        assert corpus.dropped == {"sad": 12}
        assert set(corpus.data.emotion.values()) == {"Neutral", "Angry"}
        assert len(corpus.data.wav) == 24
        assert corpus.summary == "24 utterances, dropped: sad 12"


def test_labels_that_are_class_names_are_kept(corpora):
    one, _ = cross.with_common_classes(
        corpora, [{"wütend": "angry", "ruhig": "calm"}, {"calm": "calm", "angry": "angry"}]
    )
    assert (one.data.emotions, one.dropped) == (("angry", "calm"), {"sad": 12})


def test_several_labels_can_become_one_class(corpora):
    together = {"calm": "Neutral", "angry": "Angry", "sad": "Angry"}
    one, _ = cross.with_common_classes(corpora, [together, LABELS[0] | {"sad": None}])
    assert one.dropped == {}
    assert list(one.data.emotion.values()).count("Angry") == 24


def test_speakers_and_folds_without_utterances_are_removed(corpora):
    data = corpora[0].data
    emotion = {utt: "sad" if data.fold[data.speaker[utt]] == 1 else "calm" for utt in data.wav}
    emotion[next(utt for utt in emotion if data.fold[data.speaker[utt]] == 2)] = "angry"
    odd = dataclasses.replace(corpora[0], data=dataclasses.replace(data, emotion=emotion))
    one, _ = cross.with_common_classes([odd, corpora[1]], [LABELS[1], LABELS[1]])
    assert one.data.folds == [1, 2]
    assert set(one.data.speaker.values()) == one.data.fold.keys() == one.data.gender.keys()


def test_a_pair_trains_and_validates_on_one_corpus_and_tests_on_the_other(corpora):
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
def test_ua_is_the_mean_over_runs_of_the_class_recalls(corpora, tmp_path, head):
    one, two = cross.with_common_classes(corpora, LABELS)
    ua = cross.run(one, two, settings(head), tmp_path, seeds=[1, 2])
    values = []
    for seed in (1, 2):
        table = pd.read_csv(tmp_path / "one-to-two" / "fold1" / f"seed{seed}" / "predictions.tsv", sep="\t")
        assert set(table["spk"]) == {f"two:spk{i}" for i in range(6)}
        recalls = [(group["hyp"] == emotion).mean() for emotion, group in table.groupby("ref")]
        values.append(100 * sum(recalls) / len(recalls))
    assert ua == pytest.approx(sum(values) / 2)
    assert cross.run(one, two, settings(head), tmp_path, seeds=[2]) == pytest.approx(values[1])


def test_within_one_corpus_each_fold_is_tested(corpora, tmp_path):
    one, _ = cross.with_common_classes(corpora, LABELS)
    cross.run(one, one, settings(), tmp_path, seeds=[1])
    runs = sorted((tmp_path / "one").glob("fold*/seed1/predictions.tsv"))
    assert [file.parts[-3] for file in runs] == ["fold1", "fold2", "fold3"]


def test_predictions_of_training_speakers_are_refused(corpora, tmp_path):
    one, two = cross.with_common_classes(corpora, LABELS)
    cross.run(one, two, settings(), tmp_path, seeds=[1])
    written = tmp_path / "one-to-two" / "fold1" / "seed1" / "predictions.tsv"
    written.write_text(written.read_text().replace("two:spk0", "one:spk0"))
    with pytest.raises(SoctkError, match="1 speaker is tested in a fold"):
        cross.run(one, two, settings(), tmp_path, seeds=[1])


def test_incomplete_predictions_are_refused(corpora, tmp_path):
    one, two = cross.with_common_classes(corpora, LABELS)
    cross.run(one, two, settings(), tmp_path, seeds=[1])
    written = tmp_path / "one-to-two" / "fold1" / "seed1" / "predictions.tsv"
    written.write_text("\n".join(written.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(SoctkError, match="1 utterance is missing"):
        cross.run(one, two, settings(), tmp_path, seeds=[1])


def test_fewer_than_two_common_classes_are_an_error(corpora):
    with pytest.raises(SoctkError, match="--corpus: the corpora have 1 class in common: Angry\nMap each emotion"):
        cross.with_common_classes(corpora, [LABELS[0], {"angry": "Angry"}])


def test_corpora_with_the_same_name_are_an_error(corpora):
    with pytest.raises(SoctkError, match="2 corpora have the name one\nRename a data directory"):
        cross.with_common_classes([corpora[0], corpora[0]], [LABELS[0], LABELS[0]])


def test_a_name_with_a_colon_is_an_error(corpora):
    odd = dataclasses.replace(corpora[0], name="my:corpus")
    with pytest.raises(SoctkError, match="the name my:corpus contains a colon\nRename the data directory"):
        cross.with_common_classes([odd, corpora[1]], LABELS)


def test_features_with_other_settings_are_an_error(corpora, tmp_path):
    other = FeatureStore(Path("elsewhere"), {**corpora[1].store.settings, "layers": [7]}, {})
    with pytest.raises(
        SoctkError,
        match=r"elsewhere: the features of one and two have different settings\n  layers: \[0\] in one, \[7\] in two",
    ):
        cross.with_common_classes([corpora[0], dataclasses.replace(corpora[1], store=other)], LABELS)


@pytest.mark.parametrize("name", ["mini", "ravdess", "esd"])
def test_the_label_maps_of_the_recipes_use_known_classes(name):
    from soctk.corpus import labels

    assert set(labels.read(ROOT / "egs" / name / "conf" / "labels.yaml").values()) <= set(labels.CLASSES)


def test_corpora_that_share_recordings_are_refused_with_a_list(corpora, tmp_path):
    one, two = corpora
    copy = dataclasses.replace(one, name="copy")
    with pytest.raises(SoctkError) as error:
        cross.with_common_classes([one, two, copy], [LABELS[0]] * 3)
    lines = str(error.value).splitlines()
    assert lines[0] == "--corpus: the corpora share recordings: one and copy share 36"
    assert lines[1] == "  spk0-angry-0 of one = spk0-angry-0 of copy"
    assert lines[-1].startswith("Leave out one of these corpora")


def test_recordings_of_dropped_classes_may_be_shared(corpora):
    one, two = corpora
    same = {utt: digest for utt, digest in one.store.recordings.items() if "-sad-" in utt}
    with mock.patch.object(FeatureStore, "recordings", property(lambda store: original(store) | same)):
        assert len(cross.with_common_classes([one, two], [LABELS[1]] * 2)) == 2
        with pytest.raises(SoctkError, match="one and two share 12"):
            cross.with_common_classes([one, two], [LABELS[0]] * 2)


def test_a_pair_keeps_the_known_duplicates_of_both_corpora(corpora):
    one, two = corpora
    known = frozenset({frozenset({"spk0-calm-0", "spk3-calm-1"}), frozenset({"spk0-sad-0", "spk3-sad-1"})})
    marked = dataclasses.replace(one, data=dataclasses.replace(one.data, duplicates=known))
    data, store = cross.pair(*cross.with_common_classes([marked, two], LABELS))
    assert frozenset({"one:spk0-calm-0", "one:spk3-calm-1"}) in data.duplicates
    assert store.recordings.keys() == {f"{name}:{utt}" for name in ("one", "two") for utt in one.data.wav}


def test_a_pair_that_cannot_be_trained_is_named_before_training(corpora, tmp_path):
    one, two = cross.with_common_classes(corpora, LABELS)
    halves = {speaker: 1 + (fold > 1) for speaker, fold in one.data.fold.items()}
    one = dataclasses.replace(one, data=dataclasses.replace(one.data, fold=halves))
    cross.check(one, two, settings(), tmp_path, seeds=[1])
    with pytest.raises(SoctkError) as error:
        cross.check(one, one, settings(), tmp_path, seeds=[1])
    assert str(error.value) == (
        "spk2fold: trained on one, tested on one: 2 folds are too few to train, validate and test on different "
        "speakers\nDivide the speakers into at least 3 folds. To train and test other pairs only, use --train and "
        "--test."
    )
    assert not list(tmp_path.iterdir())
