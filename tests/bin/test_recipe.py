"""bin/recipe.sh in a minimal recipe, where scripts that print their arguments replace the commands of the stages."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, accept_interrupts

RUN = f"""#!/usr/bin/env bash
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
SOCTK_ROOT="{ROOT}" PATH="$recipe/commands:{ROOT}/.venv/bin:$PATH"
extract_cmd=(env WHERE=cluster) train_cmd=(env)
prepare_data() {{
    printf '<%s>' prepare_data "$corpus" "$data" "$PWD"
    echo
    local/prepare
    echo "the rest of stage 0"
}}
. "$SOCTK_ROOT/bin/recipe.sh"
"""
COMMAND = """#!/usr/bin/env bash
printf '<%s>' "${0##*/}" "$@" "${WHERE-here}"
echo
"""
PATH_FILES = sorted(ROOT.glob("egs/*/path.sh"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """The recipe's folder; its name has a space."""
    folder = tmp_path / "my recipe"
    write(folder / "run.sh", RUN)
    write(folder / "local" / "prepare", "#!/bin/sh\n")
    (folder / "conf").mkdir()
    (folder / "conf" / "recipe.yaml").write_text("corpus: {download: the net}\ndefaults: {pooling: mean}\n")
    for name in ("soctk-validate", "soctk-extract", "soctk-train", "soctk-score", "soctk-pack", "soctk-robustness"):
        write(folder / "commands" / name, COMMAND)
    return folder


@pytest.fixture
def run(folder):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([folder / "run.sh", *arguments], cwd=folder.parent, capture_output=True, text=True)

    return run


def write(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def stages(result) -> list[int]:
    return [int(line.split("Stage ")[1][0]) for line in result.stdout.splitlines() if "Stage " in line]


def test_each_stage_prints_its_input_output_and_log_and_runs_its_command(run, folder):
    result = run("--corpus", "my recipe", "--device", "cpu")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line if line.startswith("<") else line.partition(" ")[2] for line in result.stdout.splitlines()]
    work = "<--nj><2><--device><cpu>"
    assert lines == [
        f"Stage 0: data: {folder} -> data/my recipe (log: data/my recipe/log/prepare.log)",
        f"<prepare_data><{folder}><data/my recipe><{folder}>",
        "rest of stage 0",
        "<soctk-validate><data/my recipe><here>",
        "Stage 1: features: data/my recipe -> feats/fbank (log: feats/fbank/log/extract.log)",
        f"<soctk-extract><data/my recipe><feats/fbank><--upstream><fbank><--conf><conf><--layer><all>{work}<cluster>",
        "Stage 2: train: feats/fbank -> exp/fbank-mean-linear (log: exp/fbank-mean-linear/log/train.log)",
        "<soctk-train><data/my recipe><feats/fbank><exp/fbank-mean-linear><--conf><conf><--preset><default>"
        "<--pooling><mean><--head><linear><--layer><all><--combine><concat><--recentre><none><--enrol><all>"
        f"<--protocol><soctk><--seeds><1>{work}<here>",
        "Stage 3: score: exp -> exp/RESULTS.md (log: exp/log/score.log)",
        "<soctk-score><exp><here>",
    ]


def test_stage_4_packs_the_experiment(run):
    result = run("--stage", "4", "--device", "cpu")
    assert (result.returncode, result.stderr) == (0, "")
    experiment = "exp/fbank-mean-linear"
    first, second = result.stdout.splitlines()
    assert first.endswith(f" Stage 4: pack: {experiment} -> {experiment}/model (log: {experiment}/log/pack.log)")
    assert second == f"<soctk-pack><{experiment}><{experiment}/model><--nj><2><--device><cpu><here>"


def test_stage_5_tests_the_robustness_of_the_experiment(run):
    result = run("--stage", "5", "--device", "cpu")
    assert (result.returncode, result.stderr) == (0, "")
    experiment = "exp/fbank-mean-linear"
    first, second = result.stdout.splitlines()
    log = f"{experiment}/log/robustness.log"
    assert first.endswith(f" Stage 5: robustness: {experiment} -> {experiment}/robustness (log: {log})")
    assert second == f"<soctk-robustness><{experiment}><--nj><2><--device><cpu><here>"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--stage", "1", "--stop-stage", "2"], [1, 2]),
        (["--stop_stage=0"], [0]),
        (["--stage", "3", "--stop-stage", "4"], [3, 4]),
        (["--stage", "4"], [4]),
    ],
)
def test_only_the_selected_stages_run(run, arguments, expected):
    result = run(*arguments)
    assert result.returncode == 0
    assert stages(result) == expected


