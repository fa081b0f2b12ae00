"""Tests of the maps: what is drawn, from which model, and the shares of neighbours."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from conftest import write_run
from matplotlib.text import Text

from soctk.reporting import charts, drawing, embedding
from soctk.scoring import score


def write_posteriors(path, utterances: list[str], logits: np.ndarray) -> None:
    """Write predictions.tsv with the softmax of logits `(N, 3)`; the class of all utterances is a, b, c in turn."""
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = [
        [utt, utt.partition("-")[0], "abc"[i % 3], "abc"[row.argmax()], *(f"{p:.6f}" for p in row)]
        for i, (utt, row) in enumerate(zip(utterances, posteriors, strict=True))
    ]
    path.mkdir(parents=True)
    text = "".join("\t".join(row) + "\n" for row in [["utt", "spk", "ref", "hyp", *"abc"], *rows])
    (path / "predictions.tsv").write_text(text)


@pytest.fixture
def logits() -> dict[int, np.ndarray]:
    """The logits of 12 utterances in each of two folds."""
    generator = np.random.default_rng(0)
    return {fold: generator.normal(size=(12, 3)) for fold in (1, 2)}


@pytest.fixture
def experiment(tmp_path, logits):
    """Two folds with three speakers each, and a second seed with other posteriors."""
    for fold, values in logits.items():
        utterances = [f"s{fold}{i % 3}-{i:02}" for i in range(12)]
        write_posteriors(tmp_path / "exp" / "m" / f"fold{fold}" / "seed3", utterances, values)
        write_posteriors(tmp_path / "exp" / "m" / f"fold{fold}" / "seed4", utterances, -values)
    return score.score([tmp_path / "exp"])[0]


def test_the_map_has_the_logits_of_the_model_that_tested_each_utterance(experiment, logits):
    outputs = embedding.outputs(experiment.predictions)
    assert (outputs.seed, outputs.available) == (3, 24)
    assert outputs.is_mappable
    for fold, values in logits.items():
        own = [utt.startswith(f"s{fold}") for utt in outputs.utterances["spk"]]
        expected = values - values.mean(axis=1, keepdims=True)
        assert outputs.logits[own] == pytest.approx(expected, abs=1e-4)


def test_utterances_are_drawn_at_random_and_their_number_is_limited(experiment, monkeypatch):
    monkeypatch.setattr(embedding, "MOST_UTTERANCES", 15)
    outputs = embedding.outputs(experiment.predictions)
    assert outputs.logits.shape == (15, 3)
    assert outputs.available == 24
    assert {speaker[:2] for speaker in outputs.utterances["spk"]} == {"s1", "s2"}


def test_posteriors_of_0_have_finite_logits_and_few_different_ones_are_no_map(tmp_path):
    write_run(tmp_path / "exp" / "m" / "fold1" / "seed1", "aa bb cc ab bc ca aa bb cc ab bc ca")
    outputs = embedding.outputs(score.score([tmp_path / "exp"])[0].predictions)
    assert np.isfinite(outputs.logits).all()
    assert not outputs.is_mappable


def test_the_share_of_neighbours_with_the_same_value_and_the_chance_level():
    points = np.array([[0.0], [1], [2], [10], [11], [12]]) * np.ones((1, 2))
    utterances = pd.DataFrame({"ref": [0, 0, 0, 1, 1, 1], "spk": list("xyxyxy")})
    outputs = embedding.Outputs(1, utterances, points, 6)
    assert outputs.neighbours == 5
    assert outputs.same_among_neighbours("ref") == pytest.approx((40, 40))  # all others are neighbours: 2 of 5


def test_only_the_nearest_utterances_count_as_neighbours(monkeypatch):
    monkeypatch.setattr(embedding, "_NEIGHBOURS", 2)
    points = np.array([[0.0], [1], [2], [10], [11], [12]]) * np.ones((1, 2))
    utterances = pd.DataFrame({"ref": [0, 0, 0, 1, 1, 1], "spk": list("xyxyxy")})
    outputs = embedding.Outputs(1, utterances, points, 6)
    assert outputs.same_among_neighbours("ref") == pytest.approx((100, 40))
    # Among 0, 1 and 2, the first and the third have the same speaker; so among 10, 11 and 12.
    assert outputs.same_among_neighbours("spk") == pytest.approx((100 * 4 / 12, 40))


def test_embeddings_keep_separate_groups_apart():
    generator = np.random.default_rng(0)
    centres = 10 * generator.normal(size=(3, 6))
    values = (centres[:, None] + generator.normal(size=(3, 30, 6))).reshape(90, 6)
    for points in embedding.embed(values).values():
        groups = points.reshape(3, 30, 2)
        within = np.linalg.norm(groups - groups.mean(axis=1, keepdims=True), axis=-1).max()
        means = groups.mean(axis=1)
        assert min(np.linalg.norm(means[i] - means[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > within


def colour_and_marker(collection) -> tuple:
    return tuple(collection.get_facecolor()[0]), collection.get_paths()[0].vertices.tobytes()


def test_maps_are_coloured_by_emotion_and_by_speaker_with_legends_beside_the_points(experiment):
    utterances = experiment.predictions.utterances
    points = np.random.default_rng(0).normal(size=(len(utterances), 2))
    by_emotion, by_speaker = embedding.draw(experiment, points, utterances, "t-SNE").axes
    others, *by_name = by_speaker.collections
    assert len(others.get_offsets()) == 0
    for index, collection in enumerate(by_emotion.collections):
        np.testing.assert_array_equal(collection.get_offsets(), points[utterances["ref"] == index])
    assert (by_emotion.get_title(), by_speaker.get_title()) == ("by emotion", "by speaker (6)")
    assert [text.get_text() for text in by_emotion.get_legend().get_texts()] == ["a", "b", "c"]
    assert [text.get_text() for text in by_speaker.get_legend().get_texts()] == ["10", "11", "12", "20", "21", "22"]
    assert len({colour_and_marker(collection) for collection in by_name}) == 6
    assert not by_speaker.texts  # names on the map would cover each other


def test_labels_of_speakers_do_not_cover_each_other(experiment):
    """All speakers have the same points; a label at the points of each speaker would be illegible."""
    utterances = pd.DataFrame({"spk": [f"speaker-{i:02}" for i in range(24)], "ref": 0})
    figure = embedding.draw(experiment, np.zeros((24, 2)), utterances, "t-SNE")
    figure.draw_without_rendering()
    texts = figure.axes[1].get_legend().get_texts()
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 24
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    legends = [axes.get_legend().get_window_extent() for axes in figure.axes]
    assert not legends[0].overlaps(legends[1])
    assert not any(legend.overlaps(axes.get_window_extent()) for legend in legends for axes in figure.axes)


def test_of_many_speakers_those_with_the_most_utterances_have_a_colour(experiment):
    names = [f"s{i:03}" for i in range(100)] + [f"s{i:03}" for i in range(50, 62)]
    utterances = pd.DataFrame({"spk": names, "ref": 0})
    points = np.arange(224.0).reshape(112, 2)
    _, axes = embedding.draw(experiment, points, utterances, "t-SNE").axes
    assert axes.get_title() == "by speaker (12 of 100, others grey)"
    others, *drawn = axes.collections
    assert len(others.get_offsets()) == 88
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"0{i}" for i in range(50, 62)]
    for i, collection in enumerate(drawn):
        np.testing.assert_array_equal(collection.get_offsets(), points[[50 + i, 100 + i]])


def test_a_name_that_begins_all_others_is_not_left_out(experiment):
    utterances = pd.DataFrame({"spk": ["ann", "anna", "annie"], "ref": 0})
    _, axes = embedding.draw(experiment, np.zeros((3, 2)), utterances, "t-SNE").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ann", "anna", "annie"]


def test_long_names_and_many_classes_leave_room_for_the_points(tmp_path, recwarn):
    emotions = [f"an-emotion-with-a-long-name-{i:02}" for i in range(30)]
    run = tmp_path / "exp" / ("x" * 180) / "fold1" / "seed1"
    write_run(run, "aa", ["s-1"])
    row = ["s-1", "s", emotions[0], emotions[0], "1", *["0"] * 29]
    (run / "predictions.tsv").write_text(
        "\t".join(["utt", "spk", "ref", "hyp", *emotions]) + "\n" + "\t".join(row) + "\n"
    )
    (experiment,) = score.score([tmp_path / "exp"])
    utterances = pd.DataFrame({"spk": [f"speaker-{'y' * 60}-{i}-{'z' * 60}" for i in range(24)], "ref": range(24)})
    for figure in (
        embedding.draw(experiment, np.arange(48.0).reshape(24, 2), utterances, "t-SNE"),
        charts.accuracies([experiment]),
        charts.speakers(experiment),
        charts.confusion(experiment),
    ):
        drawing.write(figure, BytesIO())
        figure.draw_without_rendering()  # the positions of the text are now in the resolution of the figure
        for axes in figure.axes[:2]:
            assert axes.get_window_extent().width > 20
        for text in figure.findobj(Text):
            assert not text.get_text() or text.get_window_extent().x0 >= 0, text
    assert list(recwarn) == []
