"""What the documents say, held against what they describe."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from soctk.pooling.layers import POOLINGS

README = (ROOT / "README.md").read_text()
RECIPES = sorted(path.parent for path in ROOT.glob("egs/*/run.sh"))


def table_rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the Markdown table whose header line begins so."""
    lines = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def recipe_options(recipe: Path) -> dict[str, str]:
    """Return option -> default as `run.sh --help` lists them."""
    text = subprocess.check_output([recipe / "run.sh", "--help"], text=True)
    return dict(re.findall(r"^  --(\S+) .*\(default: (.*)\)$", text, flags=re.MULTILINE))


def test_the_option_table_is_that_of_the_recipes():
    documented = {row[0].split()[0].strip("`-"): row[2] for row in table_rows(README, "| option |")}
    in_words = {"corpus": "the recipe's own", "folds": "all", "pooling": "the preset's", "head": "the preset's"}
    in_words["combine"] = "sum for mlp, concat for linear"
    for recipe in RECIPES:
        options = recipe_options(recipe)
        if recipe.name == "esd":
            assert options["preset"] == "paper"
        else:
            assert options["preset"] == documented["preset"]
        options["preset"] = documented["preset"]
        own = options.keys() - documented.keys()
        assert {name: options[name] for name in documented} | in_words == documented
        assert all(f"`--{name} " in (recipe / "README.md").read_text() for name in own)


def test_the_pooling_table_is_that_of_the_registry():
    rows = {row[0].strip("`"): row[3] == "yes" for row in table_rows(README, "| pooling |")}
    assert rows == {name: layer(8).is_trained for name, layer in POOLINGS.items()}


def test_the_readmes_library_example_runs():
    (example,) = [block for block in code_blocks("python") if "SOC(" in block]
    names = {}
    exec(example, names)
    assert f"# {tuple(names['descriptors'].shape)}" in example


def test_the_stage_table_names_the_commands_of_the_stages():
    stages = re.split(r"if run_stage \d", (RECIPES[0] / "run.sh").read_text())[1:]
    shared = (ROOT / "bin" / "recipe.sh").read_text()
    for row, body in zip(table_rows(README, "| stage |"), stages, strict=True):
        for command in re.findall(r"`(\S+)`", row[3]):
            assert command in body or f"{command} " in shared


def test_the_dependency_table_is_that_of_setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    required = [re.split(r"[><=]", line)[0] for text in lists for line in text.split()]
    assert [row[0] for row in table_rows(README, "| package |")] == required
    pinned = {line.split("==")[0].replace("_", "-").lower() for line in (ROOT / "constraints.txt").read_text().split()}
    assert {name.lower() for name in required} <= pinned


def test_the_results_are_those_that_the_recipes_wrote():
    rows = table_rows(README, "| recipe |")
    assert {row[0] for row in rows} == {path.parent.name for path in ROOT.glob("egs/*/RESULTS.md")}
    for recipe, experiment, seeds, *figures in rows:
        texts = [path.read_text() for path in (ROOT / "egs" / recipe).glob("RESULTS*.md")]
        with_seeds = f"seeds {', '.join(seeds.split())}."
        (results,) = [
            text for text in texts if with_seeds in text.partition(f"## {experiment}\n")[2].partition("\n## ")[0]
        ]
        (row,) = [row for row in table_rows(results, "| experiment") if row[0] == experiment]
        assert row[2] == str(len(seeds.split()))
        assert row[3:] == figures


@pytest.mark.parametrize("results", sorted(ROOT.glob("egs/*/RESULTS*.md")), ids=lambda path: path.relative_to(ROOT))
def test_the_results_were_written_at_a_clean_commit(results):
    trained_with = re.findall(r"^- Trained with .*", results.read_text(), flags=re.MULTILINE)
    assert trained_with
    assert all(re.search(r"commit [0-9a-f]{7,},", line) for line in trained_with)


def test_the_matrix_across_corpora_is_that_which_soctk_cross_wrote():
    text = (ROOT / "egs" / "CROSS.md").read_text()
    assert table_rows(README, "| trained on |") == table_rows(text, "| trained on ")
    assert re.search(r", commit [0-9a-f]{7,}\.$", text, flags=re.MULTILINE)


def test_the_first_two_commands_are_there_and_ci_calls_them():
    commands = [line.split("#")[0].strip() for line in code_blocks("sh")[0].splitlines()]
    assert commands == ["egs/mini/run.sh", "bin/test"]
    assert set(commands) <= set((ROOT / ".ci" / "run").read_text().splitlines())


def test_files_that_are_linked_are_there():
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "egs" / "README.md"):
        for target in re.findall(r"\]\((?!http)(.*?)\)", path.read_text()):
            assert (path.parent / target).exists()


def test_the_table_of_recipes_has_them_all():
    rows = table_rows((ROOT / "egs" / "README.md").read_text(), "| recipe |")
    assert sorted(row[0].split("]")[0][1:] for row in rows) == [
        path.name for path in RECIPES if path.name != "TEMPLATE"
    ]


def test_the_layout_names_every_module():
    rows = table_rows((ROOT / "CONTRIBUTING.md").read_text(), "| module |")
    modules = {f"soctk/{path.name}{'/' * path.is_dir()}" for path in (ROOT / "soctk").iterdir() if path.name[0] != "_"}
    assert {row[0].strip("`") for row in rows} == modules


def test_a_module_imports_only_from_those_above_it():
    rows = table_rows((ROOT / "CONTRIBUTING.md").read_text(), "| module |")
    order = [row[0].strip("`/").removeprefix("soctk/").removesuffix(".py") for row in rows]
    for position, name in enumerate(order):
        path = ROOT / "soctk" / name
        for file in path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            pattern = r"^\s*from soctk(?:\.(\w+)\S*)? import (\(|[\w, ]*\w)"
            imports = re.findall(pattern, file.read_text(), flags=re.MULTILINE)
            imported = {part for package, names in imports for part in ([package] if package else names.split(", "))}
            assert imported <= set(order[: position + 1]), f"{file.name} imports from below"


def test_the_versions_agree():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    version = config["metadata"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0] == version
