"""Parts of messages: counts with their nouns and verbs, and the installation of optional packages."""

import configparser
import re

import pytest
from conftest import ROOT

from soctk.errors import missing_package, plural


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, "row"), "0 rows"),
        ((1, "row"), "1 row"),
        ((1440, "row"), "1440 rows"),
        ((1, "copy is", "copies are"), "1 copy is"),
        ((2, "copy is", "copies are"), "2 copies are"),
    ],
)
def test_a_count_has_its_noun_in_the_singular_or_plural(arguments, text):
    assert plural(*arguments) == text


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    error = missing_package("gradio", "demo", "the page", where="soctk-demo")
    assert str(error) == (
        "soctk-demo: the page needs the package gradio, which is not installed\n"
        "Install the extra demo: pip install -U 'soctk[demo]', or in a checkout bin/setup demo."
    )


def test_the_extras_that_messages_name_exist():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    code = "\n".join(path.read_text() for path in (ROOT / "soctk").rglob("*.py"))
    named = set(re.findall(r'\bmissing_package\([^,()]+(?:\([^()]*\))?[^,()]*, "(\w+)"', code))
    named |= set(re.findall(r'\binstall\("(\w+)"\)', code))
    assert named >= {"demo", "egemaps", "formats", "onnx", "tensorboard", "vad"}
    assert named <= setup["options.extras_require"].keys()
