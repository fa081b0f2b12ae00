import csv
import dataclasses
import io
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, write_run
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.reporting import formats, tables
from soctk.reporting.report import Report, make
from soctk.scoring import published, score
from soctk.scoring.compare import compare
from soctk.scoring.intervals import Interval
from soctk.scoring.subgroups import Gap

FOLDS_TABLE = """\
| fold                 |   utterances |            WA |            UA |      macro-F1 |      log-loss |           ECE |
|----------------------|--------------|---------------|---------------|---------------|---------------|---------------|
| 1                    |            2 |         75.00 |         75.00 |         66.67 |         3.627 |         25.00 |
| 2                    |            2 |         50.00 |         50.00 |         33.33 |         7.254 |         50.00 |
| mean ± sd over folds |            4 | 62.50 ± 17.68 | 62.50 ± 17.68 | 50.00 ± 23.57 | 5.441 ± 2.565 | 37.50 ± 17.68 |
| mean ± sd over seeds |              | 62.50 ± 17.68 | 62.50 ± 17.68 | 50.00 ± 23.57 | 5.441 ± 2.565 | 37.50 ± 17.68 |
"""
CONFIG = """
protocol: soctk
head: {name: linear}
pooling: {mean: {}}
features: {upstream: hubert_base, layers: [12], num_layers: 13}
made_with: {torch: '2.0', commit: abc}
"""


