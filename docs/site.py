"""MkDocs hook: pages made from files outside docs/ and from the code, and links between them.

README.md, CONTRIBUTING.md, CHANGELOG.md and the READMEs of the recipes become pages of the site. The API pages have one
entry for each public module. `<!-- options of every recipe -->` becomes the table of these options, and
`<!-- all commands -->` a section for each command.
"""

import configparser
import importlib
import posixpath
import re
from pathlib import Path

import click
from mkdocs.structure.files import File

from soctk.cli.plan import recipe_command
from soctk.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
# Path in the repository -> path in the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "egs/README.md": "egs/index.md",
    "tests/bench/README.md": "benchmarks.md",
    **{
        f"egs/{path.parent.name}/README.md": f"egs/{path.parent.name}.md"
        for path in (ROOT / "egs").glob("*/README.md")
        if path.parent.name != "TEMPLATE"
    },
    **{f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")},
}
PACKAGES = ("cluster", "pooling", "corpus", "features", "scoring", "training", "inference", "reporting")


def on_files(files, config):
    """Add the pages that are not in docs/."""
    for source, page in PAGES.items():
        if not source.startswith("docs/"):
            files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for name in (*PACKAGES, "ground"):
        files.append(File.generated(config, f"api/{name}.md", content=api_page(name)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links into the site, and fill in the tables of options."""
    markers = {
        "<!-- options of every recipe -->": lambda: option_table(recipe_command(Recipe(path=ROOT / "egs" / "NAME"))),
        "<!-- all commands -->": lambda: "\n\n".join(map(command_section, console_scripts())),
    }
    for marker, text in markers.items():
        if marker in markdown:
            markdown = markdown.replace(marker, text())
    sources = {page: source for source, page in PAGES.items()}
    if page.file.src_uri in sources:
        markdown = with_links_into_the_site(markdown, sources[page.file.src_uri])
    return markdown.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def with_links_into_the_site(markdown: str, source: str) -> str:
    """Return a page of the repository with its relative links changed to pages of the site.

    A link to a file of the repository that is not a page, such as LICENSE, becomes its text. A link to a file that does
    not exist stays as it is, so that the strict build stops.
    """

    def replace(match: re.Match) -> str:
        text, target, fragment = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in PAGES:
            return f"[{text}]({posixpath.relpath(PAGES[path], posixpath.dirname(PAGES[source]) or '.')}{fragment})"
        return text if (ROOT / path).exists() else match[0]

    parts = re.split(r"(^ *```.*?^ *```$)", markdown, flags=re.DOTALL | re.MULTILINE)  # code blocks at odd places
    link = r"\[([^\]]+)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)"
    return "".join(part if i % 2 else re.sub(link, replace, part) for i, part in enumerate(parts))


def api_page(name: str) -> str:
    """Return the API page of a package: an entry for the package and for each of its public modules."""
    directory = ROOT / "soctk" / ("" if name == "ground" else name)
    package = "soctk" if name == "ground" else f"soctk.{name}"
    files = sorted(directory.glob("*.py") if name == "ground" else directory.rglob("*.py"))
    modules = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files]
    modules = [module.removesuffix(".__init__") for module in modules]
    if name == "pooling":  # the other modules are parts of these
        modules = [f"{package}.{module}" for module in ("layers", "registry", "spd")]
    title = "The modules that every package uses" if name == "ground" else package
    entries = [f"::: {package}\n    options: {{members: false}}"]
    entries += [f"::: {module}" for module in modules if module != package]
    return f"# {title}\n\n" + "\n\n".join(entries) + "\n"


def console_scripts() -> dict[str, str]:
    """Return command -> MODULE:FUNCTION, in the order of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].strip().splitlines()
    return dict(line.split(" = ") for line in lines)


def command_section(name: str) -> str:
    """Return the help of a command as a section: usage, description, options."""
    module, _, function = console_scripts()[name].partition(":")
    command = getattr(importlib.import_module(module), function)
    with click.Context(command, info_name=name) as context:
        usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = [" ".join(line.strip() for line in part.splitlines()) for part in command.help.split("\n\n")]
    text = escaped("\n\n".join(paragraphs))
    return f"## {name}\n\n```text\n{name} {usage}\n```\n\n{text}\n\n{option_table(command)}"


def option_table(command: click.Command) -> str:
    """Return a command's options as a Markdown table."""
    rows = ["| option | what it does | default |", "| --- | --- | --- |"]
    with click.Context(command, **command.context_settings) as context:
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            value = "" if option.is_flag else f" {option.make_metavar(context)}"
            value = value.replace("INTEGER RANGE", "N").replace("FLOAT RANGE", "X")
            names = ", ".join((*option.opts, *option.secondary_opts))
            default = option.get_help_extra(context).get("default", "required" if option.required else "")
            default = escaped(default.strip('()"'))
            rows.append(f"| `{names}{value}` | {escaped(option.help or '')} | {default} |")
    return "\n".join(rows)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, also in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
