"""Encoders of one's own: a Python class that the user names, MODULE:CLASS or FILE.py:CLASS.

The class is called with the device, `cpu` or `cuda`, and has

- `hidden_sizes`: the frame width D of each hidden state, a list of int; hidden state N has number N, from 0;
- `frame_shift`: the time between two frames, in ms;
- `hidden_states(waveforms, layers)`: encodes a list of waveforms, float32 `(samples,)` each. It returns for each of
  them the requested hidden states, `(L, T, D)`, as a torch tensor or a numpy array;

and optionally

- `sample_rate`: of the waveforms, in Hz (default: 16000);
- `max_seconds`: the duration of the longest utterance that it accepts (default: no limit);
- `batches`: whether an utterance has the same frames in a batch as alone (default: False, one utterance at a time);
- `has_units`: whether the values of a frame have different units, such as Hz and dB (default: False). Training does not
  layer-normalise such frames;
- `checksum`: a text that identifies the weights (default: a checksum of the class's source file alone).

soctk runs such a class only if the user names it in a command. A model never names code that soctk then runs.
"""

import hashlib
import importlib
import importlib.util
import math
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch

from soctk.errors import SoctkError

# The beginning of the source of such an encoder in feature stores and models; a checksum follows.
SOURCE = "code:"

_NAME = re.compile(r"(.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)", re.DOTALL)
_S3PRL = "s3prl:"
_SAMPLE_RATE = 16000  # Hz
_PROTOCOL = "docs/encoders.md describes what the class must have."
# The number of frames of noise may differ from duration / frame shift by this many, or by this share.
_FRAMES, _SHARE = 4, 0.1
_BATCH_ERROR = 0.01  # of frames in a batch, relative to the frames of the utterance alone

Value = TypeVar("Value")


def is_own(name: str) -> bool:
    """Return whether the name of an upstream is MODULE:CLASS or FILE.py:CLASS."""
    return _NAME.fullmatch(name) is not None and not name.startswith(_S3PRL)


def display_name(name: str) -> str:
    """Return the name in feature stores, MODULE:CLASS, without the folder and the extension of a file."""
    module, _, class_name = name.rpartition(":")
    return f"{_module_name(module)}:{class_name}"


