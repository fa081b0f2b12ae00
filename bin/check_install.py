"""Import and run each package that bin/setup installed, and report failures. Usage: check_install.py [EXTRA ...]"""

import io
import logging
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Callable
from importlib.metadata import distribution, version


def run_torch() -> None:
    import torch

    torch.linalg.eigh(torch.eye(3))


def run_s3prl() -> None:
    from soctk.features import upstream

    upstream.load("fbank").hidden_states([_second_of_noise()], [0])


def run_transformers() -> None:
    import torch
    from transformers import WavLMConfig, WavLMModel

    tiny = WavLMConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    WavLMModel(tiny).eval()(torch.from_numpy(_second_of_noise())[None])


def run_soundfile() -> None:
    import soundfile
    import soxr

    buffer = io.BytesIO()
    soundfile.write(buffer, _second_of_noise(), 16000, format="FLAC")
    buffer.seek(0)
    soxr.resample(soundfile.read(buffer)[0], 16000, 8000)


def run_espeak() -> None:
    import ctypes

    import espeakng_loader

    ctypes.CDLL(espeakng_loader.get_library_path()).espeak_Info(None)


def run_commands() -> None:
    from soctk.features import extract  # noqa: F401
    from soctk.reporting import page  # noqa: F401
    from soctk.training import experiment  # noqa: F401

    for command in distribution("soctk").entry_points.select(group="console_scripts").names:
        if not shutil.which(command, path=sysconfig.get_path("scripts")):
            raise FileNotFoundError(f"no {command} in {sysconfig.get_path('scripts')}")


def run_test_tools() -> None:
    import hypothesis  # noqa: F401
    import mpmath  # noqa: F401
    import pyriemann  # noqa: F401
    import pytest  # noqa: F401
    import xdist  # noqa: F401

    for command in ("ruff", "shellcheck", "mypy", "pre-commit"):
        if not shutil.which(command, path=sysconfig.get_path("scripts")):
            raise FileNotFoundError(f"no {command}")


def run_kernels() -> None:
    """Compile the kernels of soctk.pooling, so that the first use need not wait for it."""
    import torch

    from soctk.pooling import fast

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the kernels report a failure by a warning
        for dtype in (torch.float32, torch.float64):
            assert fast.load("eigh", dtype) and fast.load("log and gradient", dtype)


def run_spd_learn() -> None:
    import torch
    from spd_learn.modules import LogEig

    LogEig()(torch.eye(3)[None])


def run_mkdocs() -> None:
    import material  # noqa: F401
    import mkdocs  # noqa: F401
    import mkdocstrings_handlers.python  # noqa: F401


def run_onnx() -> None:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401


def run_silero() -> None:
    import silero_vad

    silero_vad.load_silero_vad()


def run_gradio() -> None:
    import gradio  # noqa: F401


def run_formats() -> None:
    import h5py  # noqa: F401
    import kaldiio  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def run_opensmile() -> None:
    import opensmile

    opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02).process_signal(_second_of_noise(), 16000)


def run_dask() -> None:
    import asyncssh  # noqa: F401
    import dask_jobqueue  # noqa: F401
    from distributed import Security

    Security.temporary()  # needs cryptography


def run_peft() -> None:
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    layer = torch.nn.Sequential(torch.nn.Linear(4, 4))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"]), layer)(torch.ones(1, 4))


def run_tensorboard() -> None:
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401


CHECKS: dict[str, Callable[[], None]] = {
    "torch": run_torch,
    "espnet-s3prl": run_s3prl,
    "transformers": run_transformers,
    "soundfile": run_soundfile,
    "soctk": run_commands,
}
CHECKS_OF_EXTRAS: dict[str, dict[str, Callable[[], None]]] = {
    "fast": {"numba": run_kernels},
    "mini": {"espeakng-loader": run_espeak},
    "test": {"pytest": run_test_tools},
    "bench": {"spd-learn": run_spd_learn},
    "docs": {"mkdocs": run_mkdocs},
    "tensorboard": {"tensorboard": run_tensorboard},
    "finetune": {"peft": run_peft},
    "onnx": {"onnxruntime": run_onnx},
    "vad": {"silero-vad": run_silero},
    "demo": {"gradio": run_gradio},
    "formats": {"pyarrow": run_formats},
    "egemaps": {"opensmile": run_opensmile},
    "cluster": {"distributed": run_dask},
}


def main(extras: list[str]) -> int:
    logging.disable(logging.WARNING)
    checks = dict(CHECKS)
    for extra in extras:
        checks |= CHECKS_OF_EXTRAS[extra]
    failures = 0
    for package, check in checks.items():
        try:
            check()
            print(f"setup: {package} {version(package)} runs")
        except Exception as error:
            failures += 1
            print(f"setup: {package} DOES NOT RUN: {type(error).__name__}: {error}", file=sys.stderr)
    if failures:
        print("setup: repair the packages named above, or remove .venv and run bin/setup again", file=sys.stderr)
    return 1 if failures else 0


def _second_of_noise():
    import numpy as np

    return np.random.default_rng(0).standard_normal(16000, dtype=np.float32) / 10


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
