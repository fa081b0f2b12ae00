"""What makes commands start and end fast. Times are in tests/bench/README.md."""

import gc
import subprocess
import sys

import soundfile
from click.testing import CliRunner
from conftest import run_python
from random_models import RATE, noise, random_bundle

from soctk.cli import predict
from soctk.inference import bundle as bundles
from soctk.inference.recogniser import Recogniser


def test_garbage_is_not_collected_while_a_model_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    bundles.write(tmp_path / "model", random_bundle())
    soundfile.write(tmp_path / "a.wav", noise(1.0).T, RATE)
    states, load, values = [], Recogniser.load, Recogniser.values

    def loading(*arguments):
        states.append(gc.isenabled())
        return load(*arguments)

    def classifying(*arguments):
        states.append(gc.isenabled())
        return values(*arguments)

    monkeypatch.setattr(Recogniser, "load", loading)
    monkeypatch.setattr(Recogniser, "values", classifying)
    arguments = [str(tmp_path / "model"), str(tmp_path / "a.wav")]
    assert CliRunner().invoke(predict.main, arguments).exit_code == 0
    assert states == [False, True]
    assert CliRunner().invoke(predict.main, [str(tmp_path / "none"), arguments[1]]).exit_code == 1
    assert gc.isenabled()


def test_garbage_is_not_collected_at_exit():
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); import soctk.cli.common"
    output, _ = run_python(code, stdout=subprocess.PIPE).communicate()
    assert output == "True\n"


def test_the_runtime_of_torch_imports_no_packages_for_reports_and_training():
    code = (
        "import sys, soctk.cli.classify, soctk.inference.torch_runtime\n"
        "print(*sorted({'matplotlib', 'sklearn', 'silero_vad', 's3prl', 'numba', 'gradio'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"
