"""A recipe for a corpus that no recipe knows: egs/README.md word for word, and egs/TEMPLATE filled in."""

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from soctk.corpus import datadir, folds

ACTORS = {"mara": "female", "otto": "male", "Ida Lee": "female", "finn": "male", "0042": "female", "lou": "male"}
MOODS = {"cheerful": "Happy", "gloomy": "Sad", "plain": "Neutral", "unclear": None}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout of its own, set up already."""
    path = tmp_path_factory.mktemp("a folder") / "checkout"
    for name in ("egs/TEMPLATE", "conf", "bin", "soctk"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (path / ".venv").symlink_to(ROOT / ".venv")
    (path / "bin" / "setup").write_text("#!/bin/sh\n")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home with the corpus of egs/README.md in each of the forms that it speaks of; a tone tells the mood."""
    home = tmp_path_factory.mktemp("home")
    moods, emobox = home / "moods", home / "EmoBox"
    generator = np.random.default_rng(0)
    rows, lines = [], []
    for actor, sex in ACTORS.items():
        for index, mood in enumerate(MOODS):
            for take in range(1, 4):
                name = f"{actor}_{mood}_{take:04}.wav"
                tone = np.sin(np.arange(6400) * 0.1 * (1 + index)) * np.linspace(0.2, 1, 6400)
                samples = 0.05 * generator.normal(size=6400) + 0.4 * tone
                clip = f"clips/k7_{len(rows) + 1:04}.wav"
                places = [clip, f"named/{name}", f"sorted/{actor}/{mood}/{take}.wav", f"db/audio/{name}"]
                for path in [*(moods / place for place in places), emobox / "downloads" / "moods" / name]:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, samples, 16000)
                rows.append({"clip": clip, "mood": mood, "actor": actor, "gender": sex, "file": f"audio/{name}"})
                lines.append({"key": name, "wav": f"downloads/moods/{name}", "emo": mood, "channel": 1})
    write_csv(moods / "labels.csv", rows, {name: name for name in ("clip", "mood", "actor", "gender")})
    write_csv(moods / "db" / "db.emotion.csv", rows, {"file": "file", "emotion": "mood"})
    write_csv(moods / "db" / "db.files.csv", rows, {"file": "file", "speaker": "actor"})
    speakers = "".join(f"      '{actor}': {{gender: {sex}}}\n" for actor, sex in ACTORS.items())
    (moods / "db" / "db.yaml").write_text(f"schemes:\n  speaker:\n    dtype: str\n    labels:\n{speakers}")
    for fold in (1, 2, 3):
        file = emobox / "data" / "moods" / f"fold_{fold}" / f"moods_test_fold_{fold}.jsonl"
        file.parent.mkdir(parents=True)
        test = [line for line in lines if list(ACTORS).index(line["key"].split("_")[0]) % 3 + 1 == fold]
        file.write_text("".join(json.dumps(line) + "\n" for line in test))
    return home


def write_csv(path: Path, rows: list[dict], columns: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[row[column] for column in columns.values()] for row in rows])


def commands() -> list[str]:
    """Return the shell of egs/README.md, block by block."""
    text = (ROOT / "egs" / "README.md").read_text()
    return [dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)]