def cells(text: str, header: str) -> list[list[str]]:
    """Return the rows of the first Markdown table whose header begins like this."""
    table = text[text.index(header) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def report_of(path, is_compared: bool = False) -> Report:
    write_run(path / "fbank-soc" / "fold1" / "seed1", "aa bb")
    write_run(path / "fbank-soc" / "fold1" / "seed2", "aa ba")
    write_run(path / "fbank-soc" / "fold2" / "seed1", "aa ba")
    write_run(path / "fbank-soc" / "fold2" / "seed2", "aa ba")
    for fold in (1, 2):
        write_run(path / "fbank-mean" / f"fold{fold}" / "seed1", "aa bb", config=CONFIG)
    experiments = score.score([path])
    comparison = compare(experiments) if is_compared else None
    return Report("exp", experiments, comparison, published.read(published.DEFAULT), "soctk-score exp")


def test_results_md_has_the_scores_and_how_they_were_made(tmp_path):
    formats.write(tmp_path, report_of(tmp_path))
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.startswith("# Results\n\nWritten by `soctk-score exp` on 20")
    assert "- Protocol soctk: speaker-disjoint: fold k tests its own speakers and validates" in text
    assert "- Protocol unknown: config.yaml is missing." in text
    assert "- Head linear: logistic regression, fitted to the training and validation utterances together. Its" in text
    assert "- Head unknown: config.yaml is missing." in text
    assert "- Trained with torch 2.0, commit abc.\n" in text
    assert "- Scored with soctk 0.1.0, numpy " in text
    assert "| fbank-mean   |       2 |       1 | 100.00 ± 0.00 | 100.00 ± 0.00 | 100.00 ± 0.00 |" in text
    assert "| fbank-soc    |       2 |       2 | 62.50 ± 17.68 | 62.50 ± 17.68 | 50.00 ± 23.57 |" in text
    assert f"## fbank-soc\n\nProtocol unknown, head unknown, seeds 1, 2.\n\n{FOLDS_TABLE}" in text
    assert (
        "- All experiments: no data directory was found (--data). The predictions are not checked against it, and"
        in text
    )
    assert "- All experiments: fewer than 5 speakers, so intervals are not computed." in text


def test_the_heading_names_experiments_without_within_class_normalisation(tmp_path):
    assert not any("within-class" in line for line in report_of(tmp_path / "none").heading())
    normalised = CONFIG.replace("{name: linear}", "{name: linear, within_class_shrinkage: 0.5}")
    for name, config in (("fbank-mean", CONFIG), ("fbank-stats", normalised)):
        for fold in (1, 2):
            write_run(tmp_path / "one" / name / f"fold{fold}" / "seed1", "aa bb", config=config)
    (line,) = [
        line
        for line in Report("exp", score.score([tmp_path / "one"]), None, None, "soctk-score exp").heading()
        if "within-class" in line
    ]
    assert line.endswith("descriptors get within-class covariance normalisation, except in fbank-mean.")


def test_the_heading_names_experiments_with_speed_perturbation(tmp_path):
    assert not any("Speed" in line for line in report_of(tmp_path / "none").heading())
    perturbed = CONFIG.replace("num_layers: 13", "num_layers: 13, speeds: [0.9, 1.1]")
    for name, speeds in (("a", "all"), ("b", "[1.1]"), ("c", "[]")):
        config = f"{perturbed}\nframes: {{speeds: {speeds}}}\n"
        write_run(tmp_path / "one" / name / "fold1" / "seed1", "aa bb", config=config)
    lines = Report("exp", score.score([tmp_path / "one"]), None, None, "soctk-score exp").heading()
    assert [line.rpartition(": ")[2] for line in lines if "Speed" in line] == ["a (0.9, 1.1), b (1.1)."]


def test_the_heading_names_experiments_with_augmentation_and_with_equal_level(tmp_path):
    assert not any("Augm" in line or "Equal" in line for line in report_of(tmp_path / "none").heading())
    augmented = CONFIG.replace("num_layers: 13", "num_layers: 13, augmentations: [noise, gain]")
    level = CONFIG.replace("num_layers: 13", "num_layers: 13, normalise: level")
    for name, config in {
        "a": f"{augmented}\nframes: {{speeds: []}}\n",
        "b": f"{augmented}\nframes: {{augment: [gain]}}\n",
        "c": f"{augmented}\nframes: {{augment: []}}\n",
        "d": level,
    }.items():
        write_run(tmp_path / "one" / name / "fold1" / "seed1", "aa bb", config=config)
    lines = Report("exp", score.score([tmp_path / "one"]), None, None, "soctk-score exp").heading()
    assert [line.rpartition(": ")[2] for line in lines if "Augmentation (" in line] == ["a (noise, gain), b (gain)."]
    assert "Equal level (all recordings are scaled to -26 dBFS before the encoder): d." in lines


def test_seeds_without_all_folds_are_named_as_left_out(tmp_path):
    for run in ("fold1/seed1", "fold2/seed1", "fold1/seed2"):
        write_run(tmp_path / "m" / run, "aa bb")
    report = Report("exp", score.score([tmp_path]), None, None, "soctk-score exp")
    assert "m: seeds left out because folds are missing: 2." in formats.as_text(report)
    expected = "Protocol unknown, head unknown, seeds 1. Seeds left out because folds are missing: 2."
    assert expected in formats.as_markdown(report)


def test_experiments_share_equal_notes(tmp_path):
    for name in ("one", "two", "three"):
        for fold in (1, 2):
            write_run(tmp_path / name / f"fold{fold}" / "seed1", "aa bb")
    write_run(tmp_path / "three" / "fold2" / "seed2", "aa bb")
    missing, few = "no data directory was found (--data).", "fewer than 5 speakers, so intervals are not computed."
    notes = make([tmp_path], "").notes()
    assert [note.partition(" The predictions")[0] for note in notes] == [
        f"All experiments: {missing}",
        f"All experiments: {few}",
        "three: seeds left out because folds are missing: 2.",
    ]
    assert make([tmp_path / "one"], "").notes()[1] == f"one: {few}"


def test_the_terminal_shows_the_same_scores_in_80_columns(tmp_path):
    text = formats.as_text(report_of(tmp_path, is_compared=True))
    assert "All names begin with fbank-\n" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "soc 2 x 2 62.50 62.50 53.33 5.44" in lines
    assert lines[lines.index("mean WA -37.50 0.500 0.500 1.000 1.000") + 1] == "soc"
    assert max(map(len, text.splitlines())) <= 80


def uneven(path) -> Report:
    """Return the report of two seeds of two folds, of six and two utterances; fold 2 lacks classes b and c."""
    for seed, first, second in ((1, "aa bb cc aa bb ca", "ab aa"), (2, "aa bc cc ab bb cc", "ac aa")):
        write_run(path / "m" / "fold1" / f"seed{seed}", first, [f"s{i}-1" for i in range(6)])
        write_run(path / "m" / "fold2" / f"seed{seed}", second, ["t1-1", "t2-1"])
    return make([path], "soctk-score exp")


def expected_over_all_utterances(report: Report) -> dict[str, float]:
    """Return the mean over seeds of each seed's scores over the utterances of all folds, by scikit-learn."""
    (e,) = report.experiments
    scores = []
    for _, rows in e.predictions.table.groupby("seed"):
        references, answers, posteriors = rows["ref"], rows["hyp"], e.predictions.posteriors[rows.index]
        confidences, right = posteriors.max(1), posteriors.argmax(1) == references
        scores.append(
            {
                "WA": 100 * accuracy_score(references, answers),
                "UA": 100 * recall_score(references, answers, average="macro"),
                "F1": 100 * f1_score(references, answers, average="macro"),
                "log_loss": log_loss(references, np.clip(posteriors, 5e-7, 1), labels=range(3)),
                # all posteriors are 0 or 1, so all confidences are in one bin
                "ECE": 100 * abs(confidences.mean() - right.mean()),
            }
        )
    return pd.DataFrame(scores).mean().to_dict()


def numbers(row: list[str]) -> list[float]:
    return [float(cell.split()[0]) for cell in row]


def test_every_format_has_the_scores_over_all_utterances(tmp_path):
    report = uneven(tmp_path)
    (e,) = report.experiments
    expected = expected_over_all_utterances(report)
    assert expected["ECE"] != pytest.approx(e.over_folds()["ECE"].mean, abs=1)
    assert expected["log_loss"] != pytest.approx(e.over_folds()["log_loss"].mean, abs=0.1)
    text = formats.as_markdown(report)
    (row,) = [row for row in cells(text, "| all utterances") if row[0] == "m"]
    assert numbers(row[1:]) == pytest.approx(list(expected.values()), abs=0.005)
    (row,) = csv.DictReader(io.StringIO(formats.as_tsv(report)), delimiter="\t")
    assert [float(row[metric]) for metric in expected] == pytest.approx(list(expected.values()), abs=5e-5)
    pooled = json.loads(formats.as_json(report))["experiments"]["m"]["pooled"]
    assert {metric: pooled[metric]["value"] for metric in expected} == pytest.approx(expected)
    (line,) = [line for line in formats.as_latex(report).splitlines() if line.startswith(" m ") and "±" not in line][:1]
    assert numbers(line.rstrip("\\ ").split("&")[1:]) == pytest.approx(list(expected.values()), abs=0.005)
    (line,) = [line for line in formats.as_text(report).splitlines() if line.startswith("m ")]
    shown = [expected[metric] for metric in ("WA", "UA", "F1", "log_loss")]
    assert [float(cell) for cell in line.split()[4:]] == pytest.approx(shown, abs=0.005)
    (html,) = [part for part in tables.summary(report, "html") if "all utterances" in part]
    shown = [float(cell) for cell in re.findall(r">\s*([0-9.]+)[^<]*</td>", html)]
    assert shown == pytest.approx(list(expected.values()), abs=0.005)


def test_the_interval_at_the_terminal_contains_the_value_above_it(tmp_path):
    report = uneven(tmp_path)
    lines = formats.as_text(report).splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.startswith("m ")]
    values = [float(cell) for cell in lines[start].split()[4:7]]
    bounds = [float(bound) for bound in re.findall(r"[0-9.]+", lines[start + 1])]
    pooled = report.experiments[0].pooled
    assert bounds == pytest.approx([bound for m in ("WA", "UA", "F1") for bound in pooled[m][1:]], abs=0.05)
    assert all(low <= value <= high for value, low, high in zip(values, bounds[::2], bounds[1::2], strict=True))


