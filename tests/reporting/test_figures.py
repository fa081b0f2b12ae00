"""Tests of the contents of the charts, the positions of their labels, and of the list of all pictures."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from conftest import write_run

from soctk import progress
from soctk.errors import SoctkError
from soctk.reporting import charts, figures
from soctk.scoring import score


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


def test_a_line_shows_chance_only_if_all_experiments_have_the_same_number_of_classes(tmp_path):
    for name, pairs, emotions in (("two", "ab ba aa", "ab"), ("four", "ab ba ca aa", "abcd")):
        write_run(tmp_path / name / "fold1" / "seed1", pairs, emotions=emotions)
    two, four = sorted(score.score([tmp_path]), key=lambda experiment: len(experiment.predictions.emotions))
    for experiments, chance in (([two, two], [50]), ([four], [25]), ([two, four], [])):
        (axes,) = charts.accuracies(experiments).axes
        lines = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert lines == chance


def test_accuracies_are_drawn_with_their_intervals_beside_their_names(experiments):
    figure = charts.accuracies(experiments)
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
    assert [picture.name for picture in pictures] == ["WA", "up-mean-confusion", "up-mean-speakers"]
    assert tick_labels(pictures[0].figure.axes[0].yaxis)[0] == "up-mean †"
    assert pictures[1].caption.startswith("up-mean †: ")
    assert pictures[1].figure.get_suptitle() == "up-mean †"


def test_confusions_have_true_classes_as_rows_and_answers_as_columns(experiments):
    axes = charts.confusion(experiments[1]).axes[0]
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
    assert charts.learning_curves(experiments[0]) is None
    epochs = [{"epoch": i, "train_loss": 3 - i, "valid_loss": abs(i - 2), "valid_WA": 0.1 * i} for i in (1, 2, 3)]
    write_log(experiments[0], epochs)
    losses, accuracy = charts.learning_curves(experiments[0]).axes
    assert (losses.get_ylabel(), accuracy.get_ylabel()) == ("loss (nats)", "validation WA (%)")
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training", "validation", "chosen"]
    assert losses.lines[0].get_ydata().tolist() == [2, 1, 0]
    assert losses.lines[1].get_ydata().tolist() == [1, 0, 1]
    assert losses.lines[2].get_xdata() == [2]  # the epoch with the lowest validation loss
    assert accuracy.lines[0].get_ydata() == pytest.approx([10, 20, 30])
    write_log(experiments[1], [{"C": c, "valid_loss": 1 / c, "valid_WA": 0.5} for c in (0.1, 1.0)])
    losses, _ = charts.learning_curves(experiments[1]).axes
    assert losses.get_xscale() == "log"
    assert {"0.1", "0.2", "0.5", "1"} <= set(tick_labels(losses.xaxis).values())  # no mathematical notation


def test_a_damaged_log_is_an_error(experiments):
    write_log(experiments[0], [{"epoch": 1}])
    with pytest.raises(SoctkError, match=r"train.jsonl: not a training log"):
        charts.learning_curves(experiments[0])


def write_speakers(path, counts: dict[str, tuple[int, int]]) -> None:
    """Write a run: speaker -> number of utterances, and how many of them are classified correctly."""
    pairs, utterances = [], []
    for speaker, (count, correct) in counts.items():
        utterances += [f"{speaker}-{i}" for i in range(count)]
        pairs += ["aa"] * correct + ["ab"] * (count - correct)
    write_run(path, " ".join(pairs), utterances)


def test_the_chart_by_speaker_has_a_row_for_each_speaker_the_highest_wa_on_top(tmp_path):
    write_speakers(tmp_path / "exp" / "m" / "fold1" / "seed1", {"ann": (4, 1), "bob": (2, 2), "$x_": (5, 3)})
    (experiment,) = score.score([tmp_path / "exp"])
    table = charts.speaker_accuracies(experiment)
    assert table["WA"].to_dict() == pytest.approx({"bob": 100, "$x_": 60, "ann": 25})
    assert table["utterances"].to_dict() == {"bob": 2, "$x_": 5, "ann": 4}
    (axes,) = charts.speakers(experiment).axes
    points = axes.lines[0]
    names = tick_labels(axes.yaxis)
    assert [names[y] for y in sorted(names, reverse=True)] == ["bob (2)", "$x_ (5)", "ann (4)"]
    assert {names[y]: x for x, y in zip(points.get_xdata(), points.get_ydata(), strict=True)} == pytest.approx(
        {"bob (2)": 100, "$x_ (5)": 60, "ann (4)": 25}
    )
    assert axes.lines[1].get_xdata() == pytest.approx([100 * 6 / 11] * 2)  # the dashed line: all utterances


def test_wa_of_speakers_is_averaged_over_seeds(tmp_path):
    for seed, correct in ((1, 1), (2, 4)):
        write_speakers(tmp_path / "exp" / "m" / "fold1" / f"seed{seed}", {"ann": (4, correct), "bob": (2, 2)})
    (experiment,) = score.score([tmp_path / "exp"])
    table = charts.speaker_accuracies(experiment)
    assert table.to_dict("index") == {"bob": {"utterances": 2, "WA": 100}, "ann": {"utterances": 4, "WA": 62.5}}


@pytest.mark.parametrize(("count", "scale"), [(91, "linear"), (2000, "log")])
def test_many_speakers_are_shown_as_a_distribution(tmp_path, count, scale):
    sizes = {f"s{i:04}": (1 + i % 20 if scale == "log" else 10, 1) for i in range(count)}
    write_speakers(tmp_path / "exp" / "m" / "fold1" / "seed1", sizes)
    (experiment,) = score.score([tmp_path / "exp"])
    counts, by_size = charts.speakers(experiment).axes
    assert sum(bar.get_height() for bar in counts.patches) == count
    assert by_size.get_xscale() == scale
    drawn = np.array(sorted(zip(*by_size.lines[0].get_data(), strict=True)))
    assert drawn == pytest.approx(np.array(sorted((size, 100 / size) for size, _ in sizes.values())))


def test_names_that_look_like_mathematics_are_drawn_in_all_pictures(tmp_path):
    names = ["$x^{$", "_b", "c}$"]
    rows = [f"u{i}\ts$_{i}\t{names[i % 3]}\t{names[0]}\t0.{90 - i}\t0.{i:02}\t0.10" for i in range(12)]
    for experiment in ("$a_{1}", "b/$$"):
        run = tmp_path / "exp" / experiment / "fold1" / "seed1"
        run.mkdir(parents=True)
        (run / "predictions.tsv").write_text("\n".join(["utt\tspk\tref\thyp\t" + "\t".join(names), *rows]) + "\n")
        (run / "train.jsonl").write_text('{"C": 0.01, "valid_loss": 1, "valid_WA": 0.5}\n')
    pictures = figures.pictures(score.score([tmp_path / "exp"]), None, has_descriptors=True)
    written = [
        path.relative_to(tmp_path / "out").as_posix() for path in figures.save(pictures, tmp_path / "out", "svg")
    ]
    kinds = ("confusion", "speakers", "curves", "t-sne")
    assert set(written) >= {f"{name}-{kind}.svg" for name in ("$a_{1}", "b/$$") for kind in kinds}


def test_every_picture_is_8_inches_wide_and_written_under_its_name(experiments, tmp_path, capsys):
    write_log(experiments[0], [{"epoch": 1, "train_loss": 1, "valid_loss": 1, "valid_WA": 0.5}])
    pictures = list(figures.pictures(experiments, None, has_descriptors=True))
    expected = ["WA", "up-mean-confusion", "up-mean-speakers", "up-mean-curves", "up-soc-confusion", "up-soc-speakers"]
    assert [picture.name for picture in pictures] == expected
    no_map = "no t-SNE map, because fewer than 10 test utterances have different posteriors\n"
    no_matrices = "no picture of log-covariances, because its feature store (--feats DIR) or its model was not found\n"
    assert capsys.readouterr().err == f"up-mean: {no_map}up-soc: {no_map}up-soc: {no_matrices}"
    assert {picture.figure.get_figwidth() for picture in pictures} == {8}
    written = [path.name for path in figures.save(iter(pictures), tmp_path / "figures", "svg")]
    assert sorted(written) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written[0] == "WA.svg"


def test_several_encoders_have_no_picture_of_log_covariances_and_the_reason_is_told(experiments, capsys):
    stores = {"features": {"upstream": "one"}, "features2": {"upstream": "two"}}
    predictions = dataclasses.replace(experiments[1].predictions, settings={**stores, "pooling": {"soc": {}}})
    several = dataclasses.replace(experiments[1], predictions=predictions)
    assert list(figures._log_covariances(several, None)) == []
    assert "no picture of log-covariances, because it has several encoders\n" in capsys.readouterr().err


def test_drawing_and_scoring_report_their_progress(experiments, monkeypatch, capsys):
    reported = []

    def track(items, description, unit, total=None):
        reported.append((description, len(list(items)), unit))
        return items

    @contextlib.contextmanager
    def step(description):
        reported.append(description)
        yield

    monkeypatch.setattr(progress, "track", track)
    monkeypatch.setattr(progress, "step", step)
    again = score.score([experiments[0].predictions.path.parent])
    list(figures.pictures(again, None, has_descriptors=True))
    assert reported == ["score experiment 1 of 2", "score experiment 2 of 2", ("draw", 2, "experiment")]