def test_a_wrong_option_stops_the_recipe_before_any_work(run, folder):
    before = sorted(folder.rglob("*"))
    result = run("--pooling", "maen")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: --pooling maen: unknown pooling 'maen'\nDid you mean 'mean'?")
    result = run("--poolin", "mean")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: run.sh [OPTIONS]\nTry 'run.sh --help' for help.\n")
    assert sorted(folder.rglob("*")) == before


def test_help_describes_run_sh_and_runs_no_stage(run, folder):
    result = run("--help", "--stage", "9")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: run.sh [OPTIONS]\n\n  Run the recipe my recipe.")
    assert "[default: mean]" in result.stdout
    assert not (folder / "data").exists()


def test_the_shell_does_not_evaluate_values_of_options(run, folder, tmp_path):
    tag = "a b; $(touch evil) `touch evil` = --x"
    result = run("--stage", "2", "--stop-stage", "2", "--tag", tag, "--train-args", "--set 'head.C=[0.1, 1]'")
    assert f"<exp/fbank-mean-linear-{tag}>" in result.stdout
    assert "<--set><head.C=[0.1, 1]>" in result.stdout
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.slow
def test_the_output_of_a_stage_is_logged_and_a_rerun_appends(run, folder):
    write(folder / "commands" / "soctk-score", "#!/bin/sh\necho a table\necho a warning >&2\n")
    first, second = run("--stage", "3"), run("--stage", "3")
    assert first.stdout.splitlines()[1:] == ["a table", "a warning"]
    dates_and_lines = (folder / "exp" / "log" / "score.log").read_text().splitlines()
    assert [line for line in dates_and_lines if not line.startswith("# 20")] == (
        first.stdout + second.stdout
    ).splitlines()
    assert len(dates_and_lines) == 8


def test_a_failed_stage_shows_its_error_and_then_the_path_of_its_log(run, folder):
    write(folder / "commands" / "soctk-extract", "#!/bin/sh\necho 'Error: no audio' >&2\nexit 7\n")
    result = run()
    assert result.returncode == 7
    assert stages(result) == [0, 1]
    assert result.stdout.endswith("\nError: no audio\n")
    log = folder / "feats" / "fbank" / "log" / "extract.log"
    assert result.stderr == f"run.sh: stage 1 failed with exit code 7; log: {log}\n"
    assert log.read_text().endswith("\nError: no audio\n")


def test_stage_0_ends_at_the_first_command_that_fails(run, folder):
    write(folder / "local" / "prepare", "#!/bin/sh\nexit 3\n")
    result = run()
    assert result.returncode == 3
    assert "the rest of stage 0" not in result.stdout
    assert "soctk-validate" not in result.stdout


@pytest.mark.slow
def test_ctrl_c_ends_the_recipe(run, folder):
    sleep = "#!/usr/bin/env python\nimport sys, time\ntry:\n    print('sleeping', flush=True)\n    time.sleep(60)\n"
    write(
        folder / "commands" / "soctk-train",
        f"{sleep}except KeyboardInterrupt:\n    print('interrupted')\n    sys.exit(130)\n",
    )
    command = [folder / "run.sh", "--stage", "2"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, process_group=0, preexec_fn=accept_interrupts
    )
    while process.stdout.readline() != "sleeping\n":
        pass
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode in (130, -signal.SIGINT)  # a shell shows both as 130
    assert time.monotonic() - started < 2
    assert output == "interrupted\n"
    assert "Stage 3" not in output


@pytest.mark.parametrize("file", PATH_FILES, ids=lambda path: path.parent.name)
def test_path_sh_sets_its_own_toolkit_and_ignores_the_environment(file):
    code = '. "$1"; echo "$SOCTK_ROOT" "${PATH%%:*}"'
    environment = {**os.environ, "SOCTK_ROOT": "/another/checkout"}
    output = subprocess.check_output(["bash", "-c", code, "bash", file], env=environment, text=True)
    assert output == f"{ROOT} {ROOT}/.venv/bin\n"


def test_esd_has_options_and_a_protocol_of_its_own():
    run = [ROOT / "egs" / "esd" / "run.sh"]
    result = subprocess.run([*run, "--protocol", "cross-lingual", "--language", "en"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "--protocol cross-lingual: works only with --language all, not with --language en\n" in result.stderr
    result = subprocess.run([*run, "--protocol", "cross"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "'cross' is not one of 'soctk', 'emobox', 'cross-lingual'" in result.stderr