def run(checkout: Path, home: Path, script: str) -> str:
    environment = {**os.environ, "HOME": str(home)}
    result = subprocess.run(
        ["bash", "-euo", "pipefail"], input=script, cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def followed(checkout, home) -> str:
    """What is printed when the first four steps are followed."""
    return run(checkout, home, "\n".join(commands()[:4]))


def test_the_steps_lead_from_a_table_to_scores(checkout, home, followed):
    assert "dropped, as conf/labels.yaml says: 'unclear', 18 utterances" in followed
    assert "data/moods: 54 utterances, 0.01 h, 6 speakers, 5 folds; Happy 18, Sad 18, Neutral 18" in followed
    assert "folds: conf/folds.yaml, written now\n" in followed
    recipe = checkout / "egs" / "moods"
    scores = json.loads((recipe / "exp" / "scores.json").read_text())["fbank-mean-linear"]
    assert len(scores["runs"]) == 5
    assert scores["over_folds"]["UA"]["mean"] > 90
    data = datadir.read(recipe / "data" / "moods")
    assert data.fold == folds.read(recipe / "conf" / "folds.yaml")
    assert data.gender["Ida_Lee"] == "f"


def test_labels_elsewhere_come_out_the_same(checkout, home, followed):
    data = checkout / "egs" / "moods" / "data" / "moods"
    by_file_names, audformat, emobox = commands()[4:7]
    for line in by_file_names.splitlines():
        run(checkout / "egs" / "moods", home, f". ./path.sh\n{line}")
        assert len(datadir.read(data).wav) == 54
        assert set(datadir.read(data).fold) == {"mara", "otto", "Ida_Lee", "finn", "0042", "lou"}
    assert "72 utterances" in run(checkout / "egs" / "moods", home, f". ./path.sh\n{audformat}")
    assert datadir.read(data).gender["otto"] == "m"
    shutil.rmtree(data)
    assert "3 folds" in run(checkout / "egs" / "moods", home, f". ./path.sh\n{emobox}")
    assert datadir.read(data).fold == {"mara": 1, "otto": 2, "Ida_Lee": 3, "finn": 1, "0042": 2, "lou": 3}


def test_the_exports_are_there(checkout, home, followed):
    assert len(commands()) == 8
    run(checkout / "egs" / "moods", home, f". ./path.sh\n{commands()[7]}")
    exported = checkout / "egs" / "moods" / "exported"
    assert (exported / "moods" / "moods.jsonl").is_file()
    assert (exported / "kaldi" / "spk2utt").is_file()


@pytest.fixture
def new(checkout):
    """A fresh recipe."""
    result = subprocess.run([checkout / "bin" / "new-recipe", "fresh_one"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("egs/fresh_one is ready. Complete these files; each has an example:\n")
    for file in ("egs/fresh_one/local/prepare.py ", "egs/fresh_one/conf/folds.yaml "):
        assert file in result.stdout
    yield checkout / "egs" / "fresh_one"
    shutil.rmtree(checkout / "egs" / "fresh_one")


def call(recipe: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([recipe / "run.sh", *arguments], capture_output=True, text=True, cwd=recipe)


def test_a_fresh_recipe_says_what_to_fill_in(new, home):
    result = call(new)
    assert (result.returncode, result.stderr) == (
        1,
        "Error: stage 0 needs the recordings\nGive --corpus DIR. First complete local/prepare.py and conf/folds.yaml "
        "as their examples do, or see egs/README.md.\n",
    )
    result = call(new, "--corpus", home / "moods" / "named")
    assert result.returncode == 1
    assert result.stdout.endswith(
        "\nError: local/prepare.py: describe() is not filled in yet\nWrite describe() like the example in it, "
        "and the speakers of each fold into conf/folds.yaml.\n"
    )
    assert not (new / "data" / "fresh_one" / "wav.scp").exists()
    assert "NAME" not in (new / "README.md").read_text() + (new / "run.sh").read_text()


def test_filled_in_as_its_examples_are_it_writes_the_data_directory(new, tmp_path):
    for name in ("ann_1_happy", "ann_2_sad", "bob_1_happy", "bob_2_sad"):
        soundfile.write(tmp_path / f"{name}.wav", np.ones(1600) / 2, 16000)
    file = new / "local" / "prepare.py"
    text = file.read_text()
    (example,) = re.findall(r"^ {8}(speaker, _, .*\n) {8}(return .*)$", text, flags=re.MULTILINE)
    statements = text[text.index("    remedy = ") : text.index("\n\n\n@click")]
    file.write_text(text.replace(statements, f"    {example[0]}    {example[1]}"))
    table = new / "conf" / "folds.yaml"
    example = re.findall(r"^#     (\d: .*)$", table.read_text(), flags=re.MULTILINE)
    table.write_text("\n".join(example))
    result = call(new, "--corpus", tmp_path, "--stop-stage", "0")
    assert result.returncode == 0, result.stderr
    data = datadir.read(new / "data" / "fresh_one")
    assert data.emotion == {"ann-1_happy": "Happy", "ann-2_sad": "Sad", "bob-1_happy": "Happy", "bob-2_sad": "Sad"}
    assert (data.gender, data.fold) == ({"ann": "f", "bob": "m"}, {"ann": 1, "bob": 2})


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Usage: bin/new-recipe NAME"),
        (["two", "names"], 2, "Usage: bin/new-recipe NAME"),
        (["../evil"], 2, "Usage: bin/new-recipe NAME"),
        (["TEMPLATE"], 1, "egs/TEMPLATE exists already; choose another name"),
    ],
)
def test_a_name_that_will_not_do_is_told(checkout, arguments, code, message):
    result = subprocess.run([checkout / "bin" / "new-recipe", *arguments], capture_output=True, text=True)
    assert result.returncode == code
    assert message in result.stderr


def test_the_template_is_in_step_with_the_other_recipes():
    for file in ("path.sh", "cmd.sh"):
        assert len({(recipe.parent / file).read_text() for recipe in ROOT.glob("egs/*/run.sh")}) == 1