class OwnUpstream:
    """A user's class with the interface soctk.features.upstream.Upstream.

    Args:
        name: MODULE:CLASS, with a module on Python's path or in the working directory; or FILE.py:CLASS.
        device: `cpu` or `cuda`.
        precision: the data type of autocast; float32 means no autocast.

    Raises:
        SoctkError: there is no such module or class; its code fails; an attribute is missing or wrong; or it encodes
            noise into frames of another shape or number, into NaN, or into other frames in a batch.
    """

    hub = ""
    note = ""

    def __init__(self, name: str, device: str, precision: str):
        module, _, class_name = name.rpartition(":")
        self.name = display_name(name)
        self._where = f"--upstream {name}"
        self._autocast = torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")
        loaded = self._run("the import", lambda: _import(module))
        if not isinstance(getattr(loaded, class_name, None), type):
            raise SoctkError(
                f"the module {loaded.__name__} ({loaded.__file__}) has no class {class_name}",
                remedy=f"Write MODULE:CLASS or FILE.py:CLASS. {_PROTOCOL}",
                where=self._where,
            )
        self._encoder = self._run(f"{class_name}('{device}')", lambda: getattr(loaded, class_name)(device))
        self.hidden_sizes = [int(size) for size in self._attribute("hidden_sizes", _is_sizes, "a list of widths")]
        self.frame_shift = float(self._attribute("frame_shift", _is_positive, "a number of ms"))
        self.sample_rate = int(self._attribute("sample_rate", _is_positive, "a number of Hz", _SAMPLE_RATE))
        self.max_seconds = float(self._attribute("max_seconds", _is_positive, "a number of seconds", math.inf))
        self.batches = bool(self._attribute("batches", _is_bool, "True or False", False))
        self.has_units = bool(self._attribute("has_units", _is_bool, "True or False", False))
        checksum = self._attribute(
            "checksum", lambda value: isinstance(value, str) and value, "a text", _digest(loaded)
        )
        self.source = f"{SOURCE}{checksum}"
        self._probe()

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """See soctk.features.upstream.Upstream."""
        with self._autocast:
            encoded = self._run("hidden_states", lambda: self._encoder.hidden_states(list(waveforms), list(layers)))
        if not isinstance(encoded, list | tuple | torch.Tensor | np.ndarray) or len(encoded) != len(waveforms):
            raise self._fault(f"hidden_states does not return a list of {len(waveforms)}, one item for each waveform")
        return [self._check_states(states, layers) for states in encoded]

    def _check_states(self, states: Any, layers: Sequence[int]) -> torch.Tensor:
        """Return the hidden states `(L, T, D)` of an utterance as a float32 tensor."""
        if not isinstance(states, torch.Tensor | np.ndarray):
            raise self._fault(f"hidden_states returns {type(states).__name__} for a waveform, not a tensor or an array")
        tensor = torch.as_tensor(states)
        width = self.hidden_sizes[layers[0]]
        if tensor.ndim != 3 or tensor.shape[0] != len(layers) or tensor.shape[2] != width or not tensor.shape[1]:
            raise self._fault(
                f"for {len(layers)} hidden states, a waveform has frames of shape {tuple(tensor.shape)}, not "
                f"({len(layers)}, T, {width}): hidden states, frames, features"
            )
        return tensor.float()

    def _probe(self) -> None:
        """Encode 1 s and 2 s of noise; check the number of frames, their values, and that a batch gives the same."""
        noise = np.random.default_rng(0).standard_normal(2 * self.sample_rate).astype(np.float32) / 10
        waveforms = [noise[: self.sample_rate], noise]
        layers = [len(self.hidden_sizes) - 1]
        alone = [self.hidden_states([waveform], layers)[0] for waveform in waveforms]
        for seconds, states in enumerate(alone, start=1):
            expected = 1000 * seconds / self.frame_shift
            if abs(states.shape[1] - expected) > max(_FRAMES, _SHARE * expected):
                raise self._fault(
                    f"{seconds} s of noise have {states.shape[1]} frames, and a frame_shift of {self.frame_shift:g} ms "
                    f"means {expected:.0f}"
                )
            if not states.isfinite().all():
                raise self._fault("noise has NaN or infinite frames")
        if self.batches:
            for one, other in zip(alone, self.hidden_states(waveforms, layers), strict=True):
                if one.shape != other.shape or (one - other).norm() > _BATCH_ERROR * one.norm():
                    raise self._fault("the frames of noise in a batch differ from those alone: set batches = False")

    def _attribute(self, name: str, is_valid: Callable[[Any], Any], kind: str, default: Any = None) -> Any:
        value = self._run(name, lambda: getattr(self._encoder, name, default))
        if not is_valid(value):
            fault = f"no attribute {name}" if value is None else f"the attribute {name} is {value!r}"
            raise self._fault(f"{fault}; it must be {kind}")
        return value

    def _run(self, what: str, code: Callable[[], Value]) -> Value:
        """Run code of the user.

        Raises:
            SoctkError: it fails; the message has the last line of the traceback, and the place.
        """
        try:
            return code()
        except SoctkError:
            raise
        except (Exception, SystemExit) as error:
            last = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
            raise SoctkError(
                f"{what} of {self.name} fails: {last}{_place(error)}",
                remedy=f"Correct this class. {_PROTOCOL}",
                where=self._where,
            ) from error

    def _fault(self, what: str) -> SoctkError:
        return SoctkError(f"{self.name}: {what}", remedy=f"Correct this class. {_PROTOCOL}", where=self._where)


def _import(module: str) -> ModuleType:
    """Import a module from Python's path or the working directory, or a file.

    Raises:
        SoctkError: there is none.
    """
    file = Path(module).expanduser().absolute() if module.endswith(".py") else None
    if file is not None and not file.is_file():
        raise SoctkError("no such file", remedy="Check the path.", where=f"--upstream {module}")
    folder = str(file.parent if file else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # it stays, since the code may import other files of its folder later
    importlib.invalidate_caches()
    name = _module_name(module)
    try:
        loaded = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a module that the user's code imports is missing
        raise SoctkError(
            f"no module {name} on Python's path, nor in the working directory {Path.cwd()}",
            remedy="Check the name, or give the file: --upstream FILE.py:CLASS.",
            where=f"--upstream {module}",
        ) from error
    if file is not None and Path(str(loaded.__file__)).resolve() != file.resolve():
        raise SoctkError(
            f"Python has another module {name} already: {loaded.__file__}",
            remedy="Give the file another name.",
            where=f"--upstream {module}",
        )
    return loaded


def _module_name(module: str) -> str:
    return Path(module).stem if module.endswith(".py") else module


def _digest(module: ModuleType) -> str | None:
    """Return a checksum of the source file of a module; None if it has none."""
    file = Path(str(module.__file__))
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.suffix == ".py" and file.is_file() else None


def _place(error: BaseException) -> str:
    """Return the line of the user's code that raised an error, directly or in a package that it calls."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename != __file__ and not re.search("site-packages|^<|/lib/python", frame.filename):
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(n, int) and n > 0 for n in value)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
