"""The folder in which numba keeps compiled kernels."""

import os
import zlib
from pathlib import Path

from soctk.pooling import regularisation

_HERE = Path(__file__).parent


def folder() -> Path:
    """Return the folder for the kernels of this version of their sources.

    It lies in NUMBA_CACHE_DIR if that is set; else beside the sources; or, where these are read-only, in
    ~/.cache/soctk. numba recompiles a kernel whose own file has changed, but does not notice changes in the files that
    it uses. So the folder's name carries a checksum of all of them.
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
