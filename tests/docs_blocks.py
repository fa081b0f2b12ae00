"""Functions that read the code blocks of the documents and divide shell blocks into commands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("egs/**/README.md")), *ROOT.glob("docs/*.md")]


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        page: the path of the document, relative to the checkout.
        line: the line of the opening fence, from 1.
        language: the word after the opening fence.
        text: the code, without the indentation of the block.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A shell command of a block.

    Attributes:
        text: the command as written; several lines if it has a continuation or a here document.
        words: its words, with variables replaced by their values; without comments and here documents.
    """

    text: str
    words: list[str]


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced code blocks of a Markdown document."""
    text = page.read_text()
    fence = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", flags=re.DOTALL | re.MULTILINE)
    return [
        Block(page.relative_to(ROOT).as_posix(), text.count("\n", 0, match.start()) + 1, match[2], dedent(match[3]))
        for match in fence.finditer(text)
    ]


ALL_BLOCKS = [block for page in PAGES for block in read_blocks(page)]


def of_language(language: str) -> list[Block]:
    """Return the blocks of one language in all documents."""
    return [block for block in ALL_BLOCKS if block.language == language]


def commands_of(*blocks: Block) -> list[Command]:
    """Return the commands of shell blocks, in order."""
    # A here document, or a line with its continuations.
    pattern = re.compile(r".*<< '(\w+)'\n(?:.*\n)*?\1\n|(?:.*\\\n)*.*\n")
    shell = "".join(block.text + "\n" for block in blocks)
    variables: dict[str, str] = {}
    commands = []
    for text in (match[0].rstrip("\n") for match in pattern.finditer(shell)):
        line = re.sub(r"\$(\w+)", lambda match: variables[match[1]], text.split(" << '")[0].replace("\\\n", " "))
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if assignment := re.fullmatch(r"([A-Z]\w*)=(.*)", words[0]):
            variables[assignment[1]] = assignment[2]
        commands.append(Command(text, words))
    return commands
