"""The fallback to torch if numba is missing, broken, or has a faulty cache. Each case runs in its own process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from soctk.pooling.fast.cache import folder

WITHOUT_NUMBA = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""

# Prints the warnings, whether the kernels are used, and the largest relative difference from torch alone.
POOL = """
import warnings
import torch
from soctk.pooling import SOC, SOCFull, fast, spd

torch.manual_seed(0)
def results(layer):
    frames = torch.randn(4, 30, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lengths = torch.tensor([30, 20, 9, 30])
    descriptors = layer(frames, lengths)
    return descriptors.detach(), *torch.autograd.grad(descriptors.square().sum(), frames)

layers = [SOC(8, d=4), SOCFull(8), SOC(8, d=40)]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ours = [results(layer) for _ in range(3) for layer in layers]
used = fast.load("log and gradient", torch.float32) is not None
fast.load = lambda purpose, dtype: None
theirs = [results(layer) for _ in range(3) for layer in layers]
for warning in caught:
    print("WARNING", warning.category.__name__, str(warning.message).replace(chr(10), " "))
differences = [(a - b).abs().max() / b.abs().max() for a, b in zip(sum(ours, ()), sum(theirs, ()))]
print("USED", used)
print("DIFFERENCE", f"{max(differences).item():.1e}")
"""


def run(code: str, cache: Path, **options) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(cache)}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, timeout=600, **options
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def check_torch_is_used(lines: list[str], cause: str) -> None:
    """Check that one warning names the cause, and that the results equal those of torch alone."""
    warning, used, difference = lines
    assert warning.startswith("WARNING RuntimeWarning numba's kernels do not work, so soctk computes with torch alone")
    assert cause in warning
    assert used == "USED False"
    assert difference == "DIFFERENCE 0.0e+00"


@pytest.mark.slow
def test_without_numba_torch_computes_silently(tmp_path):
    assert run(WITHOUT_NUMBA + POOL, tmp_path) == ["USED False", "DIFFERENCE 0.0e+00"]


@pytest.mark.slow
def test_with_a_numba_that_cannot_be_imported_torch_computes_after_one_warning(tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 2.3 or less')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{POOL}"
    lines = run(code, tmp_path / "cache")
    check_torch_is_used(lines, "ImportError: Numba needs NumPy 2.3 or less")
    assert lines[0].endswith("Install compatible versions: pip install 'soctk[fast]'.")


@pytest.fixture(scope="module")
def filled_cache(tmp_path_factory) -> Path:
    """A cache folder in which numba has stored all kernels for float32 and float64."""
    pytest.importorskip("numba", reason="the kernels need numba")
    cache = tmp_path_factory.mktemp("cache")
    if folder().is_dir():  # what bin/setup or an earlier test has compiled need not be compiled again
        shutil.copytree(folder(), cache / folder().name)
    used, difference = run(POOL, cache)
    assert used == "USED True"
    assert float(difference.split()[1]) < 1e-5
    return cache


def cached_files(cache: Path, suffix: str) -> list[Path]:
    return sorted(cache.rglob(f"*{suffix}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "size", "cause"),
    [(".nbc", 100, "UnpicklingError"), (".nbc", 0, "EOFError"), (".nbi", 20, "Error"), (".nbi", 0, "EOFError")],
)
def test_with_truncated_cache_files_torch_computes_after_one_warning(filled_cache, tmp_path, suffix, size, cause):
    cache = tmp_path / "cache"
    shutil.copytree(filled_cache, cache)
    files = cached_files(cache, suffix)
    assert files
    for file in files:
        os.truncate(file, size)
    lines = run(POOL, cache)
    check_torch_is_used(lines, cause)
    assert f"{cache}/soctk-kernels-" in lines[0]
    assert "or delete it" in lines[0]
    shutil.rmtree(cache)


@pytest.mark.slow
def test_with_a_file_in_place_of_the_cache_folder_torch_computes_after_one_warning(tmp_path):
    pytest.importorskip("numba", reason="the kernels need numba")
    cache = tmp_path / "cache"
    cache.write_text("")
    check_torch_is_used(run(POOL, cache), "NotADirectoryError")


@pytest.mark.slow
def test_with_a_full_disk_torch_computes_after_one_warning(tmp_path):
    """A limit of 1 KB on the size of files makes writing fail as on a full disk."""
    pytest.importorskip("numba", reason="the kernels need numba")
    limited = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
    )
    check_torch_is_used(run(limited + POOL, tmp_path), "OSError: [Errno 27]")


@pytest.mark.slow
def test_the_next_process_reads_the_cache_and_does_not_compile_again(filled_cache):
    before = {file: file.stat().st_mtime_ns for file in cached_files(filled_cache, ".nb?")}
    used, _ = run(POOL, filled_cache)
    assert used == "USED True"
    assert {file: file.stat().st_mtime_ns for file in cached_files(filled_cache, ".nb?")} == before


ABSOLUTE_VALUE = """
import numpy as np
from soctk.pooling.fast.simd import LANES, by_lanes, kernel

@kernel
def absolute(array):
    x = by_lanes(array)
    x[0] = abs(x[0])

array = np.full((1, 1, LANES), 4.0)
absolute(array)
print(array[0, 0, 0])
"""


@pytest.mark.slow
def test_kernels_are_compiled_again_after_an_edit_of_a_file_that_they_use(tmp_path):
    """The kernel's own file stays the same; numba alone would not notice that simd.py has changed."""
    pytest.importorskip("numba", reason="the kernels need numba")
    shutil.copytree(
        ROOT / "soctk" / "pooling", tmp_path / "soctk" / "pooling", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("__init__", "errors", "onednn"):
        shutil.copy(ROOT / "soctk" / f"{name}.py", tmp_path / "soctk")
    (tmp_path / "program.py").write_text(ABSOLUTE_VALUE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def result() -> str:
        command = [sys.executable, tmp_path / "program.py"]
        return subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout

    assert result() == "4.0\n"
    simd = tmp_path / "soctk" / "pooling" / "fast" / "simd.py"
    edited = simd.read_text().replace('_intrinsic_of_llvm("fabs", 1)', '_intrinsic_of_llvm("sqrt", 1)')
    simd.write_text(edited)
    assert result() == "2.0\n"
