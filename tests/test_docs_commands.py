"""The shell commands and the Python code in the documents run without errors, or have valid options and paths.

Each page gets a copy of a checkout in which egs/mini has run, and its blocks run there in order, in one shell. The
shell starts in the root of the copy, or for the README of a recipe in the recipe's folder. Each block of the main
README runs in a new shell. The corpora are small: in the copy, egs/mini and egs/ravdess have another
local/prepare.py.

Every command is checked: the options of a recipe by the recipe's own parser, those of soctk-VERB by click. A command
that needs a corpus, an encoder, many cores or the network is only checked; `reason_not_to_run` says why.
"""

import ast
import configparser
import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import soundfile
import yaml
from conftest import ROOT
from docs_blocks import ALL_BLOCKS, Block, Command, commands_of, of_language
from moods import write_moods
from random_models import RATE, noise, random_bundle

from soctk.cli.plan import recipe_command
from soctk.corpus import datadir, folds
from soctk.errors import SoctkError
from soctk.inference import bundle
from soctk.training import recipe

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
SCRIPTS = dict(line.split(" = ") for line in CONFIG["options.entry_points"]["console_scripts"].strip().splitlines())
EXTRAS = set(CONFIG["options.extras_require"])
NEW_RECIPES = ("NAME", "moods", "mine")  # recipes that a reader creates on a page
CI_COMMANDS = ("bin/test", "bin/test-gpu", "bin/lint", "bin/docs", ".ci/run", ".venv/bin/ruff")

SH_BLOCKS = of_language("sh")
PREPARE = """
import shutil, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import conftest
conftest.EMOTIONS = {emotions!r}
work = Path(sys.argv[2]).resolve().with_name("made")
conftest.write_corpus(work, seed={seed})
shutil.copytree(work / "data", sys.argv[2], dirs_exist_ok=True)
"""


def start_of(page: str) -> Path:
    """Return the folder in which the commands of a page start, relative to the checkout."""
    folder = Path(page).parent
    return folder if folder.parent.name == "egs" else Path()


def is_recipe(command: Command) -> bool:
    return command.words[0].endswith("run.sh")


def reason_not_to_run(command: Command) -> str | None:
    """Return the reason why the tests cannot run a command; None if they can."""
    words = command.words
    if words[0] in CI_COMMANDS:
        return "CI runs it"
    if words[0] == "pip":
        return "needs the package index"
    if words[0] == "soctk-demo":
        return "serves a page until Ctrl-C"
    if "--vad" in words:
        return "needs speech, and the extra vad"
    if any(re.match("DIR|DATA|STORE|SWEEP", word) for word in words):
        return "needs a corpus or an encoder of the reader"
    if "--cluster" in words:
        return "tests/cli/test_cluster_commands.py runs such commands"
    if words[0] == "soctk-robustness":
        return "tests/cli/test_robustness.py runs such commands"
    if any(word.startswith("exp/tuned") for word in words):
        return "needs an encoder that can be fine-tuned"
    if "--nj" in words and int(words[words.index("--nj") + 1]) > 2:
        return "needs many cores"
    if is_recipe(command):
        upstream = words[words.index("--upstream") + 1] if "--upstream" in words else "fbank"
        if upstream not in ("fbank", "mfcc"):
            return "needs an encoder"
        if Path(words[0]).parent.name == "esd":
            return "needs ESD"
    return None