def test_tsv_has_the_interval_beside_its_value_and_the_means_over_folds(tmp_path):
    report = uneven(tmp_path)
    (row,) = csv.DictReader(io.StringIO(formats.as_tsv(report)), delimiter="\t")
    (e,) = report.experiments
    for metric in ("WA", "UA", "F1", "log_loss"):
        assert float(row[f"{metric}_low"]) <= float(row[metric]) <= float(row[f"{metric}_high"])
    for metric in ("WA", "UA", "F1", "log_loss", "ECE"):
        assert float(row[f"{metric}_folds"]) == pytest.approx(e.over_folds()[metric].mean, abs=5e-5)


def test_folds_that_lack_classes_are_named_below_the_scores(tmp_path):
    report = uneven(tmp_path)
    sentence = "UA and macro-F1 of fold 2 are over 1 of 3 classes: b, c have no test utterances."
    assert sentence in formats.as_markdown(report)
    assert sentence in formats.as_text(report).replace("\n", " ")
    assert sentence in tables.summary(report, "html")
    assert json.loads(formats.as_json(report))["experiments"]["m"]["missing_classes"] == {"2": ["b", "c"]}


def test_experiments_that_lack_different_classes_are_named(tmp_path):
    for name, second in (("a", "aa bb"), ("b", "aa bb"), ("c", "cc aa bb"), ("d", "aa")):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
        write_run(tmp_path / name / "fold2" / "seed1", second)
    text = formats.as_markdown(make([tmp_path], "soctk-score exp"))
    assert "\na, b, d: UA and macro-F1 are over 2 of 3 classes: c has no test utterances.\n" in text
    assert "\nd: UA and macro-F1 of fold 2 are over 1 of 3 classes: b, c have no test utterances.\n" in text
    assert "\nc: UA and macro-F1 of fold 1 are over 2 of 3 classes: c has no test utterances.\n" in text


