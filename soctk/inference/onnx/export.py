"""Export of the encoder of a packed model: torch -> graph of ONNX, feature extractor -> front end in numpy."""

import logging
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soctk import provenance
from soctk.errors import SoctkError, missing_package
from soctk.features.upstream import Upstream
from soctk.inference.bundle import Bundle, EncoderSettings
from soctk.inference.onnx import classifier, form
from soctk.inference.onnx.form import FormSettings, OnnxWeights
from soctk.inference.onnx.front_ends import FrontEnd, Kaldi, LogMel, Samples
from soctk.inference.onnx.runtime import INPUT, OUTPUT, OnnxRuntime
from soctk.schema import Config

_WHERE = "--onnx"
_KINDS = "wav2vec 2.0, HuBERT, WavLM and Whisper of transformers, and fbank and mfcc of s3prl"
_WAVEFORM_MODELS = ("wav2vec2", "hubert", "wavlm")
_LARGEST = 2**31 - 2**20  # bytes of weights; a file of ONNX has 2 GB at most
_CHECKED_SECONDS = (0.05, 0.73, 2.5)
_LARGEST_ERROR = {"float32": 1e-3, "int8": 0.5}  # of hidden states, relative to torch's
_LOUDNESS = 0.1  # of the noise in this check


def check(config: Config, encoder: EncoderSettings) -> None:
    """Check that a model can run without torch, as far as its settings tell.

    Raises:
        SoctkError: it cannot; or the packages for the export are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_package(str(error.name), "onnx", "the export", _WHERE) from error
    classifier.require_numpy_form(config)
    if encoder.precision != "float32":
        raise SoctkError(
            f"the features were computed in {encoder.precision}, and the ONNX form computes in float32, which gives "
            "other posteriors",
            remedy="Extract the features in float32 (soctk-extract --precision float32), and train again.",
            where=_WHERE,
        )


def write(bundle: Bundle, encoder: Upstream, weights: OnnxWeights = "float32") -> None:
    """Write the ONNX form of a model's encoder into the folder of the model, and compare its results with torch's.

    Args:
        bundle: the model, in its folder.
        encoder: its encoder, on the CPU.
        weights: the data type of the weights in matrix products.

    Raises:
        SoctkError: the model cannot run without torch, or the graph gives other hidden states.
    """
    assert bundle.path is not None
    check(bundle.settings.experiment, bundle.settings.encoder)
    settings = bundle.settings.encoder
    front_end, arrays = _front_end(encoder)
    graph = None if isinstance(front_end, Kaldi) else _export(encoder, settings.layers)
    if graph is not None and weights == "int8":
        graph = _quantise(graph)
    form.write(
        bundle.path,
        FormSettings(
            format=form.FORMAT,
            encoder=settings.source,
            layers=settings.layers,
            weights=weights,
            max_seconds=encoder.max_seconds if np.isfinite(encoder.max_seconds) else None,
            front_end=front_end,
            files={},
            made_with=provenance.versions("soctk", "torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
        ),
        graph,
        arrays,
    )
    _compare(bundle, encoder, _LARGEST_ERROR[weights])


def _front_end(encoder: Any) -> tuple[FrontEnd, Mapping[str, np.ndarray]]:
    """Return the front end of an encoder, and its arrays."""
    from soctk.features.upstream.huggingface import HuggingFaceUpstream
    from soctk.features.upstream.s3prl import S3prlUpstream

    if isinstance(encoder, S3prlUpstream) and encoder.name in ("fbank", "mfcc"):
        return _kaldi(encoder.name)
    if isinstance(encoder, HuggingFaceUpstream):
        extractor = encoder.extractor
        if encoder.model_type in _WAVEFORM_MODELS:
            return Samples(kind="samples", normalise=extractor.do_normalize), {}
        if encoder.model_type == "whisper" and not extractor.dither:
            mel = extractor.mel_filters.astype(np.float32)
            return LogMel(kind="log_mel", fft=extractor.n_fft, shift=extractor.hop_length, bins=mel.shape[1]), {
                "mel": mel
            }
    raise SoctkError(
        f"the encoder {encoder.name} has no ONNX form in soctk, so the model cannot run without torch",
        remedy=f"Leave out --onnx, or use another encoder. It works with {_KINDS}.",
        where=_WHERE,
    )


def _kaldi(name: str) -> tuple[Kaldi, dict[str, np.ndarray]]:
    """Return the front end for fbank or mfcc with the settings of s3prl (its files fbank.yaml and mfcc.yaml)."""
    from torchaudio.compliance.kaldi import get_mel_banks  # type: ignore[import-untyped]
    from torchaudio.functional import create_dct  # type: ignore[import-untyped]

    length, shift, fft, bins, cepstra = 400, 160, 512, *((80, 0) if name == "fbank" else (23, 13))
    mel, _ = get_mel_banks(bins, fft, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    arrays = {"window": np.hanning(length) ** 0.85, "mel": mel.numpy().T}
    if cepstra:
        cosines = create_dct(bins, bins, "ortho").numpy()[:, :cepstra]
        cosines[:, 0] = bins**-0.5
        arrays["cosines"] = cosines * (1 + 11 * np.sin(np.pi * np.arange(cepstra) / 22))  # Kaldi's lifter
    front_end = Kaldi(
        kind="kaldi", length=length, shift=shift, fft=fft, bins=bins, cepstra=cepstra, deltas=2, normalise=True
    )
    return front_end, arrays


def _export(encoder: Any, layers: list[int]) -> bytes:
    """Return the graph of an encoder, for any number of samples or frames."""
    from soctk.features.upstream.huggingface import Traceable

    module = Traceable(encoder, layers).eval()
    example = module.example()
    dynamic = {"inputs": {example.ndim - 1: torch.export.Dim.DYNAMIC}}
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            dynamic_shapes=dynamic,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    assert program is not None
    model = program.model_proto
    _require_size(sum(tensor.ByteSize() for tensor in model.graph.initializer), layers)
    _remove_notes(model.graph)
    return model.SerializeToString()


def _require_size(size: int, layers: list[int]) -> None:
    """Check that weights of `size` bytes fit into a file."""
    if size > _LARGEST:
        raise SoctkError(
            f"the encoder has {size / 1e9:.1f} GB of weights up to the hidden state {max(layers)}, and a file of ONNX "
            "has 2 GB at most",
            remedy="Train on lower layers, or leave out --onnx.",
            where=_WHERE,
        )


def _remove_notes(graph: Any) -> None:
    """Remove metadata, such as the program lines of each node; soctk.inference.onnx.form refuses some words in it."""
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def _quantise(graph: bytes) -> bytes:
    """Return the graph with the weights of matrix products in 8 bits; activations are rounded while it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="soctk-") as folder, _quiet():
        source, result = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(graph)
        quantize_dynamic(
            source,
            result,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits: sums of products of 8 bits saturate on processors without VNNI instructions
        )
        return result.read_bytes()


def _compare(bundle: Bundle, encoder: Upstream, largest_error: float) -> None:
    """Compare the hidden states of noise with those of torch.

    Raises:
        SoctkError: they differ.
    """
    settings, runtime = bundle.settings.encoder, OnnxRuntime.load(bundle)
    random = np.random.default_rng(0)
    for seconds in _CHECKED_SECONDS:
        noise = random.standard_normal(round(seconds * settings.sample_rate), dtype=np.float32) * np.float32(_LOUDNESS)
        (found,), (expected,) = runtime.hidden_states([noise]), encoder.hidden_states([noise], settings.layers)
        difference = found - expected.numpy() if found.shape == tuple(expected.shape) else found + np.inf
        error = np.linalg.norm(difference) / np.linalg.norm(expected.numpy())
        if not error < largest_error:
            raise SoctkError(
                f"the ONNX form of {settings.name} gives other hidden states than torch, with a relative error of "
                f"{error:.2g} on {seconds:g} s of noise",
                remedy="Leave out --onnx, and report this with the versions of torch, onnx and onnxruntime.",
                where=_WHERE,
            )


@contextmanager
def _quiet():
    """Suppress messages of the exporter about itself; its errors are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
