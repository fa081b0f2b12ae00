import json

from test_score import write_run

from soctk import report, score

FOLDS_TABLE = """\
| fold                 |   utterances |            WA |            UA |      macro-F1 |
|----------------------|--------------|---------------|---------------|---------------|
| 1                    |            2 |         75.00 |         75.00 |         66.67 |
| 2                    |            2 |         50.00 |         50.00 |         33.33 |
| mean ± sd over folds |            4 | 62.50 ± 17.68 | 62.50 ± 17.68 | 50.00 ± 23.57 |
| mean ± sd over seeds |              | 62.50 ± 17.68 | 62.50 ± 17.68 | 50.00 ± 23.57 |
"""


def scored(path):
    write_run(path / "fbank-soc" / "fold1" / "seed1", "aa bb")
    write_run(path / "fbank-soc" / "fold1" / "seed2", "aa ba")
    write_run(path / "fbank-soc" / "fold2" / "seed1", "aa ba")
    write_run(path / "fbank-soc" / "fold2" / "seed2", "aa ba")
    write_run(path / "fbank-mean" / "fold1" / "seed1", "aa bb")
    config = "protocol: soctk\nhead: {name: linear}\nmade_with: {torch: '2.0', commit: abc}\n"
    (path / "fbank-mean" / "fold1" / "seed1" / "config.yaml").write_text(config)
    return score.score(path)


def test_results_md_has_the_figures_and_how_they_came_about(tmp_path):
    report.write(tmp_path, scored(tmp_path))
    text = (tmp_path / "RESULTS.md").read_text()
    assert f"Written by `soctk-score {tmp_path.name}`" in text
    assert (
        "- Protocol soctk: speaker-disjoint: fold k tests its own speakers and validates on those of fold k+1." in text
    )
    assert "- Protocol unknown: its config.yaml is missing." in text
    assert "- Head linear: logistic regression; its regularisation is the one with the lowest loss" in text
    assert "- Head unknown: its config.yaml is missing." in text
    assert "- Trained with torch 2.0, commit abc.\n" in text
    assert "| fbank-mean   |       1 |       1 |        100.00 |        100.00 |        100.00 |" in text
    assert "| fbank-soc    |       2 |       2 | 62.50 ± 17.68 | 62.50 ± 17.68 | 50.00 ± 23.57 |" in text
    assert f"## fbank-soc\n\nProtocol unknown, head unknown, seeds 1, 2.\n\n{FOLDS_TABLE}" in text


def test_seeds_that_are_left_out_are_named(tmp_path):
    for run in ("fold1/seed1", "fold2/seed1", "fold1/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    expected = "Protocol unknown, head unknown, seeds 1. Left out, because folds are missing: seeds 2."
    assert expected in report.tables(score.score(tmp_path))


def test_the_terminal_shows_the_same_figures(tmp_path):
    text = report.tables(scored(tmp_path))
    assert "62.50 ± 17.68" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_scores_json_has_every_run_and_null_for_a_deviation_of_one(tmp_path):
    report.write(tmp_path, scored(tmp_path))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["fbank-mean"]["over_folds"]["WA"] == {"mean": 100.0, "sd": None}
    assert [(run["fold"], run["seed"], run["WA"]) for run in scores["fbank-soc"]["runs"]] == [
        (1, 1, 100.0),
        (1, 2, 50.0),
        (2, 1, 50.0),
        (2, 2, 50.0),
    ]
