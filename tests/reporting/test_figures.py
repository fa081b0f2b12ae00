"""The pictures: what is drawn in them, and that they are as wide as they should be."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from conftest import write_run

from soctk.errors import SoctkError
from soctk.reporting import figures
from soctk.scoring import score


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.fixture
def experiments(tmp_path):
    """Two experiments of two folds, six speakers each."""
    for name, pairs in (("up-mean", "aa bb cc aa bb cc"), ("up-soc", "ab bb cc aa bb ca")):
        for fold in (1, 2):
            config = f"features: {{upstream: up}}\npooling: {{{name[3:]}: {{}}}}\n"
            utterances = [f"s{fold}{i}-u" for i in range(6)]
            write_run(tmp_path / "exp" / name / f"fold{fold}" / "seed1", pairs, utterances, config=config)
    return score.score([tmp_path / "exp"])


def write_log(experiment, records: list[dict]) -> None:
    for fold in (1, 2):
        path = experiment.predictions.path / f"fold{fold}" / "seed1" / "train.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_accuracies_are_drawn_at_their_values_with_their_intervals(experiments):
    figure = figures.accuracies(experiments)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["up-soc", "up-mean"]
    assert texts(figure)[:2] == ["66.7", "100.0"]
    low, high = experiments[1].pooled["WA"][1:]
    assert list(axes.lines[0].get_xdata()) == [low, high]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean", "soc"]


def test_the_confusion_shows_the_share_of_each_class(experiments):
    figure = figures.confusion(experiments[1])
    # of a: half taken for a, half for b; of c: half for a
    assert texts(figure) == ["50", "50", "0", "0", "100", "0", "50", "0", "50"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b", "c"]


def test_learning_curves_are_those_of_the_logs(experiments):
    assert figures.learning_curves(experiments[0]) is None
    epochs = [{"epoch": i, "train_loss": 3 - i, "valid_loss": abs(i - 2), "valid_WA": 0.1 * i} for i in (1, 2, 3)]
    write_log(experiments[0], epochs)
    losses, accuracy = figures.learning_curves(experiments[0]).axes
    assert losses.lines[1].get_ydata().tolist() == [1, 0, 1]
    assert losses.lines[2].get_xdata() == [2]  # the epoch with the lowest validation loss
    assert accuracy.lines[0].get_ydata() == pytest.approx([10, 20, 30])
    write_log(experiments[1], [{"C": c, "valid_loss": 1 / c, "valid_WA": 0.5} for c in (0.1, 1.0)])
    losses, _ = figures.learning_curves(experiments[1]).axes
    assert losses.get_xscale() == "log"


def test_a_log_that_is_none_is_told(experiments):
    write_log(experiments[0], [{"epoch": 1}])
    with pytest.raises(SoctkError, match=r"train.jsonl: not a log of training"):
        figures.learning_curves(experiments[0])


def test_embeddings_are_coloured_by_emotion_and_by_speaker(experiments):
    utterances = experiments[0].predictions.utterances
    points = np.random.default_rng(0).normal(size=(len(utterances), 2))
    by_emotion, by_speaker = figures.embedding(experiments[0], points, utterances, "t-SNE").axes
    assert [len(c.get_offsets()) for c in by_emotion.collections] == [4, 4, 4]
    assert [len(c.get_offsets()) for c in by_speaker.collections] == [1] * 12
    assert by_speaker.get_title() == "by speaker (12: s…)"
    styles = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in by_speaker.collections}
    assert len(styles) == 12


def test_points_of_an_emotion_are_found_together_again():
    generator = np.random.default_rng(0)
    centres = 10 * generator.normal(size=(3, 200))
    values = (centres[:, None] + generator.normal(size=(3, 30, 200))).reshape(90, 200)
    for points in figures._embedded(values).values():
        groups = points.reshape(3, 30, 2)
        within = np.linalg.norm(groups - groups.mean(axis=1, keepdims=True), axis=-1).max()
        means = groups.mean(axis=1)
        assert min(np.linalg.norm(means[i] - means[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > within


def test_principal_components_keep_the_distances_between_standardised_descriptors():
    values = np.random.default_rng(0).normal(size=(8, 20))
    standardised = (values - values.mean(0)) / values.std(0)
    components = figures._principal_components(values)
    expected = np.linalg.norm(standardised[:, None] - standardised[None], axis=-1)
    assert np.linalg.norm(components[:, None] - components[None], axis=-1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [3, 30])
def test_log_covariances_are_drawn_as_the_mean_and_what_each_emotion_is_off_it(experiments, size):
    generator = np.random.default_rng(0)
    matrices = generator.normal(size=(12, size, size))
    matrices += matrices.transpose(0, 2, 1)
    references = np.repeat([0, 1, 2], 4)
    figure = figures.log_covariances(experiments[0], matrices, references)
    drawn = [axes.images[0].get_array().data for axes in figure.axes[:4]]
    assert sum(drawn[1:]) == pytest.approx(np.zeros((min(size, 24),) * 2), abs=1e-9)  # as many of each
    if size == 3:
        assert drawn[0] == pytest.approx(matrices.mean(0))
        assert drawn[1] == pytest.approx(matrices[:4].mean(0) - matrices.mean(0))
    else:
        eigenvalues = np.linalg.eigvalsh(matrices.mean(0))[::-1][:24]
        assert drawn[0] == pytest.approx(np.diag(eigenvalues), abs=1e-9)


def test_every_picture_is_8_inches_wide_and_stands_under_its_name(experiments, tmp_path, capsys):
    write_log(experiments[0], [{"epoch": 1, "train_loss": 1, "valid_loss": 1, "valid_WA": 0.5}])
    pictures = list(figures.pictures(experiments, None, has_descriptors=True))
    assert [picture.name for picture in pictures] == ["WA", "up-mean-confusion", "up-mean-curves", "up-soc-confusion"]
    of_none = "no pictures of its descriptors, as its feature store (--feats DIR) or its model is not at hand\n"
    assert capsys.readouterr().err == f"up-mean: {of_none}up-soc: {of_none}"
    assert {picture.figure.get_figwidth() for picture in pictures} == {8}
    written = [path.name for path in figures.save(iter(pictures), tmp_path / "figures", "svg")]
    assert sorted(written) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written[0] == "WA.svg"


def test_the_files_of_an_experiment_marked_by_a_sign_have_names_without_it(experiments):
    marked = dataclasses.replace(experiments[0], name=f"up-mean {score.RECENTRED}")
    names = [picture.name for picture in figures.pictures([marked], None, has_descriptors=False)]
    assert names == ["WA", "up-mean-confusion"]


def test_long_names_are_broken_near_their_middle():
    assert figures._short("whisper-base-encoder-layer4-mean+soc_full-linear") == (
        "whisper-base-encoder-layer4-\nmean+soc_full-linear"
    )
    assert figures._short("a" * 50).replace("\n", "") == "a" * 50


def test_an_emotion_that_is_not_among_the_utterances_has_no_panel(experiments):
    matrices = np.stack([np.eye(2)] * 4)
    figure = figures.log_covariances(experiments[0], matrices, np.array([0, 0, 2, 2]))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["mean of all (to ±1)", "a", "c"]


def test_speakers_by_the_hundred_are_not_labelled(experiments):
    utterances = pd.DataFrame({"spk": [f"s{i:03}" for i in range(100)], "ref": 0})
    experiment = dataclasses.replace(experiments[0])
    figure = figures.embedding(experiment, np.zeros((100, 2)), utterances, "t-SNE")
    assert texts(figure) == []
