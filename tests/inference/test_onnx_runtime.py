"""A model without torch gives the answers of the model with torch, and refuses a damaged or dangerous ONNX form."""

import hashlib
import json
import shutil
from dataclasses import replace
from subprocess import PIPE

import numpy as np
import onnx
import pytest
import soundfile
import yaml
from conftest import run_python
from onnx import TensorProto, helper
from random_models import RATE, assert_same, noise, random_bundle
from safetensors.numpy import load_file, save_file

import soctk
from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.inference import bundle
from soctk.inference.onnx import export, form
from soctk.inference.onnx.form import FormSettings
from soctk.inference.onnx.front_ends import Samples
from soctk.inference.onnx.runtime import OnnxRuntime

BANDS = 240


def write_model(folder, *arguments, **options):
    """Write a model of fbank with random weights and its ONNX form, which has no graph."""
    folder.mkdir()
    made = replace(random_bundle(*arguments, **options), path=folder)
    bundle.write(folder, made)
    export.write(made, upstream.load("fbank"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "model", "mean+soc_full", speeds=(0.9,))


@pytest.fixture(scope="module")
def models(folder):
    return soctk.load(folder), soctk.load(folder, runtime="onnx")


@pytest.mark.parametrize("seconds", [0.06, 0.5, 4.0, 35.0])
def test_both_runtimes_give_the_same_posteriors(models, seconds):
    torch_model, onnx_model = models
    samples = noise(seconds)
    assert onnx_model(samples, RATE).posteriors == pytest.approx(torch_model(samples, RATE).posteriors, abs=1e-4)
    assert type(onnx_model.describe(samples[0], RATE)) is type(torch_model.describe(samples[0], RATE)) is np.ndarray


def test_windows_and_streams_work_in_both_runtimes(models):
    torch_model, onnx_model = models
    samples = noise(5.5)
    expected = list(torch_model.windows(samples, RATE, window=2.0, hop=1.0))
    found = list(onnx_model.windows(samples, RATE, window=2.0, hop=1.0))
    assert len(found) > 3
    for ours, other in zip(found, expected, strict=True):
        assert (ours.start, ours.end) == (other.start, other.end)
        assert ours.result.posteriors == pytest.approx(other.result.posteriors, abs=1e-4)
    stream = onnx_model.stream(RATE, window=2.0, hop=1.0)
    assert_same([*stream.push(samples), *stream.finish()], found)


def test_enrolment_works_in_both_runtimes(tmp_path):
    folder = write_model(tmp_path / "model", "stats", "mlp", "recentre.by=speaker")
    answers = []
    for runtime in ("torch", "onnx"):
        model = soctk.load(folder, runtime=runtime)
        with pytest.raises(ValueError, match="needs recordings of the speaker"):
            model(noise(1.0), RATE)
        speaker = model.enrol([noise(1.0, seed=seed) for seed in (1, 2)], RATE)
        answers.append(model(noise(1.0), RATE, speaker=speaker).posteriors)
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)


def test_the_command_and_the_library_import_neither_torch_nor_transformers(folder, tmp_path):
    soundfile.write(tmp_path / "clip.wav", noise(2.0).T, RATE)
    code = f"""
import json, sys
from click.testing import CliRunner
import soctk
from soctk.cli import predict
clip = {str(tmp_path / "clip.wav")!r}
model = soctk.load({str(folder)!r}, runtime="onnx")
answer = model(clip).posteriors
list(model.windows(clip, window=1.0, hop=0.5))
outputs = [
    CliRunner().invoke(predict.main, ["--runtime", "onnx", {str(folder)!r}, clip, *options])
    for options in ([], ["--window", "1"], ["--format", "jsonl"])
]
heavy = [name for name in ("torch", "torchaudio", "transformers", "s3prl", "onnx", "pandas") if name in sys.modules]
import soctk.inference.labelled  # what --score needs more
heavy += [name for name in ("torch", "transformers") if name in sys.modules]
print(json.dumps([answer, [output.exit_code for output in outputs], outputs[0].stdout, heavy]))
"""
    answer, codes, text, heavy = json.loads(run_python(code, stdout=PIPE).communicate()[0])
    assert heavy == []
    assert codes == [0, 0, 0]
    posteriors = [float(value) for value in text.splitlines()[1].split("\t")[5:]]
    assert posteriors == pytest.approx(list(answer.values()), abs=1e-6)
    assert answer == pytest.approx(soctk.load(folder)(tmp_path / "clip.wav").posteriors, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "--device cuda: the runtime onnx computes on the CPU\nUse the runtime torch, or --device"),
        (
            {"encoder": "DIR"},
            "--encoder DIR: the runtime onnx takes the encoder from the folder of the model\nLeave out",
        ),
    ],
)
def test_options_without_effect_are_refused(folder, options, message):
    with pytest.raises(SoctkError) as error:
        soctk.load(folder, runtime="onnx", **options)
    assert str(error.value).startswith(message)