def test_names_of_any_length_fit_the_terminal(tmp_path):
    names = [
        "whisper-base-encoder-layer4-mean+soc_full-linear-d128",
        "an_underscored_name_without_any_hyphen_in_it" * 2,
    ]
    for name in names:
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb")
    experiments = score.score([tmp_path])
    text = formats.as_text(Report("exp", experiments, compare(experiments), None, "soctk-score exp"))
    assert max(map(len, text.splitlines())) <= 80


def test_results_md_has_the_comparison(tmp_path):
    text = formats.as_markdown(report_of(tmp_path, is_compared=True))
    assert "Difference: the second experiment minus the first, over all utterances" in text
    # 2 speakers: 2 of the 4 exchanges are as extreme. First seed: one utterance is right only in fbank-mean.
    assert "| fbank-mean | fbank-soc |       −37.50 | 0.500 |  0.500 |     1.000 |  1.000 |" in text


def corpus_of(tmp_path, name: str) -> DataDir:
    utterances = [f"fold{fold}-{i}" for fold in (1, 2) for i in range(2)]
    speaker = {utt: utt.partition("-")[0] for utt in utterances}
    data = DataDir(
        wav=dict.fromkeys(utterances, tmp_path / "any.wav"),
        speaker=speaker,
        emotion=dict(zip(utterances, "abab", strict=True)),
        seconds=dict.fromkeys(utterances, 1.0),
        gender=dict.fromkeys(speaker.values(), "f"),
        fold={"fold1": 1, "fold2": 2},
        emotions=("a", "b", "c"),
    )
    (tmp_path / "any.wav").touch()
    datadir.write(tmp_path / name, data)
    return data


def test_published_figures_of_another_protocol_have_a_warning(tmp_path):
    corpus_of(tmp_path, "ravdess")
    write_run(tmp_path / "exp" / "m" / "fold1" / "seed1", "aa bb", config=CONFIG)
    write_run(tmp_path / "exp" / "m" / "fold2" / "seed1", "aa ba", config=CONFIG)
    experiments = score.score([tmp_path / "exp"], tmp_path / "ravdess")
    report = Report("exp", experiments, None, published.read(ROOT / "conf" / "published.csv"), "soctk-score exp")
    emobox, soc = "EmoBox (arXiv 2406.07162, table 4)", "SOC (arXiv 2606.06550, as others quote it)"
    differs = "not directly comparable: protocol emobox, not soctk"
    assert tables.published_rows(report) == [
        ("m", "this experiment, mean over folds", "75.00", "75.00", "66.67", ""),
        ("", emobox, "66.21", "65.43", "65.31", differs),
        ("", soc, "65.24", "", "", differs),
    ]
    assert f"- Warning: {emobox}: {differs}." in formats.as_markdown(report)
    assert "Warning: EmoBox (arXiv 2406.07162, table 4): not directly comparable:" in formats.as_text(report)


def test_scores_json_has_every_run_and_null_for_the_deviation_of_one_value(tmp_path):
    formats.write(tmp_path, report_of(tmp_path, is_compared=True))
    written = json.loads((tmp_path / "scores.json").read_text())
    scores = written["experiments"]
    assert scores["fbank-soc"]["over_folds"]["WA"] == {"mean": 62.5, "sd": pytest.approx(17.6777, abs=1e-4)}
    assert scores["fbank-mean"]["over_seeds"]["WA"] == {"mean": 100.0, "sd": None}
    assert [(run["fold"], run["seed"], run["WA"]) for run in scores["fbank-soc"]["runs"]] == [
        (1, 1, 100.0),
        (1, 2, 50.0),
        (2, 1, 50.0),
        (2, 2, 50.0),
    ]
    assert written["comparisons"][0] | {"first": "fbank-mean", "p": 0.5, "low": None} == written["comparisons"][0]


