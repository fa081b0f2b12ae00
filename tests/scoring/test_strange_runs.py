"""Damaged and hostile files of a run give one clear error, or scores in every format; never another exception."""

import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import yaml
from conftest import write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soctk import provenance
from soctk.errors import SoctkError
from soctk.reporting import charts, formats
from soctk.reporting.report import make
from soctk.scoring import choice, logs, prediction_file
from soctk.scoring.runs import RunDirectory

FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
HEADER = "utt\tspk\tref\thyp\ta\tb\n"
PREDICTIONS = f"{HEADER}s1-1\ts1\ta\ta\t0.75\t0.25\ns1-2\ts1\tb\ta\t0.6\t0.4\ns2-1\ts2\tb\tb\t0\t1\n".encode()
CONFIG = b"""\
protocol: soctk
features: {upstream: up, layers: [3, 4], num_layers: 13, speeds: [0.9]}
frames: {layers: all, speeds: all, layer_norm: true}
pooling: {mean: {}, soc: {d: 24}}
head: {name: linear, within_class_shrinkage: 0.5}
recentre: {by: speaker, enrol: all, relevance: 0}
made_with: {torch: '2.0', commit: abc}
made_from: {data: ../../../data, features: ../../../feats}
fold: 1
seed: 1
"""
LOG = b"""\
{"epoch": 1, "train_loss": 1.5, "valid_loss": 1.6, "valid_WA": 0.4, "lr": 0.001}
{"epoch": 2, "train_loss": 1.2, "valid_loss": 1.4, "valid_WA": 0.5, "lr": 0.001}
"""


