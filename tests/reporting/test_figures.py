"""Tests of the contents of the figures, the positions of their labels, and their size."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from conftest import write_run

from soctk.errors import SoctkError
from soctk.reporting import embedding, figures
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


def tick_labels(axis) -> dict[float, str]:
    """Return position -> label of an axis."""
    return dict(zip(axis.get_ticklocs(), [label.get_text() for label in axis.get_ticklabels()], strict=True))


def test_accuracies_are_drawn_with_their_intervals_beside_their_names(experiments):
    figure = figures.accuracies(experiments)
    (axes,) = figure.axes
    names = tick_labels(axes.yaxis)
    assert [names[y] for y in sorted(names)] == ["up-soc", "up-mean"]
    values = {names[text.xy[1]]: (text.get_text(), text.xy[0]) for text in axes.texts if text.xy[1] in names}
    assert values == {"up-soc": ("66.7", pytest.approx(100 * 2 / 3)), "up-mean": ("100.0", 100)}
    intervals = {
        names[y]: list(line.get_xdata())
        for line in axes.lines
        for y in {*line.get_ydata()}
        if y in names and len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    }
    assert intervals == {experiment.name: list(experiment.pooled["WA"][1:]) for experiment in experiments}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean", "soc"]


def test_a_recentred_experiment_has_a_dagger_in_figures_but_not_in_file_names(experiments):
    marked = dataclasses.replace(experiments[0], is_recentred=True)
    pictures = list(figures.pictures([marked], None, has_descriptors=False))
    assert [picture.name for picture in pictures] == ["WA", "up-mean-confusion"]
    assert tick_labels(pictures[0].figure.axes[0].yaxis)[0] == "up-mean †"
    assert pictures[1].caption.startswith("up-mean †: ")
    assert pictures[1].figure.get_suptitle() == "up-mean †"


def test_confusions_have_true_classes_as_rows_and_answers_as_columns(experiments):
    axes = figures.confusion(experiments[1]).axes[0]
    true, answered = tick_labels(axes.yaxis), tick_labels(axes.xaxis)
    cells = {(true[text.get_position()[1]], answered[text.get_position()[0]]): text.get_text() for text in axes.texts}
    # up-soc classifies half of class a as b, and half of class c as a.
    rows = {"a": ("50", "50", "0"), "b": ("0", "100", "0"), "c": ("50", "0", "50")}
    assert cells == {
        (row, column): share for row, cells in rows.items() for column, share in zip("abc", cells, strict=True)
    }
    drawn = axes.images[0].get_array()
    assert drawn.tolist() == [[float(share) for share in rows[name]] for name in "abc"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "classified as")
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top, as in the image


def test_learning_curves_show_the_training_logs(experiments):
    assert figures.learning_curves(experiments[0]) is None
    epochs = [{"epoch": i, "train_loss": 3 - i, "valid_loss": abs(i - 2), "valid_WA": 0.1 * i} for i in (1, 2, 3)]
    write_log(experiments[0], epochs)
    losses, accuracy = figures.learning_curves(experiments[0]).axes
    assert (losses.get_ylabel(), accuracy.get_ylabel()) == ("loss (nats)", "validation WA (%)")
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training", "validation", "chosen"]
    assert losses.lines[0].get_ydata().tolist() == [2, 1, 0]
    assert losses.lines[1].get_ydata().tolist() == [1, 0, 1]
    assert losses.lines[2].get_xdata() == [2]  # the epoch with the lowest validation loss
    assert accuracy.lines[0].get_ydata() == pytest.approx([10, 20, 30])
    write_log(experiments[1], [{"C": c, "valid_loss": 1 / c, "valid_WA": 0.5} for c in (0.1, 1.0)])
    losses, _ = figures.learning_curves(experiments[1]).axes
    assert losses.get_xscale() == "log"


def test_a_damaged_log_is_an_error(experiments):
    write_log(experiments[0], [{"epoch": 1}])
    with pytest.raises(SoctkError, match=r"train.jsonl: not a training log"):
        figures.learning_curves(experiments[0])


def colour_and_marker(collection) -> tuple:
    return tuple(collection.get_facecolor()[0]), collection.get_paths()[0].vertices.tobytes()


def test_embeddings_are_coloured_by_emotion_and_by_speaker(experiments):
    utterances = experiments[0].predictions.utterances
    points = np.random.default_rng(0).normal(size=(len(utterances), 2))
    by_emotion, by_speaker = figures.embedding(experiments[0], points, utterances, "t-SNE").axes
    assert [collection.get_label() for collection in by_emotion.collections] == ["a", "b", "c"]
    for index, collection in enumerate(by_emotion.collections):
        np.testing.assert_array_equal(collection.get_offsets(), points[utterances["ref"] == index])
    assert (by_emotion.get_title(), by_speaker.get_title()) == ("by emotion", "by speaker (12: s…)")
    assert [len(collection.get_offsets()) for collection in by_speaker.collections] == [1] * 12
    assert len({colour_and_marker(collection) for collection in by_speaker.collections}) == 12


def test_each_speaker_is_labelled_at_one_of_its_points(experiments):
    utterances = pd.DataFrame({"spk": ["ann"] * 6 + ["bob"] * 6, "ref": [0, 1] * 6})
    generator = np.random.default_rng(0)
    points = np.concatenate([generator.normal(size=(6, 2)), 10 + generator.normal(size=(6, 2))])
    _, axes = figures.embedding(experiments[0], points, utterances, "t-SNE").axes
    assert [text.get_text() for text in axes.texts] == ["ann", "bob"]
    for text, own in zip(axes.texts, (points[:6], points[6:]), strict=True):
        assert tuple(text.get_position()) in {tuple(point) for point in own}


def test_embeddings_keep_separate_groups_apart():
    generator = np.random.default_rng(0)
    centres = 10 * generator.normal(size=(3, 200))
    values = (centres[:, None] + generator.normal(size=(3, 30, 200))).reshape(90, 200)
    for points in embedding.embed(values).values():
        groups = points.reshape(3, 30, 2)
        within = np.linalg.norm(groups - groups.mean(axis=1, keepdims=True), axis=-1).max()
        means = groups.mean(axis=1)
        assert min(np.linalg.norm(means[i] - means[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > within


def test_principal_components_keep_the_distances_between_standardised_descriptors():
    values = np.random.default_rng(0).normal(size=(8, 20))
    standardised = (values - values.mean(0)) / values.std(0)
    components = embedding.principal_components(values)
    expected = np.linalg.norm(standardised[:, None] - standardised[None], axis=-1)
    assert np.linalg.norm(components[:, None] - components[None], axis=-1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [3, 30])
def test_log_covariances_show_the_mean_and_the_difference_of_each_emotion(experiments, size):
    generator = np.random.default_rng(0)
    matrices = generator.normal(size=(12, size, size))
    matrices += matrices.transpose(0, 2, 1)
    references = np.repeat([0, 1, 2], 4)
    figure = figures.log_covariances(experiments[0], matrices, references)
    drawn = [axes.images[0].get_array().data for axes in figure.axes[:4]]
    assert figure.axes[0].get_title().startswith("mean of all (scale ±")
    assert [axes.get_title() for axes in figure.axes[1:4]] == ["a", "b", "c"]
    assert sum(drawn[1:]) == pytest.approx(np.zeros((min(size, 24),) * 2), abs=1e-9)  # equal numbers of each emotion
    if size == 3:
        assert drawn[0] == pytest.approx(matrices.mean(0))
        for i in range(3):
            assert drawn[1 + i] == pytest.approx(matrices[4 * i : 4 * i + 4].mean(0) - matrices.mean(0))
    else:
        eigenvalues = np.linalg.eigvalsh(matrices.mean(0))[::-1][:24]
        assert drawn[0] == pytest.approx(np.diag(eigenvalues), abs=1e-9)


def test_every_picture_is_8_inches_wide_and_written_under_its_name(experiments, tmp_path, capsys):
    write_log(experiments[0], [{"epoch": 1, "train_loss": 1, "valid_loss": 1, "valid_WA": 0.5}])
    pictures = list(figures.pictures(experiments, None, has_descriptors=True))
    assert [picture.name for picture in pictures] == ["WA", "up-mean-confusion", "up-mean-curves", "up-soc-confusion"]
    reason = "no pictures of its descriptors, because its feature store (--feats DIR) or its model was not found\n"
    assert capsys.readouterr().err == f"up-mean: {reason}up-soc: {reason}"
    assert {picture.figure.get_figwidth() for picture in pictures} == {8}
    written = [path.name for path in figures.save(iter(pictures), tmp_path / "figures", "svg")]
    assert sorted(written) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written[0] == "WA.svg"


def test_long_names_are_broken_at_a_hyphen_near_their_middle():
    assert figures._short("whisper-base-encoder-layer4-mean+soc_full-linear") == (
        "whisper-base-encoder-layer4-\nmean+soc_full-linear"
    )
    assert figures._short("a" * 50).replace("\n", "") == "a" * 50


def test_emotions_without_utterances_have_no_panel(experiments):
    matrices = np.stack([np.eye(2)] * 4)
    figure = figures.log_covariances(experiments[0], matrices, np.array([0, 0, 2, 2]))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["mean of all (scale ±1)", "a", "c"]


def test_more_than_thirty_speakers_are_not_labelled(experiments):
    utterances = pd.DataFrame({"spk": [f"s{i:03}" for i in range(100)], "ref": 0})
    figure = figures.embedding(experiments[0], np.zeros((100, 2)), utterances, "t-SNE")
    assert texts(figure) == []
