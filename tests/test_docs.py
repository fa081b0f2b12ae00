"""The documents agree with the code and the results, and the packages with the layout in docs/design.md."""

import ast
import configparser
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from docs_blocks import PAGES, of_language

import soctk
from soctk.pooling import POOLINGS

README = (ROOT / "README.md").read_text()
RECIPES = sorted(path.parent for path in ROOT.glob("egs/*/run.sh"))
PACKAGES = (
    "cluster",
    "pooling",
    "corpus",
    "features",
    "scoring",
    "training",
    "finetuning",
    "inference",
    "reporting",
    "cli",
)
MODULES = sorted((ROOT / "soctk").rglob("*.py"))


def read_config() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def table_rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the Markdown table whose header line begins with `header`."""
    lines = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_readme_is_short():
    assert len(README.split()) <= 1200


def test_ci_runs_the_first_two_commands_of_the_readme():
    commands = [line.split("#")[0].strip() for line in of_language("sh")[0].text.splitlines()]
    assert commands == ["egs/mini/run.sh", "bin/test"]
    run = (ROOT / ".ci" / "run").read_text().splitlines()
    assert set(commands) <= {line.partition(" -m ")[0] for line in run}
    assert {'bin/test -m "not gpu"', "bin/test-gpu"} <= set(run)  # together they run all tests


def test_table_of_poolings_agrees_with_the_registry():
    rows = table_rows(page("poolings.md"), "| pooling |")
    assert {row[0].strip("`"): row[3] == "yes" for row in rows} == {
        name: layer(8).is_trained for name, layer in POOLINGS.items()
    }
    sizes = {"D": 40, "2 D": 80, "d (d+1) / 2": 6, "D (D+1) / 2": 820, "D (D-1) / 2": 780}  # for D = 40 and d = 3
    for name, _, size, _ in rows:
        options = {"d": 3} if size.startswith("d") else {}
        assert POOLINGS[name.strip("`")](40, **options).output_size == sizes[size]
    layers = table_rows(page("library.md"), "| layer |")
    assert {row[1].strip("`"): row[0].strip("`") for row in layers} == {
        name: layer.__name__ for name, layer in POOLINGS.items()
    }


def test_table_of_settings_files_lists_the_files_in_conf():
    rows = {row[0].strip("`") for row in table_rows(page("recipes.md"), "| file | what it sets |")}
    files = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    presets = {path for path in files if path.parts[0] == "preset"}
    files = {path if len(path.parts) == 1 else path.with_name("NAME.yaml") for path in files - presets}
    assert rows - {"recipe.yaml"} == set(map(str, files))


def test_table_of_stages_lists_their_commands_and_logs():
    recipe, plan = (ROOT / "bin" / "recipe.sh").read_text(), (ROOT / "soctk" / "training" / "plan.py").read_text()
    stages = re.split(r"^if due \d", recipe, flags=re.MULTILINE)[1:]
    prepare = (RECIPES[0] / "run.sh").read_text()
    for row, body in zip(table_rows(page("recipes.md"), "| stage |"), stages, strict=True):
        for command in re.findall(r"`(\S+)`", row[3]):
            assert command in body or ("prepare_data" in body and command in prepare)
        assert f"/log/{Path(row[4].strip('`')).name}" in plan


def test_table_of_dependencies_agrees_with_setup_cfg():
    config = read_config()
    lists = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    required: dict[str, list[str]] = {}
    for extra, text in lists.items():
        for line in text.split():
            required.setdefault(re.split(r"[><=!,;]", line)[0], []).append(extra)
    rows = {row[0]: row[1] for row in table_rows(page("dependencies.md"), "| package |")}
    assert rows.keys() == required.keys()
    for package, extras in required.items():
        start = re.match(r"(extras? .*?): ", rows[package])
        assert re.findall(r"`(\w+)`", start[1] if start else "") == [extra for extra in extras if extra]
    pinned = {line.split("==")[0].replace("_", "-").lower() for line in (ROOT / "constraints.txt").read_text().split()}
    assert {name.lower() for name in required} <= pinned


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_scores_are_copied_from_the_results_of_the_recipes(name):
    rows = table_rows((ROOT / name).read_text(), "| recipe | experiment |")
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


def test_scores_in_the_readme_of_mini_are_in_its_results():
    (score,) = re.findall(r"WA (\S+ ± \S+) ", (ROOT / "egs" / "mini" / "README.md").read_text())
    rows = table_rows((ROOT / "egs" / "mini" / "RESULTS.md").read_text(), "| experiment")
    assert rows[0][3] == score


def test_scores_in_the_readme_of_ravdess_are_in_its_results():
    text = (ROOT / "egs" / "ravdess" / "README.md").read_text()
    results = (ROOT / "egs" / "ravdess" / "RESULTS.md").read_text()
    rows = [*table_rows(text, "| setting | WA |"), *table_rows(text, "| N | WA |")]
    scores = {row[3] for row in table_rows(results, "| experiment")}
    assert {row[1].removesuffix(" †") for row in rows} <= scores


def test_scores_in_noise_are_copied_from_the_table_of_ravdess():
    sections = (ROOT / "egs" / "ravdess" / "ROBUSTNESS.md").read_text().split("\n## ")[1:]
    found = [{(row[1].split()[0], row[3]) for row in table_rows(section, "| condition")} for section in sections]
    rows = table_rows(page("what-to-expect.md"), "| condition | without copies |")
    assert len(rows) == 10
    for _, *cells in rows:
        for cell, scores in zip(cells, found, strict=True):
            score, _, change = cell.partition(", ")
            assert (score, change) in scores


@pytest.mark.parametrize("results", sorted(ROOT.glob("egs/*/RESULTS*.md")), ids=lambda path: path.relative_to(ROOT))
def test_results_were_written_at_a_clean_commit(results):
    trained_with = re.findall(r"^- Trained with .*", results.read_text(), flags=re.MULTILINE)
    assert trained_with
    assert all(re.search(r"commit [0-9a-f]{7,},", line) for line in trained_with)


def test_matrix_across_corpora_equals_the_output_of_soctk_cross():
    text = (ROOT / "egs" / "CROSS.md").read_text()
    assert table_rows(page("across-corpora.md"), "| trained on |") == table_rows(text, "| trained on ")
    assert re.search(r", commit [0-9a-f]{7,}\.$", text, flags=re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a Markdown document's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda path: path.relative_to(ROOT))
def test_links_lead_to_existing_files_and_headings(path):
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_every_page_is_in_the_navigation_and_in_readme():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    navigation = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert pages <= set(navigation)
    assert {f"docs/{name}" for name in pages - {"commands.md"}} <= set(re.findall(r"\((docs/\S+?\.md)\)", README))


def test_table_of_recipes_has_all_recipes():
    rows = table_rows((ROOT / "egs" / "README.md").read_text(), "| recipe |")
    assert sorted(row[0].split("]")[0][1:] for row in rows) == [
        path.name for path in RECIPES if path.name != "TEMPLATE"
    ]


def test_options_that_a_recipe_adds_are_in_its_readme():
    for recipe in RECIPES:
        settings = yaml.safe_load((recipe / "conf" / "recipe.yaml").read_text()) or {}
        text = (recipe / "README.md").read_text()
        assert all(f"`--{name} " in text for name in settings.get("options", {}))
        assert all(f"`--protocol {name}`" in text for name in settings.get("protocols", {}))


def test_versions_agree():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == soctk.__version__
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0] == soctk.__version__


def test_readme_names_the_tested_versions_of_python():
    classifiers = read_config()["metadata"]["classifiers"]
    tested = re.findall(r"Python :: (3\.\d+)$", classifiers, flags=re.MULTILINE)
    assert tested
    for text in (README, page("dependencies.md")):
        assert f"Python {', '.join(tested[:-1])}" in text
        assert tested[-1] in text


def test_table_of_packages_is_complete_and_in_the_order_of_imports():
    rows = [row[0].strip("`") for row in table_rows(page("design.md"), "| package |")]
    assert rows == ["soctk/*.py", *(f"soctk/{name}" for name in PACKAGES)]
    assert {path.name for path in (ROOT / "soctk").iterdir() if path.is_dir() and path.name[0] != "_"} == set(PACKAGES)


def imported_packages(path: Path) -> set[str]:
    """Return the packages of soctk that a module imports, also inside functions; "" stands for soctk/*.py."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".")[1] for name in names if name.startswith("soctk.")]
    return {part if part in PACKAGES else "" for part in parts}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "soctk"))
def test_a_package_imports_only_from_packages_above_it(path):
    package = path.relative_to(ROOT / "soctk").parts[0]
    if path == ROOT / "soctk" / "__init__.py":  # soctk.load imports it when it is called
        package = "inference"
    above = PACKAGES[: PACKAGES.index(package) + 1] if package in PACKAGES else ()
    assert imported_packages(path) <= {"", *above}


def test_imports_inside_functions_are_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import torch\n\ndef f():\n    from soctk import reporting\n    import soctk.cli.train\n")
    assert imported_packages(module) == {"reporting", "cli"}


@pytest.mark.parametrize("name", PACKAGES)
def test_docstrings_of_packages_have_at_least_three_lines(name):
    docstring = importlib.import_module(f"soctk.{name}").__doc__
    assert len(docstring.strip().splitlines()) >= 3


def test_test_modules_have_different_names():
    """Pytest imports them by their file names alone, so it cannot collect two of one name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "soctk"))
def test_no_module_is_long(path):
    if path.name != "kernels.py":
        assert len(path.read_text().splitlines()) <= 350


def test_recipe_sh_is_short():
    assert len((ROOT / "bin" / "recipe.sh").read_text().splitlines()) <= 80


@pytest.mark.slow
def test_site_loads_nothing_from_other_servers(tmp_path):
    pytest.importorskip("mkdocs", reason="needs mkdocs; bin/setup docs installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    elsewhere = r'<(script|img|iframe)[^>]* src="(https?:)?//|<link [^>]*rel="(stylesheet|preconnect)"[^>]*="https?://'
    assert not [path for path in pages if re.search(elsewhere, path.read_text())]
    sheets = [path.read_text() for path in tmp_path.rglob("*.css")]
    assert not [sheet for sheet in sheets if re.search(r"(url\(|@import)\W*(https?:)?//", sheet)]