@st.composite
def damaged(draw, content: bytes):
    """Draw content with flipped bits, inserted bytes, or a piece that is missing or repeated."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(content) - 1))
        kind = draw(st.sampled_from(("flip", "insert", "cut", "repeat")))
        if kind == "flip":
            content[position] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[position:position] = draw(st.sampled_from(INSERTED) | st.binary(min_size=1, max_size=4))
        else:
            piece = content[position : position + draw(st.integers(1, 30))]
            content[position : position + len(piece)] = b"" if kind == "cut" else piece + piece
        content = content or bytearray(b"\n")
    return bytes(content)


INSERTED = [
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b'"',
    b"nan",
    b"inf",
    b"1e999",
    b"\xff",
    b"\xef\xbb\xbf",
    b"-",
    b"\t\t\t",
    b"[]",
]
INSERTED += [b"null", b"{", b"&a", b"*a", b"!!binary ", b"2020-01-01", b"? ", b"#", b"\xe2\x80\xa8", b": ", b"9" * 400]


def score(content: bytes, config: bytes = b"", log: bytes = b"") -> None:
    """Score a run with these files and write the scores in every format; only SoctkError may be raised."""
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory(Path(directory) / "exp" / "m", 1, 1)
        run.path.mkdir(parents=True)
        for path, part in ((run.predictions, content), (run.config, config), (run.log, log)):
            if part:
                path.write_bytes(part)
        try:
            report = make([Path(directory) / "exp"], "soctk-score exp")
        except SoctkError as error:
            assert error.where and error.remedy
            assert "\0" not in str(error)
            return
        with mock.patch.object(provenance, "commit", return_value="abc"):  # it starts git
            for style in (formats.as_text, formats.as_tsv, formats.as_latex):
                style(report).encode("utf-8")
            formats.write(Path(directory), report)


@FUZZ
@given(damaged(PREDICTIONS))
def test_damaged_predictions(content):
    score(content)


@FUZZ
@given(st.lists(st.lists(st.text(max_size=5) | st.sampled_from(("a", "1", "0")), max_size=7), max_size=4))
def test_any_cells_in_predictions(rows):
    score((HEADER + "".join("\t".join(row) + "\n" for row in rows)).encode("utf-8"))


@pytest.mark.slow
@FUZZ
@given(damaged(CONFIG))
def test_damaged_settings(config):
    score(PREDICTIONS, config)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.binary(max_size=3),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none() | st.dates(), values, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*yaml.safe_load(CONFIG), "new"])


@pytest.mark.slow
@FUZZ
@given(st.dictionaries(KEYS | st.integers(), VALUES, max_size=6))
def test_any_values_in_settings(config):
    score(PREDICTIONS, yaml.safe_dump(config).encode("utf-8"))


@pytest.mark.slow
@FUZZ
@given(KEYS, st.data())
def test_any_value_of_a_setting_in_a_section(section, data):
    config = yaml.safe_load(CONFIG)
    if isinstance(config.get(section), dict):
        keys = st.sampled_from(list(config[section])) | st.text(max_size=3)
        config[section] |= data.draw(st.dictionaries(keys, VALUES, max_size=3))
    score(PREDICTIONS, yaml.safe_dump(config).encode("utf-8"))


RECORDS = st.dictionaries(
    st.sampled_from(("epoch", "C", "train_loss", "valid_loss", "valid_WA", "x")),
    st.integers(-1, 3) | st.floats() | st.none() | st.text(max_size=2) | st.lists(st.integers(), max_size=2),
)


@pytest.mark.slow
@FUZZ
@given(damaged(LOG) | st.lists(RECORDS | VALUES, max_size=3).map(lambda records: as_lines(records)))
def test_any_training_log(log):
    score(PREDICTIONS, log=log)
    with tempfile.TemporaryDirectory() as directory:
        exp = Path(directory) / "exp"
        write_run(exp / "m" / "fold1" / "seed1", "aa bb")
        run = RunDirectory(exp / "m", 1, 1)
        run.log.write_bytes(log)
        try:
            assert choice.Choice.of(logs.read(run)).describe()
        except SoctkError as error:
            assert error.where == run.log
            return
        report = make([exp], "soctk-score exp")
        charts.learning_curves(report.experiments[0]).canvas.draw()


def as_lines(records: list) -> bytes:
    return "".join(json.dumps(record, default=str, skipkeys=True) + "\n" for record in records).encode("utf-8")


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ("", "each record needs another value of epoch, or of C"),
        ("[1]\n", "a record: Input should be a valid dictionary"),
        ('{"epoch": 1, "valid_loss": NaN, "valid_WA": 0.5}\n', "valid_loss: Input should be a finite number"),
        ('{"epoch": 1, "valid_loss": 1.0}\n', "a record: it needs valid_WA or valid_CCC"),
        ('{"valid_loss": 1.0, "valid_WA": 0.5}\n', "each record needs another value of epoch, or of C"),
        (2 * '{"C": 1.0, "valid_loss": 1.0, "valid_WA": 0.5}\n', "each record needs another value of epoch, or of C"),
        ('{"C": 1.0, "valid_loss": 1.0, "valid_WA": 0.5\n', "Expecting ',' delimiter"),
    ],
)
def test_the_message_of_a_damaged_training_log_names_the_fault(tmp_path, log, fault):
    run = RunDirectory(tmp_path / "m", 1, 1)
    run.path.mkdir(parents=True)
    run.log.write_text(log)
    with pytest.raises(SoctkError) as error:
        logs.read(run)
    assert str(error.value).startswith(f"{run.log}: not a training log ({fault}")
    assert str(error.value).endswith("\nRemove the run's directory and train it again.")


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("u1\ts\ta\ta\t1\t0\t0\n", "not a table"),
        ("u1\ts\ta\ta\t1\t0\nu2\ts\ta\ta\t1\t0\t0\n", "not a table"),
        ("u1\ts\ta\n", "a row lacks one of the columns utt, spk, ref, hyp"),
        ("\ts\ta\ta\t1\t0\n", "a row lacks one of the columns utt, spk, ref, hyp"),
        ("u1\ts\ta\ta\t1\n", "a posterior is not a number"),
    ],
)
def test_rows_of_another_length_are_refused(tmp_path, rows, fault):
    path = tmp_path / "predictions.tsv"
    path.write_text(HEADER + rows)
    with pytest.raises(SoctkError) as error:
        prediction_file.read_run(path)
    assert str(error.value).startswith(f"{path}: {fault}")