def check_command(command: Command, folder: Path, monkeypatch) -> Path:
    """Check a command without running it; return the working directory after it.

    Args:
        command: the command.
        folder: the working directory before it, relative to the checkout.
        monkeypatch: the fixture.

    Raises:
        AssertionError: the command is of an unknown kind, an option is wrong, or a file does not exist.
    """
    program, *arguments = command.words
    if is_recipe(command):
        check_recipe_options(folder / Path(program).parent, arguments, monkeypatch)
    elif program == "soctk-plan":
        check_recipe_options(folder / arguments[0], arguments[1:], monkeypatch)
    elif program in SCRIPTS:
        check_options(program, arguments, monkeypatch)
    elif program == "cd":
        folder = Path(os.path.normpath(folder / arguments[0]))
        assert recipe_folder(folder).is_dir()
    elif program == ".":
        assert (recipe_folder((folder / arguments[0]).parent) / "path.sh").is_file()
    elif program == "bin/setup":
        assert set(arguments) <= EXTRAS
    elif program in (*CI_COMMANDS, "bin/new-recipe"):
        assert program == ".venv/bin/ruff" or os.access(ROOT / program, os.X_OK)
    elif program == "pip":
        assert arguments[0] == "install"
        assert all(arg == "." or re.fullmatch(r"\.\[(\w+)\]", arg)[1] in EXTRAS for arg in arguments[1:])
    elif re.match(r"(extract|train)_cmd=\(", program):
        assert subprocess.run(["bash", "-n", "-c", command.text]).returncode == 0
        assert f"{program.split('=')[0]}=(env)" in (ROOT / "egs" / "mini" / "cmd.sh").read_text()
    elif program == "cat":
        content = "\n".join(command.text.splitlines()[1:-1])
        if arguments[-1].endswith(".py"):
            ast.parse(content)
        else:
            yaml.safe_load(content)
    elif program == "cp":
        assert arguments[0] == "-r"
        assert (ROOT / folder / arguments[1]).is_dir()
    elif program == "rm":
        assert all(arg == "-rf" or arg.startswith("egs/mine/") for arg in arguments)
    else:
        assert re.match(r"[A-Z]=", program), f"a command of an unknown kind: {command.text}"
    return folder


def recipe_folder(folder: Path) -> Path:
    """Return the path of a recipe's folder; recipes that a reader creates are represented by egs/TEMPLATE."""
    folder = Path(os.path.normpath(folder))
    return ROOT / "egs" / "TEMPLATE" if folder.name in NEW_RECIPES else ROOT / folder


def check_recipe_options(folder: Path, arguments: list[str], monkeypatch) -> None:
    """Check the options of run.sh with the recipe's own parser. Folders named DIR... are created first."""
    path = recipe_folder(folder)
    assert os.access(path / "run.sh", os.X_OK)
    for word in arguments:
        if word.startswith("DIR") and word.endswith(".yaml"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).write_text("kind: local\nworkers: 1\n")  # a cluster file
        elif word.startswith("DIR"):
            Path(word).mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):  # hides the output of --help
        recipe_command(recipe.read(path)).main(arguments, "run.sh", standalone_mode=False)


def check_options(program: str, arguments: list[str], monkeypatch) -> None:
    """Check the options of a soctk command with click; its files need not exist."""
    module, _, function = SCRIPTS[program].partition(":")
    command = getattr(importlib.import_module(module), function)
    for kind in (parameter.type for parameter in command.params):
        if isinstance(kind, click.Path):
            monkeypatch.setattr(kind, "exists", False)
    command.make_context(program, list(arguments))


PAGES_THAT_RUN = sorted(
    {
        block.page
        for block in SH_BLOCKS
        for command in commands_of(*(other for other in SH_BLOCKS if other.page == block.page))
        if (is_recipe(command) or command.words[0] in SCRIPTS) and reason_not_to_run(command) is None
    }
    # The page of egs/mini has the first command of README.md. The page of egs/ravdess needs the corpus; README.md runs
    # that recipe on a small one. test_own_corpus_page_leads_from_each_source_to_scores runs docs/own-corpus.md. Without
    # its soctk-robustness, docs/robustness.md has only commands that other pages have too.
    - {"egs/mini/README.md", "egs/ravdess/README.md", "docs/own-corpus.md", "docs/robustness.md"}
)


