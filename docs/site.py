"""MkDocs hook: pages made from files outside docs/ and from the code, and links between them.

README.md, CONTRIBUTING.md, CHANGELOG.md and the READMEs of the recipes become pages of the site. The API pages have one
entry for each public module. `<!-- options of COMMAND -->` becomes the table of that command's options, and
`<!-- all commands -->` a section for each command.
"""

import configparser
import importlib
import posixpath
import re
from pathlib import Path

import click
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Path in the repository -> path in the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "egs/README.md": "egs/index.md",
    "tests/bench/README.md": "benchmarks.md",
    **{f"egs/{name}/README.md": f"egs/{name}.md" for name in ("mini", "ravdess", "esd")},
    **{f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")},
}
PACKAGES = ("pooling", "corpus", "features", "scoring", "training", "reporting")


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
    markdown = re.sub(r"<!-- options of (\S+) -->", lambda match: option_table(match[1]), markdown)
    if "<!-- all commands -->" in markdown:
        markdown = markdown.replace("<!-- all commands -->", "\n\n".join(map(command_section, console_scripts())))
    sources = {page: source for source, page in PAGES.items()}
    if page.file.src_uri in sources:
        markdown = with_links_into_the_site(markdown, sources[page.file.src_uri])
    return markdown


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
    modules = [module.removesuffix(".__init__") for module in modules if ".fast" not in module]
    title = "The modules that every package uses" if name == "ground" else package
    entries = [f"::: {package}\n    options: {{members: false}}"]
    entries += [f"::: {module}" for module in modules if module != package and "._" not in module]
    return f"# {title}\n\n" + "\n\n".join(entries) + "\n"


def console_scripts() -> list[str]:
    """Return the names of the commands, in the order of setup.cfg."""
    return [line.split(" = ")[0] for line in script_lines()]


def script_lines() -> list[str]:
    """Return the lines NAME = MODULE:FUNCTION of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["options.entry_points"]["console_scripts"].split("\n")[1:]


def command_of(name: str) -> click.Command:
    """Return the click command of a console script."""
    (target,) = [line.split(" = ")[1] for line in script_lines() if line.split(" = ")[0] == name]
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def command_section(name: str) -> str:
    """Return the help of a command as a section: usage, description, options."""
    command = command_of(name)
    with click.Context(command, info_name=name) as context:
        usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = [" ".join(line.strip() for line in part.splitlines()) for part in (command.help or "").split("\n\n")]
    text = escaped("\n\n".join(paragraphs).replace("\b ", ""))
    return f"## {name}\n\n```text\n{name} {usage}\n```\n\n{text}\n\n{option_table(name)}"


def option_table(name: str) -> str:
    """Return a command's options as a Markdown table."""
    command = command_of(name)
    rows = ["| option | what it does | default |", "| --- | --- | --- |"]
    with click.Context(command, info_name=name, **command.context_settings) as context:
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            names = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
            value = "" if option.is_flag else f" `{option.make_metavar(context)}`"
            default = option.get_help_extra(context).get("default", "required" if option.required else "")
            rows.append(f"| {names}{escaped(value)} | {escaped(option.help or '')} | {escaped(str(default))} |")
    return "\n".join(rows)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