def test_an_unknown_runtime_is_refused(folder):
    with pytest.raises(ValueError, match="runtime is 'jax'; choose 'torch' or 'onnx'"):
        soctk.load(folder, runtime="jax")


def test_a_model_without_the_form_says_how_to_make_one(tmp_path):
    bundle.write(tmp_path, random_bundle())
    with pytest.raises(SoctkError) as error:
        soctk.load(tmp_path, runtime="onnx")
    assert str(error.value) == (
        f"{tmp_path}: the model has no ONNX form of its encoder\n"
        "Pack the experiment with one (soctk-pack --onnx), or use the runtime torch."
    )


def graph_of(*nodes, initializers=(), shape=(1, None, BANDS)):
    """Return a graph from waveforms `(1, samples)` to states."""
    made = helper.make_graph(
        list(nodes),
        "encoder",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [1, None])],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, shape)],
        initializer=list(initializers),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def repeating(layers=1, bands=BANDS):
    """Return a graph that gives each group of 240 samples as a frame."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [layers, -1, bands])
    reshape = helper.make_node("Reshape", ["inputs", "shape"], ["states"])
    return graph_of(reshape, initializers=[shape], shape=(layers, None, bands))


@pytest.fixture
def with_graph(tmp_path):
    """A model with a graph."""
    return write_graph(tmp_path / "model", repeating())


def write_graph(folder, graph):
    folder.mkdir()
    made = replace(random_bundle(), path=folder)
    bundle.write(folder, made)
    encoder = made.settings.encoder
    settings = FormSettings(
        format=form.FORMAT, encoder=encoder.source, layers=encoder.layers, weights="float32", max_seconds=2.0,
        front_end=Samples(kind="samples", normalise=False), files={}, made_with={},
    )  # fmt: skip
    form.write(folder, settings, graph.SerializeToString(), {})
    return folder


def load(folder):
    return OnnxRuntime.load(bundle.read(folder))


def test_a_graph_is_run(with_graph):
    runtime = load(with_graph)
    waveform = np.arange(2 * BANDS, dtype=np.float32)
    np.testing.assert_array_equal(runtime.hidden_states([waveform])[0], waveform.reshape(1, 2, BANDS))
    assert runtime.max_seconds == 2.0


def change(folder, **changes):
    path = folder / "onnx" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content.update(changes)
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "the ONNX form has the format 2, .* format 1\nInstall a newer soctk"),
        ({"format": 0}, r"format 1\nPack the experiment again \(soctk-pack --onnx\)"),
        ({"format": "1"}, r"config\.yaml: damaged \(format: "),
        ({"encoder": "sha256:0"}, "the ONNX form is of sha256:0, layers .0., and the model needs espnet-s3prl"),
        ({"layers": [3]}, "the ONNX form is of espnet-s3prl .*, layers .3., and the model needs"),
        ({"files": {}}, "encoder.onnx does not belong to this front end, or is missing"),
        ({"files": {"../secret": "0"}}, r"damaged \(files\.\.\./secret"),
        ({"max_seconds": -1}, r"damaged \(max_seconds"),
        ({"front_end": {"kind": "other"}}, r"damaged \(front_end"),
        (
            {"front_end": {"kind": "log_mel", "fft": 400, "shift": 160, "bins": 80}},
            r"front_end\.safetensors: damaged \(its arrays are not those of the front end",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(with_graph, changes, message):
    change(with_graph, **changes)
    with pytest.raises(SoctkError, match=message):
        load(with_graph)


def test_a_changed_graph_is_noticed_by_its_checksum(with_graph):
    path = with_graph / "onnx" / "encoder.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SoctkError, match=r"encoder\.onnx: damaged \(its checksum is not the one in config\.yaml\)"):
        load(with_graph)
    path.unlink()
    with pytest.raises(SoctkError, match=r"encoder\.onnx: damaged \(.*No such file"):
        load(with_graph)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "own.bin"])
@pytest.mark.parametrize("in_node", [True, False])
def test_a_graph_that_names_other_files_is_refused(tmp_path, location, in_node):
    tensor = TensorProto(name="other", data_type=TensorProto.FLOAT, dims=[BANDS], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    add = helper.make_node("Add", ["reshaped", "other"], ["states"])
    model = repeating()
    model.graph.node[0].output[0] = "reshaped"
    if in_node:
        model.graph.node.append(helper.make_node("Constant", [], ["other"], value=tensor))
    else:
        model.graph.initializer.append(tensor)
    model.graph.node.append(add)
    folder = write_graph(tmp_path / "model", model)
    np.arange(BANDS, dtype=np.float32).tofile(tmp_path / "secret.bin")
    shutil.copy(tmp_path / "secret.bin", folder / "onnx" / "own.bin")
    with pytest.raises(SoctkError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder}/onnx/encoder.onnx: the graph names other files, from which onnxruntime would read its weights\n"
        "Do not use this model. Pack the experiment again (soctk-pack --onnx)."
    )


@pytest.mark.parametrize(
    "graph",
    [
        onnx.ModelProto(),
        graph_of(helper.make_node("NoSuchOperator", ["inputs"], ["states"])),
        graph_of(helper.make_node("Identity", ["inputs"], ["states"]), shape=(1, None)),
        repeating(layers=2),
        repeating(bands=BANDS // 2),
    ],
    ids=["empty", "unknown operator", "two dimensions", "two layers", "other width"],
)
def test_a_graph_that_cannot_be_is_refused(tmp_path, graph):
    folder = write_graph(tmp_path / "model", graph)
    with pytest.raises(SoctkError, match=r"encoder\.onnx: damaged \("):
        load(folder).hidden_states([np.zeros(2 * BANDS, dtype=np.float32)])


def test_a_waveform_that_the_graph_cannot_take_gives_one_message(with_graph, capfd):
    with pytest.raises(SoctkError, match=r"encoder\.onnx: damaged \("):
        load(with_graph).hidden_states([np.zeros(BANDS + 1, dtype=np.float32)])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("change_arrays", "message"),
    [
        (lambda arrays: arrays.pop("mel"), "its arrays are not those of the front end"),
        (lambda arrays: arrays.update(mel=arrays["mel"][:-1]), "its arrays are not those of the front end"),
        (lambda arrays: arrays["mel"].fill(np.nan), "NaN or infinite values"),
    ],
)
def test_arrays_that_cannot_be_are_refused(folder, tmp_path, change_arrays, message):
    copy = shutil.copytree(folder, tmp_path / "model")
    path = copy / "onnx" / "front_end.safetensors"
    arrays = load_file(path)
    change_arrays(arrays)
    save_file(arrays, path)
    with pytest.raises(SoctkError, match="its checksum is not the one"):
        load(copy)
    change(copy, files={path.name: checksum(path)})
    with pytest.raises(SoctkError, match=rf"front_end\.safetensors: damaged \({message}"):
        load(copy)


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_another_model_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    path = copy / "model.safetensors"
    save_file({**load_file(path), "head.bias": np.zeros(4, dtype=np.float32)}, path)
    with pytest.raises(SoctkError, match=r"model\.safetensors: damaged \(its weights are not those of the model"):
        load(copy)