def test_tsv_has_plain_numbers(tmp_path):
    rows = list(csv.DictReader(io.StringIO(formats.as_tsv(report_of(tmp_path))), delimiter="\t"))
    assert [row["experiment"] for row in rows] == ["fbank-mean", "fbank-soc"]
    assert float(rows[1]["WA"]) == 62.5
    assert float(rows[1]["WA_sd_seeds"]) == pytest.approx(17.6777)
    assert rows[1]["WA_low"] == ""


def test_latex_has_each_table_in_booktabs_style(tmp_path):
    text = formats.as_latex(report_of(tmp_path, is_compared=True))
    assert r"fbank-soc    &       2 &       2 & 62.50 $\pm$ 17.68 & " in text
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 5
    assert r"$-$37.50" in text
    assert "±" not in text


def test_a_table_of_many_speakers_shows_only_the_lowest_and_the_highest_wa(tmp_path):
    speakers = [f"s{i:02}" for i in range(30)]
    pairs = " ".join("aa" if i % 2 else "ab" for i in range(30))
    write_run(tmp_path / "m" / "fold1" / "seed1", pairs, [f"{speaker}-1" for speaker in speakers])
    text = formats.as_markdown(Report("exp", score.score([tmp_path]), None, None, "soctk-score exp"))
    assert text.count("| speaker ") == 24
    assert len(score.score([tmp_path])[0].as_dict()["subgroups"]) == 31


def test_recentred_experiments_have_a_dagger_in_tables_but_not_in_tsv_and_json(tmp_path):
    for name, by in (("plain", "none"), ("with", "speaker")):
        config = f"protocol: soctk\nhead: {{name: linear}}\nrecentre: {{by: {by}, enrol: all, relevance: 0}}\n"
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb ab", config=config)
    report = make([tmp_path], "soctk-score exp", is_compared=True)
    assert [experiment.name for experiment in report.experiments] == ["plain", "with"]
    text = formats.as_markdown(report)
    assert "- † Re-centred: the mean descriptor of each test speaker, estimated from unlabelled recordings" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "## with †" in lines and "## plain" in lines
    assert any(line.startswith("| with † | 1 | 1 | 66.67") for line in lines)
    assert any(line.startswith("| plain | with † | +0.00 |") for line in lines)
    assert "- All experiments: fewer than 5 speakers, so intervals are not computed." in lines
    text = formats.as_text(report)
    assert "with †" in text
    assert "† Re-centred: the mean descriptor" in text
    assert r"with $\dagger$" in formats.as_latex(report)
    rows = list(csv.DictReader(io.StringIO(formats.as_tsv(report)), delimiter="\t"))
    assert [(row["experiment"], row["is_recentred"]) for row in rows] == [("plain", "False"), ("with", "True")]
    scores = json.loads(formats.as_json(report))["experiments"]
    assert (scores["plain"]["is_recentred"], scores["with"]["is_recentred"]) == (False, True)
    alone = formats.as_markdown(Report("Results", report.experiments[:1], None, None, "soctk-score exp"))
    assert "†" not in alone


