import itertools
import os
import re
import subprocess
import sys
from importlib import metadata
from importlib.metadata import entry_points
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import ROOT, run_python, write_corpus, write_run

from soctk.corpus import datadir
from soctk.pooling import POOLINGS

COMMANDS = {entry.name: entry for entry in entry_points(group="console_scripts") if entry.name.startswith("soctk-")}
CONF = str(ROOT / "conf")


def invoke(command: str, *arguments: object):
    return CliRunner().invoke(COMMANDS[command].load(), [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_and_its_default(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    for parameter in COMMANDS[command].load().params:
        name = parameter.human_readable_name if parameter.param_type_name == "argument" else parameter.opts[0]
        assert name in result.output
        default = parameter.default
        if default is True:
            default = parameter.opts[0].lstrip("-")
        if isinstance(default, (str, int)) and default != "":
            assert f"[default: {default}" in " ".join(result.output.split())


@pytest.mark.parametrize("command", ["soctk-train", "soctk-cross"])
def test_help_names_every_pooling(command):
    (pooling,) = (parameter for parameter in COMMANDS[command].load().params if parameter.name == "pooling")
    assert pooling.help.startswith(f"{', '.join(POOLINGS)}, or several of them joined by +.")


@pytest.mark.parametrize("command", COMMANDS)
def test_version_equals_the_version_of_the_package(command):
    assert invoke(command, "--version").output == f"soctk {metadata.version('soctk')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_exits_with_2(command):
    assert invoke(command, "--no-such-option").exit_code == 2
    assert invoke(command).exit_code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_takes_one_value_is_refused_twice(command):
    for parameter in COMMANDS[command].load().params:
        if isinstance(parameter, click.Option) and parameter.name not in ("help", "version"):
            once = [parameter.opts[0], *([] if parameter.is_flag else ["1"] * parameter.nargs)]
            result = invoke(command, *once, *once)
            assert result.exit_code == 2
            assert ("is given 2 times. Give it once" in result.output) != parameter.multiple, parameter.opts


def test_a_flag_and_its_opposite_are_refused_and_a_list_is_given_once():
    output = invoke("soctk-plot", "exp", "--descriptors", "--no-descriptors").output
    assert "Error: --descriptors/--no-descriptors is given 2 times. Give it once.\n" in output
    output = invoke("soctk-train", "data", "feats", "exp", "--layer", "2", "--layer=3").output
    assert output.endswith(
        'Error: --layer is given 2 times. Give it once, with all values in one argument, such as --layer "3 4".\n'
    )
    assert invoke("soctk-train", "--help", "--help").exit_code == 0


@pytest.mark.parametrize(
    "arguments", [["--layer", "first"], ["--layer", "-1"], ["--nj", "0"], ["--dtype", "int8"], ["--job", "2"]]
)
def test_options_of_extract_are_checked(arguments):
    assert invoke("soctk-extract", "data", "feats", "--upstream", "fbank", *arguments).exit_code == 2


@pytest.mark.parametrize("speeds", ["1", "0.9 1.0", "0.4", "2.1", "nan", "fast", "0.9 0.90"])
def test_speeds_are_checked(speeds):
    result = invoke("soctk-extract", "data", "feats", "--upstream", "fbank", "--speed-perturb", speeds)
    assert result.exit_code == 2
    assert f"'{speeds}' is not a list of different speeds from 0.5 to 2, other than 1" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--folds", "one"],
        ["--folds", "1 1"],
        ["--seeds", "1.5"],
        ["--seeds", "-1"],
        ["--seeds", "1 2 1"],
        ["--seeds", ""],
        ["--seeds", "4294967296"],
        ["--protocol", "none"],
        ["--enrol", "five"],
    ],
)
def test_options_of_train_are_checked(arguments):
    assert invoke("soctk-train", "d", "f", "e", "--pooling", "mean", "--conf", CONF, *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("soctk-validate", ["nowhere"]),
        ("soctk-extract", ["nowhere", "feats", "--upstream", "fbank"]),
        ("soctk-train", ["nowhere", "feats", "exp", "--pooling", "mean", "--conf", CONF]),
        ("soctk-verify", ["nowhere"]),
        ("soctk-score", ["nowhere"]),
        ("soctk-export", ["nowhere", "target", "--format", "kaldi"]),
        ("soctk-plot", ["nowhere"]),
        ("soctk-report", ["nowhere"]),
    ],
)
def test_an_error_that_a_user_can_correct_gives_one_message_and_exit_code_1(command, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(command, *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: nowhere: ")
    assert "Traceback" not in result.output
    assert list(Path.cwd().iterdir()) == []


def test_a_store_is_filled_in_parts_and_verification_names_a_damaged_shard(tmp_path, corpus):
    data, store = tmp_path / "data", tmp_path / "feats"
    parts = [invoke("soctk-extract", data, store, "--upstream", "fbank", "--nj", 2, "--job", job) for job in (1, 2)]
    assert parts[0].exit_code == 0, parts[0].output
    assert f"{store}: 0.00 h of audio, frames of 240 values in float16, layers 0: " in parts[0].output
    assert "utterances left to other parts; all parts must be done" in parts[0].output
    assert "other parts" not in parts[1].output
    assert "real-time factor" in parts[1].output
    assert invoke("soctk-verify", store).output == f"{store}: intact, 36 utterances\n"
    (shard, _) = sorted(store.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    damaged = invoke("soctk-verify", store)
    assert damaged.exit_code == 1
    assert f"{shard.name}: damaged (its checksum is wrong)\nRemove the files" in damaged.output
    shard.unlink()
    again = invoke("soctk-extract", data, store, "--upstream", "fbank").output
    assert 0 < int(re.search(r"36 utterances, (\d+) of them extracted now", again)[1]) < 36
    assert invoke("soctk-verify", store).exit_code == 0


def test_check_exits_with_1_only_if_a_result_would_change(tmp_path, corpus):
    samples, rate = soundfile.read(corpus.wav["spk0-sad-0"])
    soundfile.write(corpus.wav["spk0-sad-0"], np.stack([samples, samples], 1), rate)
    result = invoke("soctk-check", tmp_path / "data")
    assert result.exit_code == 0
    assert re.search(r"several channels \(channel 1 is used\) +1  no\n", result.output)
    assert "\nseveral channels (channel 1 is used):\n  spk0-sad-0 (2)\n" in result.output
    corpus.wav["spk0-sad-0"].write_text("no sound")
    result = invoke("soctk-check", tmp_path / "data")
    assert result.exit_code == 1
    assert "not audio:\n  spk0-sad-0: " in result.output


def test_check_tells_what_trivial_classifiers_tell_and_the_results_show_it(tmp_path, corpus):
    """The tones of the corpus are as loud in each emotion; here the angry ones are half as loud."""
    for utt, name in corpus.emotion.items():
        samples, rate = soundfile.read(corpus.wav[utt])
        soundfile.write(corpus.wav[utt], samples / 4 if name == "angry" else samples / 2, rate)
    data, store, exp = tmp_path / "data", tmp_path / "feats", tmp_path / "exp"
    invoke("soctk-extract", data, store, "--upstream", "mfcc")
    invoke("soctk-train", data, store, exp / "m", "--pooling", "mean")
    invoke("soctk-score", exp)
    before = (exp / "RESULTS.md").read_text()
    assert "The scores of trivial classifiers on the corpus data are not known for its present labels" in before
    assert f"soctk-check .../{data.name}" in before
    result = invoke("soctk-check", data)
    assert result.exit_code == 0
    assert re.search(r"recording level +\d\d\.\d\d .* yes\n", result.output)
    assert "\nRecording level alone tells emotions here: UA " in result.output
    assert "\nEqual in all utterances: bandwidth and sample rate, silence at the ends." in result.output
    assert f"Written to {data}/cues.json, for soctk-score and soctk-report." in result.output.replace("\n", " ")
    invoke("soctk-score", exp)
    after = (exp / "RESULTS.md").read_text()
    assert "Recording level alone tells emotions here: UA " in after
    assert re.search(r"\| experiment with the highest UA: m +\| +\d", after)
    assert re.search(r"Gain over chance in UA: \d+\.\d points by .* [-\d.]+ points by the experiment m\.", after)
    invoke("soctk-report", exp, "--no-descriptors")
    assert "<h3>What trivial classifiers tell</h3>" in (exp / "report.html").read_text()


def test_check_says_why_there_are_no_trivial_classifiers_or_why_they_are_not_kept(tmp_path, corpus):
    (tmp_path / "data" / "cues.json").mkdir()
    text = invoke("soctk-check", tmp_path / "data").output.replace("\n", " ")
    assert "Not written for soctk-score and soctk-report: " in text
    corpus.wav["spk0-sad-0"].write_text("no sound")
    text = invoke("soctk-check", tmp_path / "data").output
    assert (
        "No trivial classifiers: they need all recordings. Correct the errors above, and run soctk-check again." in text
    )


def test_a_link_in_the_place_of_a_lock_is_not_followed_and_the_message_says_so(tmp_path, corpus):
    data, store, exp = tmp_path / "data", tmp_path / "feats", tmp_path / "exp"
    assert invoke("soctk-extract", data, store, "--upstream", "mfcc").exit_code == 0
    exp.mkdir()
    (exp / ".lock").symlink_to(tmp_path / "victim")
    result = invoke("soctk-train", data, store, exp, "--pooling", "mean")
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {exp / '.lock'}: Too many levels of symbolic links\n"
        "It is a symbolic link, and soctk follows no links where it writes: remove the link.\n"
    )
    assert not (tmp_path / "victim").exists()


def test_an_error_of_the_operating_system_gives_one_message(tmp_path, corpus):
    (tmp_path / "feats").write_text("a file where a directory should be")
    result = invoke("soctk-extract", tmp_path / "data", tmp_path / "feats" / "below", "--upstream", "fbank")
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {tmp_path / 'feats'}")
    assert result.output.endswith(
        ": Not a directory\nCheck the path, its permissions, and the space left on the disk.\n"
    )


def test_a_missing_gpu_is_reported(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke("soctk-extract", tmp_path / "data", tmp_path / "feats", "--upstream", "fbank", "--device", "cuda")
    assert result.exit_code == 1
    assert result.output == "Error: --device cuda: torch finds no GPU\nUse --device cpu or --device auto.\n"


def test_from_a_data_directory_to_a_table(tmp_path, corpus):
    data, feats, exp = tmp_path / "data", tmp_path / "feats", tmp_path / "exp"
    result = invoke("soctk-validate", data)
    assert result.output.startswith(f"{data}: 36 utterances")
    result = invoke("soctk-extract", data, feats, "--upstream", "mfcc")
    assert f"{feats}: 36 utterances, 36 of them extracted now\n" in result.output
    train = [
        "soctk-train",
        data,
        feats,
        exp / "mfcc-mean",
        "--pooling",
        "mean",
        "--head",
        "mlp",
        "--set",
        "train.epochs=3",
    ]
    result = invoke(*train, "--seeds", "1 2", "--nj", 2)
    assert result.output.endswith(f"{exp / 'mfcc-mean'}: 3 folds x 2 seeds, 6 of 6 trained now\n")
    assert invoke(*train, "--seeds", "1 2").output.endswith("0 of 6 trained now\n")
    result = invoke("soctk-score", exp)
    assert result.exit_code == 0
    assert "mean ± sd over folds" in result.output
    assert "no data directory" not in result.output
    assert "| sex " in (exp / "RESULTS.md").read_text()
    result = invoke("soctk-plot", exp)
    names = ["WA", *(f"mfcc-mean-{kind}" for kind in ("confusion", "speakers", "curves", "t-sne"))]
    assert result.output.splitlines() == [str(exp / "figures" / f"{name}.png") for name in names]
    result = invoke("soctk-report", exp, "-o", tmp_path / "report.html", "--no-descriptors")
    suspects = tmp_path / "report-suspect_labels.tsv"
    assert result.output == f"Written to {tmp_path / 'report.html'} and {suspects}\n"
    assert (tmp_path / "report.html").read_text().count("<img") == 4


def test_a_closed_output_pipe_is_no_error(tmp_path, corpus):
    command = f"soctk-validate '{tmp_path / 'data'}' | true"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert result.stderr == ""


def test_recordings_are_imported_by_their_names_and_exported(tmp_path, corpus):
    recordings = tmp_path / "recordings of the corpus"
    labels = tmp_path / "labels.yaml"
    labels.write_text("calm: Neutral\nangry: Angry\nsad: null\n")
    result = invoke(
        "soctk-import", recordings, tmp_path / "new", "--pattern", "{speaker}-{emotion}-{n}.wav", "--labels", labels
    )
    assert result.output.splitlines() == [
        f"rows: 36 in {recordings} = 24 utterances + 12 with the label 'sad', dropped by {labels}",
        "Note: fields of --pattern that are not kept: n (a field with another name of two or more letters is kept)",
        f"{tmp_path / 'new'}: 24 utterances, 0.00 h, 6 speakers, 5 folds; Neutral 12, Angry 12",
        f"folds: {tmp_path / 'new' / 'folds.yaml'} (made now)",
    ]
    for form, file in (("emobox", "theirs.jsonl"), ("kaldi", "spk2utt")):
        result = invoke("soctk-export", tmp_path / "new", tmp_path / form / "theirs", "--format", form)
        assert result.exit_code == 0
        assert (tmp_path / form / "theirs" / file).is_file()


def test_the_remedies_for_a_number_that_names_two_people_work(tmp_path):
    for sex, number, emotion in itertools.product("FM", "123", ("sad", "glad")):
        path = tmp_path / "recordings" / f"{emotion}_S{sex}{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.random.default_rng(len(list(path.parent.iterdir()))).uniform(-0.5, 0.5, 1600), 16000)
    pattern = ["--pattern", "{emotion}_S{sex:1}{number}.wav"]
    command = ["soctk-import", tmp_path / "recordings", tmp_path / "data", *pattern]
    result = invoke(*command, "--column", "speaker=number")
    assert result.exit_code == 1
    assert "3 of 3 speakers have two sexes\n" in result.output
    advice = "--column speaker=sex --column speaker=number"
    assert advice in result.output
    assert invoke(*command, *advice.split()).exit_code == 0
    data = datadir.read(tmp_path / "data")
    assert data.gender == {f"{sex}-{number}": sex.lower() for sex in "FM" for number in "123"}
    command = ["soctk-import", tmp_path / "recordings", tmp_path / "other", *pattern]
    assert invoke(*command, "--column", "speaker=number", "--column", "sex=").exit_code == 0
    assert datadir.read(tmp_path / "other").gender == {}


def test_times_in_a_longer_recording_can_be_ignored(tmp_path, corpus):
    lines = [f"{path},{corpus.emotion[utt]},{corpus.speaker[utt]},61.5,0:01:02.5,x" for utt, path in corpus.wav.items()]
    (tmp_path / "l.csv").write_text("\n".join(["path,emotion,speaker,Start_Time,EndTime,n", *lines]))
    command = ["soctk-import", tmp_path / "l.csv", tmp_path / "new"]
    result = invoke(*command)
    assert result.exit_code == 1
    options = ["--column", "start=", "--column", "end="]
    assert f"ignore them: soctk-import {' '.join(options)}." in result.output
    result = invoke(*command, *options)
    assert result.exit_code == 0
    assert "Note: columns that are not used: Start_Time, EndTime, n" in result.output.splitlines()


@pytest.mark.parametrize("column", ["emotion", "mood=x", "=x"])
def test_columns_of_import_are_checked(tmp_path, column):
    (tmp_path / "labels.csv").write_text("path\n")
    result = invoke("soctk-import", tmp_path / "labels.csv", tmp_path / "data", "--column", column)
    assert result.exit_code == 2
    assert (
        f"'{column}' is not KIND=NAME with a KIND of path, emotion, speaker, sex, fold, utterance-fold, split, "
        in result.output
    )


def write_experiments(tmp_path) -> None:
    for name, pairs in (("a", "aa bb"), ("b", "aa ba")):
        write_run(tmp_path / "exp" / name / "fold1" / "seed1", pairs)


@pytest.mark.parametrize(
    ("style", "start"),
    [
        ("text", "experiment      runs"),
        ("md", "# Results\n\nWritten by `"),
        ("tsv", "experiment\tprotocol\thead\tis_recentred\tspeaker_overlap\tfolds"),
        ("json", '{\n  "experiments": {\n    "a": {\n      "protocol": "unknown"'),
        ("latex", "\\begin{tabular}{lrrrrr}\n\\toprule"),
    ],
)
def test_score_prints_in_any_format_and_writes_the_same_report(style, start, tmp_path):
    write_experiments(tmp_path)
    result = invoke("soctk-score", tmp_path / "exp", "--compare", "--format", style)
    assert result.output.startswith(start)
    assert {path.name for path in (tmp_path / "exp").iterdir()} == {"a", "b", "RESULTS.md", "scores.json"}


def test_scores_of_several_directories_are_written_only_with_output(tmp_path):
    write_experiments(tmp_path)
    exps = [tmp_path / "exp" / "a", tmp_path / "exp" / "b"]
    assert "RESULTS.md is not written: with several EXP, give --output DIR." in invoke("soctk-score", *exps).output
    assert not list(tmp_path.rglob("RESULTS.md"))
    invoke("soctk-score", *exps, "--output", tmp_path / "report")
    assert (tmp_path / "report" / "RESULTS.md").is_file()


def test_no_report_is_written_for_refused_predictions(tmp_path):
    write_run(tmp_path / "exp" / "a" / "fold1" / "seed1", "aa bb", ["s1-u1", "s1-u2"])
    write_run(tmp_path / "exp" / "a" / "fold2" / "seed1", "aa bb", ["s1-u3", "s2-u1"])
    result = invoke("soctk-score", tmp_path / "exp")
    assert result.exit_code == 1
    assert "s1 is tested in folds 1 and 2" in result.output
    assert not list(tmp_path.rglob("RESULTS.md"))


@pytest.mark.parametrize("command", ["soctk-score", "soctk-validate"])
def test_score_and_validate_do_not_import_the_heavy_packages(command, tmp_path, corpus):
    """Run the whole command in a process of its own."""
    (tmp_path / "exp" / "m" / "fold1" / "seed1").mkdir(parents=True)
    predictions = "utt\tspk\tref\thyp\ta\nu1\ts\ta\ta\t1\n"
    (tmp_path / "exp" / "m" / "fold1" / "seed1" / "predictions.tsv").write_text(predictions)
    entry = COMMANDS[command]
    argument = tmp_path / ("exp" if command == "soctk-score" else "data")
    code = f"""
import sys
from {entry.module} import main
main([{str(argument)!r}], standalone_mode=False)
print("HEAVY", {{"torch", "torchaudio", "s3prl", "transformers"}} & sys.modules.keys())
"""
    process = run_python(code, stdout=subprocess.PIPE)
    assert "HEAVY set()" in process.communicate()[0]


def test_the_modules_of_commands_do_not_import_the_heavy_packages():
    for command in COMMANDS.values():
        code = f"import sys, {command.module}; print(sys.modules.keys() & {{'torch', 'pandas', 'sklearn', 'pydantic'}})"
        assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_cross_writes_a_matrix_of_training_and_test_corpora(tmp_path):
    (tmp_path / "labels.yaml").write_text("calm: Neutral\nangry: Angry\n")
    options = []
    for seed, name in enumerate(("one", "two")):
        write_corpus(tmp_path / name, seed=seed)
        (tmp_path / name / "data").rename(tmp_path / name / name)
        data, store = tmp_path / name / name, tmp_path / name / "feats"
        assert invoke("soctk-extract", data, store, "--upstream", "mfcc").exit_code == 0
        options += ["--corpus", data, store, tmp_path / "labels.yaml"]
    command = ["soctk-cross", tmp_path / "exp", *options, "--pooling", "mean", "--conf", CONF]
    result = invoke(*command, "--train", "one", "--test", "two")
    assert result.exit_code == 0, result.output
    assert "one: 24 utterances, dropped: sad 12\ntwo: 24 utterances, dropped: sad 12\n" in result.output
    assert "trained on one, tested on two: UA " in result.output
    assert (tmp_path / "exp" / "CROSS.md").is_file()
    assert invoke("soctk-score", tmp_path / "exp").exit_code == 0
    assert invoke(*command, "--train", "one", "--test", "one").exit_code == 0
    result = invoke("soctk-score", tmp_path / "exp")
    assert result.exit_code == 0, result.output
    result = invoke(*command, "--train", "onne")
    assert result.output.startswith("Error: --train, --test: unknown corpus 'onne'\nDid you mean 'one'?")
    assert invoke(*command[:6], *command[-4:]).exit_code == 2
    folds = tmp_path / "two" / "two" / "spk2fold"
    folds.write_text(folds.read_text().replace(" 3\n", " 2\n"))
    command[1] = tmp_path / "other"
    result = invoke(*command)  # two-to-two is the last pair, but it is checked before the first one is trained
    assert "trained on two, tested on two: 2 folds are too few" in result.output
    assert not (tmp_path / "other").exists()
