import re
from pathlib import Path

import numpy as np
import pytest
import torch

from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.features.upstream import own

# A complete class; the tests change a line of it. Frames are 10 ms of samples, in two hidden states.
CODE = """
import numpy as np, torch

class Blocks:
    hidden_sizes = [160, 160]
    frame_shift = 10.0

    def __init__(self, device):
        self.device = device

    def hidden_states(self, waveforms, layers):
        blocks = [waveform[: len(waveform) // 160 * 160].reshape(1, -1, 160) for waveform in waveforms]
        return [np.concatenate([block + layer for layer in layers]) for block in blocks]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write CODE, with another line in place of one of its lines, into a new module of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*own.sys.path])
    count = [0]

    def write(old: str = "", new: str = "") -> str:
        assert old in CODE
        count[0] += 1
        name = f"blocks_{tmp_path.name}_{count[0]}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(CODE.replace(old, new) if old else CODE)
        return name

    return write


@pytest.mark.parametrize("is_file", [False, True])
def test_a_class_of_a_module_or_a_file_is_an_encoder(write, is_file):
    module = write()
    encoder = upstream.load(f"./{module}.py:Blocks" if is_file else f"{module}:Blocks")
    assert (encoder.name, encoder.hub) == (f"{module}:Blocks", "")
    assert (encoder.hidden_sizes, encoder.frame_shift) == ([160, 160], 10)
    assert (encoder.sample_rate, encoder.max_seconds, encoder.batches, encoder.has_units) == (
        16000,
        np.inf,
        False,
        False,
    )
    waveform = np.arange(1000, dtype=np.float32)
    (states,) = encoder.hidden_states([waveform], [0, 1])
    assert states.dtype == torch.float32
    np.testing.assert_array_equal(states, [waveform[:960].reshape(6, 160), waveform[:960].reshape(6, 160) + 1])


def test_the_source_file_or_the_attribute_checksum_identifies_the_encoder(write):
    first, same, other = write(), write(), write("frame_shift = 10.0", "frame_shift = 10.0  # another file")
    sources = [upstream.load(f"{module}:Blocks").source for module in (first, same, other)]
    assert sources[0] == sources[1] != sources[2]
    assert re.fullmatch("code:[0-9a-f]{16}", sources[0])
    weights = write("frame_shift = 10.0", "frame_shift, checksum = 10.0, 'weights 7'")
    assert upstream.load(f"{weights}:Blocks").source == "code:weights 7"


def test_optional_attributes_are_used(write):
    module = write(
        "frame_shift = 10.0",
        "frame_shift, sample_rate, max_seconds, batches, has_units = 20, 8000, 3, True, True",
    )
    encoder = upstream.load(f"{module}:Blocks")
    assert (encoder.sample_rate, encoder.max_seconds, encoder.batches, encoder.has_units) == (8000, 3, True, True)
    assert len(encoder.hidden_states([np.zeros(800, np.float32)] * 2, [1])) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "import numpy",
            "import no_such_package, numpy",
            r"Blocks fails: ModuleNotFoundError: No module named 'no_such_package' \(blocks_.*, line 2\)",
        ),
        ("import numpy", "import numpy as", "the import of .*:Blocks fails: SyntaxError: "),
        ("import numpy", "raise SystemExit\nimport numpy", r"the import of .*:Blocks fails: SystemExit \(.*, line 2\)"),
        ("class Blocks", "class Bricks", r"the module blocks_\w+ \(/.*\) has no class Blocks\nWrite MODULE:CLASS or"),
        (
            "self.device = device",
            "self.device = {}[device]",
            r"Blocks\('cpu'\) of .* fails: KeyError: 'cpu' \(blocks_\w+.py, line 9\)\nCorrect this class.",
        ),
        (
            "def __init__(self, device)",
            "def __init__(self)",
            r"fails: TypeError: Blocks.__init__\(\) takes 1 positional",
        ),
        ("hidden_sizes = [160, 160]", "", "no attribute hidden_sizes; it must be a list of widths"),
        ("[160, 160]", "160", "the attribute hidden_sizes is 160; it must be a list of widths"),
        (
            "frame_shift = 10.0",
            "frame_shift = '10 ms'",
            "the attribute frame_shift is '10 ms'; it must be a number of ms",
        ),
        (
            "frame_shift = 10.0",
            "frame_shift = 20.0",
            "1 s of noise have 100 frames, and a frame_shift of 20 ms means 50",
        ),
        (
            "frame_shift = 10.0",
            "frame_shift, batches = 10.0, 1",
            "the attribute batches is 1; it must be True or False",
        ),
        (
            "def hidden_states",
            "def encode",
            "hidden_states of .* fails: AttributeError: 'Blocks' object has no attribute",
        ),
        (
            "return [",
            "return torch.ones(3)\n        return [",
            "does not return a list of 1, one item for each waveform",
        ),
        (
            "return [",
            "return [None]\n        return [",
            "hidden_states returns NoneType for a waveform, not a tensor or",
        ),
        (
            "reshape(1, -1, 160)",
            "reshape(-1, 160)",
            r"for 1 hidden states, a waveform has frames of shape \(100, 160\), not \(1, T, 160\)",
        ),
        ("reshape(1, -1, 160)", "reshape(1, -1, 80)", r"has frames of shape \(1, 200, 80\), not \(1, T, 160\)"),
        ("block + layer", "block / 0", "noise has NaN or infinite frames"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_faults_are_told_in_one_message(write, old, new, message):
    module = write(old, new)
    with pytest.raises(SoctkError, match=message) as caught:
        upstream.load(f"{module}:Blocks")
    assert module in str(caught.value)


def test_frames_that_depend_on_the_batch_are_refused(write):
    module = write(
        "        return [np", "        blocks = [block * len(waveforms) for block in blocks]\n        return [np"
    )
    upstream.load(f"{module}:Blocks")  # batches is False
    text = Path(f"{module}.py").read_text()
    module = f"{module}_in_batches"
    Path(f"{module}.py").write_text(text.replace("frame_shift = 10.0", "frame_shift, batches = 10.0, True"))
    with pytest.raises(SoctkError, match="the frames of noise in a batch differ from those alone: set batches = False"):
        upstream.load(f"{module}:Blocks")


def test_errors_while_encoding_name_the_class(write):
    module = write("    def hidden_states", "    def hidden_states(self, waveforms, layers):\n"
                   "        if len(waveforms[0]) < 16000: raise RuntimeError('too short')\n"
                   "        return self.encode(waveforms, layers)\n\n    def encode")  # fmt: skip
    encoder = upstream.load(f"{module}:Blocks")
    with pytest.raises(SoctkError, match=rf"{module}:Blocks fails: RuntimeError: too short \({module}.py, line 12\)"):
        encoder.hidden_states([np.zeros(800, np.float32)], [0])


def test_a_module_that_is_missing_is_named(write, tmp_path):
    with pytest.raises(SoctkError, match="no module nothing_here on Python's path, nor in the working directory /"):
        upstream.load("nothing_here:Blocks")
    with pytest.raises(SoctkError, match=r"upstream gone.py: no such file"):
        upstream.load("gone.py:Blocks")


def test_a_file_with_the_name_of_a_loaded_module_is_refused(write):
    Path("json.py").write_text(CODE)
    with pytest.raises(SoctkError, match=r"Python has another module json already: /.*\nGive the file another name"):
        upstream.load("./json.py:Blocks")


@pytest.mark.parametrize(
    ("name", "is_own"),
    [("mine:Encoder", True), ("pkg.mine:Encoder", True), ("/a b/mine.py:Encoder", True), ("s3prl:hubert_base", False),
     ("s3prl:x.py:Encoder", False),
     ("hubert_base", False), ("./folder", False), ("openai/whisper-base", False), ("a-b:Encoder", False)],
)  # fmt: skip
def test_names_of_classes_are_recognised(name, is_own):
    assert own.is_own(name) is is_own
