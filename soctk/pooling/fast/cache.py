"""The folder in which numba keeps compiled kernels."""

import os
import zlib
from pathlib import Path

from soctk.pooling import regularisation

_HERE = Path(__file__).parent


def folder() -> Path:
    """Return the cache folder for the current version of the kernels' sources.

    It lies in NUMBA_CACHE_DIR if that is set; else beside the sources; or, if these are read-only, in ~/.cache/soctk.
    numba compiles a kernel again if the kernel's own file has changed, but does not notice changes in files that it
    imports. So the folder's name contains a checksum of all these files.
    """
    sources = [_HERE / "kernels.py", _HERE / "simd.py", Path(regularisation.__file__)]
    checksum = zlib.crc32(b"".join(source.read_bytes() for source in sources))
    return _parent() / f"soctk-kernels-{checksum:08x}"


def _parent() -> Path:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    if os.access(_HERE, os.W_OK):
        return _HERE / "__pycache__"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soctk"