def test_the_table_of_subgroups_has_attribute_value_and_scores(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa ab bb", ["s1-1", "s1-2", "s2-1"])
    lines = [" ".join(line.split()) for line in formats.as_markdown(make([tmp_path], "soctk-score exp")).splitlines()]
    start = lines.index("| subgroup | value | utterances | speakers | WA [95%] | UA | macro-F1 |")
    assert lines[start + 2 :] == [
        "| speaker | s1 | 2 | 1 | 50.00 | 50.00 | 66.67 |",
        "| speaker | s2 | 1 | 1 | 100.00 | 100.00 | 100.00 |",
    ]


def test_the_row_of_a_class_has_its_recall_and_its_confusions(tmp_path):
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa ab ac bb ca cc")
    lines = [" ".join(line.split()) for line in formats.as_markdown(make([tmp_path], "soctk-score exp")).splitlines()]
    start = lines.index("| class | precision | recall | F1 | utterances | as a | as b | as c |")
    assert lines[start + 2 : start + 5] == [
        "| a | 50.00 | 33.33 | 40.00 | 3 | 1 | 1 | 1 |",
        "| b | 50.00 | 100.00 | 66.67 | 1 | 0 | 1 | 0 |",
        "| c | 50.00 | 50.00 | 50.00 | 2 | 1 | 0 | 1 |",
    ]


def test_an_experiment_may_have_the_name_of_a_key_of_scores_json(tmp_path):
    for name in ("comparisons", "experiments"):
        write_run(tmp_path / name / "fold1" / "seed1", "aa bb ab" if name == "comparisons" else "aa bb aa")
    scores = json.loads(formats.as_json(make([tmp_path], "soctk-score exp", is_compared=True)))
    assert list(scores["experiments"]) == ["comparisons", "experiments"]
    assert [run["UA"] for run in scores["experiments"]["comparisons"]["runs"]] == [75]
    assert [(row["metric"], row["first"], row["second"]) for row in scores["comparisons"]] == [
        (metric, "comparisons", "experiments") for metric in ("WA", "UA", "F1")
    ]


def test_odd_names_are_shown_as_they_are_in_every_format(tmp_path):
    name = "=a|b\n<i>`c"
    run = tmp_path / name / "fold1" / "seed1"
    run.mkdir(parents=True)
    header = "utt\tspk\tref\thyp\tjoy|rage\t<b>sad\n"
    (run / "predictions.tsv").write_text(
        f"{header}s*1*-1\ts*1*\tjoy|rage\tjoy|rage\t1\t0\ns*1*-2\ts*1*\t<b>sad\tjoy|rage\t1\t0\n", encoding="utf-8"
    )
    report = make([tmp_path], f"soctk-score 'a`b' {name}")
    shown = r"=a|b\n<i>`c"
    text = formats.as_markdown(report)
    escaped = r"=a\|b\\n&lt;i&gt;\`c"
    assert f"\n## {escaped}\n" in text
    assert rf"| {escaped} | 1 | 1 | 50.00 |" in " ".join(text.split())
    assert r"| as joy\|rage | as &lt;b&gt;sad |" in " ".join(text.split())
    assert r"| speaker | s\*1\* | 2 | 1 |" in " ".join(text.split())
    assert "``" in text.splitlines()[2] and name not in text
    (row,) = csv.DictReader(io.StringIO(formats.as_tsv(report)), delimiter="\t")
    assert row["experiment"] == f"'{shown}"
    assert list(json.loads(formats.as_json(report))["experiments"]) == [shown]
    assert r"=a\textbar{}b\textbackslash{}n\ensuremath{<}i\ensuremath{>}`c" in formats.as_latex(report)
    assert shown in formats.as_text(report).replace("\n", "")


def test_the_name_of_an_experiment_may_be_bytes_that_are_not_utf_8(tmp_path):
    write_run(tmp_path / os.fsdecode(b"m\xff") / "fold1" / "seed1", "aa bb")
    report = make([tmp_path], "soctk-score exp")
    formats.write(tmp_path, report)
    assert r"## m\\udcff" in (tmp_path / "RESULTS.md").read_text()


def test_settings_that_json_cannot_represent_are_text_in_scores_json(tmp_path):
    config = "protocol: soctk\npooling: {mean: {since: 2020-01-01, size: .inf, 3: !!binary aGk=}}\n"
    write_run(tmp_path / "m" / "fold1" / "seed1", "aa bb", config=config)
    scores = json.loads(formats.as_json(make([tmp_path], "soctk-score exp")))
    assert scores["experiments"]["m"]["pooling"] == {"mean": {"since": "2020-01-01", "size": None, "3": "b'hi'"}}


def test_gaps_have_a_table_and_their_meaning_is_said_once(tmp_path):
    made = report_of(tmp_path)
    gap = Gap("sex", "WA", 2, "female", "male", Interval(11.5, 3.5, 19.5))
    with_gap = [dataclasses.replace(e, gaps=[gap]) for e in made.experiments]
    text = formats.as_markdown(dataclasses.replace(made, experiments=with_gap))
    assert cells(text, "| gap by") == [["sex", "WA", "2", "female", "male", "11.50 [3.50, 19.50]"]]
    assert text.count("With more than two groups, some gap is expected by chance") == 1
    assert "gap" not in formats.as_markdown(made)