@pytest.mark.parametrize("block", SH_BLOCKS, ids=str)
def test_options_and_files_in_documents_exist(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = [other for other in SH_BLOCKS if other.page == block.page and other.line < block.line]
    before = [] if block.page == "README.md" else before
    commands, number_before = commands_of(*before, block), len(commands_of(*before))
    folder = start_of(block.page)
    for command in commands[:number_before]:
        if command.words[0] == "cd":
            folder = check_command(command, folder, monkeypatch)
    for command in commands[number_before:]:
        folder = check_command(command, folder, monkeypatch)


def test_every_block_is_of_a_known_language():
    assert {block.language for block in ALL_BLOCKS} == {"sh", "python", "text", "yaml"}


def test_wrong_commands_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in (
        "egs/mini/run.sh --poling mean",
        "egs/mini/run.sh --pooling maen",
        "egs/nothing/run.sh",
        "soctk-train data feats exp --learning-rate 1",
        "soctk-extract data feats --upstream fbank --layer four",
        "bin/setup everything",
        "cd egs/nothing",
        "make all",
    ):
        (command,) = commands_of(Block("README.md", 1, "sh", line))
        with pytest.raises((AssertionError, click.ClickException, SoctkError)):
            check_command(command, Path(), monkeypatch)


def make_checkout(path: Path) -> None:
    """Copy the checkout, with small corpora and one process per command; the copy uses the same .venv."""
    computed = shutil.ignore_patterns("__pycache__", "corpus", "downloads", "data", "feats", "exp", "sweep")
    for name in ("egs", "conf", "bin"):
        shutil.copytree(ROOT / name, path / name, ignore=computed)
    (path / ".venv").symlink_to(ROOT / ".venv")
    (path / "bin" / "setup").write_text("#!/bin/sh\n")
    for name in ("mini", "ravdess", "TEMPLATE"):
        with (path / "egs" / name / "conf" / "recipe.yaml").open("a") as settings:
            settings.write("defaults: {nj: 1}\n")
    emotions_of = {"mini": ("neutral", "happy", "sad"), "ravdess": ("Neutral", "Happy", "Sad")}
    for seed, (name, emotions) in enumerate(emotions_of.items()):
        script = PREPARE.format(tests=str(ROOT / "tests"), emotions=emotions, seed=seed)
        (path / "egs" / name / "local" / "prepare.py").write_text(script)
    (path / "egs" / "ravdess" / "local" / "download.py").write_text("")


def follow(blocks: list[Block], checkout: Path, home: Path) -> str:
    """Run the commands of some blocks of one page in one shell; return their standard output."""
    start = start_of(blocks[0].page)
    folder, lines = start, [f"cd {shlex.quote(str(checkout / start))}"]
    for command in commands_of(*blocks):
        if command.words[0] == "cd":
            folder = Path(os.path.normpath(folder / command.words[1]))
        is_first = [os.path.normpath(folder / command.words[0]), *command.words[1:]] == ["egs/mini/run.sh"]
        has_run = is_first and (checkout / "egs" / "mini" / "exp" / "RESULTS.md").is_file()
        if reason_not_to_run(command) is None and not has_run:
            lines.append(command.text)
    environment = {**os.environ, "HOME": str(home)}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home directory with the corpora of README.md and docs/own-corpus.md, and recordings for docs/use-a-model.md."""
    home = tmp_path_factory.mktemp("home")
    write_moods(home)
    (home / "clips").mkdir()
    for name, seconds in (("clip.wav", 1.0), ("call.wav", 4.0), ("clips/one.flac", 1.0), ("clips/two.ogg", 1.5)):
        soundfile.write(home / name, noise(seconds).T, RATE)
    return home


@pytest.fixture(scope="module")
def first_checkout(tmp_path_factory, home) -> Path:
    """A checkout in which the first block of README.md has run: egs/mini/run.sh."""
    checkout = tmp_path_factory.mktemp("a folder") / "first"
    make_checkout(checkout)
    follow([SH_BLOCKS[0]], checkout, home)
    return checkout


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_THAT_RUN)
def test_commands_run(page, first_checkout, home, tmp_path):
    checkout = tmp_path / "a checkout"
    shutil.copytree(first_checkout, checkout, symlinks=True)
    blocks = [block for block in SH_BLOCKS[1:] if block.page == page]
    for group in [[block] for block in blocks] if page == "README.md" else [blocks]:
        follow(group, checkout, home)
    made = {
        "README.md": ["egs/ravdess/exp/RESULTS.md", "egs/NAME/exp/RESULTS.md", "egs/mine/local/prepare.py"],
        "docs/scoring.md": ["egs/mini/exp/figures", "egs/mini/exp/report.html"],
        "docs/across-corpora.md": ["exp/cross/CROSS.md"],
        "docs/encoders.md": [
            "egs/mini/feats/log_mel/index.tsv",
            "egs/mini/feats/fbank-sp0.9-1.1/index.tsv",
            "egs/mini/feats/fbank-parts/index.tsv",
        ],
        "docs/poolings.md": ["egs/mini/sweep/sweep.tsv"],
        "docs/use-a-model.md": ["egs/mini/emotions.tsv", "egs/mini/call.TextGrid"],
        "docs/recipes.md": ["egs/mini/exp/fbank-mean-linear/log/train.log"],
    }
    for path in made.get(page, []):
        assert (checkout / path).exists()


@pytest.mark.slow
def test_own_corpus_page_leads_from_each_source_to_scores(tmp_path, home):
    page, checkout = "docs/own-corpus.md", tmp_path / "a checkout"
    make_checkout(checkout)
    blocks = [block for block in SH_BLOCKS if block.page == page]
    guide, rest = blocks[:5], blocks[5:]
    output = follow(guide, checkout, home)
    assert "data/moods: 54 utterances, 0.01 h, 6 speakers, 5 folds; Happy 18, Sad 18, Neutral 18" in output
    folder = checkout / "egs" / "moods"
    data = datadir.read(folder / "data" / "moods")
    assert data.fold == folds.read(folder / "conf" / "folds.yaml")
    assert data.gender["Ida_Lee"] == "f"
    scores = json.loads((folder / "exp" / "scores.json").read_text())["experiments"]["fbank-mean-linear"]
    assert len(scores["runs"]) == 5
    assert scores["over_folds"]["UA"]["mean"] > 90

    follow_here = [Block(page, 0, "sh", "cd egs/moods\n. ./path.sh\n")]
    sources = [command for command in commands_of(*rest) if command.words[0] == "soctk-import"]
    assert len(sources) == 5
    for number, command in enumerate(sources):
        shutil.rmtree(folder / "data" / "moods")
        follow([*follow_here, Block(page, 0, "sh", command.text)], checkout, home)
        data = datadir.read(folder / "data" / "moods")
        assert len(data.wav) == (54 if number < 2 else 72)  # the last three have no label map
        assert set(data.speaker.values()) == {"mara", "otto", "Ida_Lee", "finn", "0042", "lou"}
        if number == 3:
            assert data.fold == {"mara": 1, "otto": 2, "Ida_Lee": 3, "finn": 1, "0042": 2, "lou": 3}

    text = "\n".join(command.text for command in commands_of(*rest) if command not in sources)
    follow([*follow_here, Block(page, 0, "sh", text)], checkout, home)
    assert (folder / "exported" / "moods" / "moods.jsonl").is_file()
    assert (folder / "exported" / "kaldi" / "spk2utt").is_file()


@pytest.mark.slow
def test_slurm_lines_of_cmd_sh_run_extraction_and_training_by_srun(tmp_path):
    checkout, program = tmp_path / "checkout", tmp_path / "bin" / "srun"
    make_checkout(checkout)
    (lines,) = [block.text for block in SH_BLOCKS if block.page == "egs/README.md" and "srun" in block.text]
    (checkout / "egs" / "mini" / "cmd.sh").write_text(lines)
    program.parent.mkdir()
    program.write_text('#!/bin/bash\necho "srun $*"\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    program.chmod(0o755)
    result = subprocess.run(
        [checkout / "egs" / "mini" / "run.sh", "--stop-stage", "2", "--pooling", "mean"],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "srun --gres=gpu:1 --cpus-per-task=4 soctk-extract data/mini feats/fbank " in result.stdout
    assert "srun --cpus-per-task=8 soctk-train data/mini feats/fbank exp/fbank-mean-linear " in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in of_language("python")}))
def test_python_code_runs(page, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    bundle.write(tmp_path / "model", random_bundle())
    for name, seconds in (("clip.wav", 1.0), ("call.wav", 4.0)):
        soundfile.write(tmp_path / name, noise(seconds).T, RATE)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in (block for block in of_language("python") if block.page == page):
        exec(compile(block.text, str(block), "exec"), names)
        if shape := re.search(r"^descriptors = .*# (\([\d, ]+\))", block.text, flags=re.MULTILINE):
            assert str(tuple(names["descriptors"].shape)) == shape[1]
