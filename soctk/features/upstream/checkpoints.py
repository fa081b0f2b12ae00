"""Checkpoints of Hugging Face transformers: they are loaded without running code that they contain or name."""

import hashlib
import sys
import textwrap
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from soctk.errors import SoctkError, plural
from soctk.files import require_utf8
from soctk.mappings import read_json

# Weights that many published checkpoints lack: they replace masked frames, which occur only in pre-training.
_ONLY_FOR_TRAINING = {"masked_spec_embed"}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_HUB_TIMEOUT = 10  # s


def load_checkpoint(name_or_path: str, revision: str | None):
    """Return the feature extractor and the model of a checkpoint.

    Raises:
        SoctkError: it is not available, incomplete or damaged, or needs code.
    """
    disable_progress_bar()  # loading weights takes only seconds
    where = f"--upstream {name_or_path}"
    if Path(name_or_path).is_dir():
        _check_files(Path(name_or_path))
    try:
        extractor, model, loaded = _load_pretrained(name_or_path, revision)
    except SoctkError:
        raise
    except Exception as error:  # missing, unknown or damaged files raise errors of many classes
        if "trust_remote_code" in str(error):
            raise _needs_code(where) from error
        raise SoctkError(
            f"transformers cannot load it ({describe(error)})",
            remedy="A directory needs config.json, preprocessor_config.json and model.safetensors; "
            "a hub id must name a speech encoder.",
            where=where,
        ) from error
    missing = sorted(key for key in loaded["missing_keys"] if key not in _ONLY_FOR_TRAINING)
    if loaded["mismatched_keys"]:
        name, stored, expected = min(loaded["mismatched_keys"])
        raise SoctkError(
            f"{plural(len(loaded['mismatched_keys']), 'weight has', 'weights have')} another shape than config.json "
            f"says, such as {name}: {tuple(stored)}, not {tuple(expected)}",
            remedy="Use config.json and model.safetensors of the same checkpoint.",
            where=where,
        )
    if missing:
        raise SoctkError(
            f"the checkpoint lacks {len(missing)} of the model's weights, such as {missing[0]}",
            remedy="Use a complete checkpoint of the architecture in config.json; missing weights would be random.",
            where=where,
        )
    return extractor, model


def describe(error: Exception) -> str:
    """Return the class of an error and the beginning of its message, in one line."""
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"


def _check_files(directory: Path) -> None:
    """Check the files of an encoder.

    Raises:
        SoctkError: the path is not UTF-8, a JSON file is damaged, or the weights are pointers of git-lfs or pickles.
    """
    require_utf8(directory)
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as content:
            if content.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise SoctkError("a git-lfs pointer, not the weights", remedy="Run `git lfs pull` there.", where=file)
    for name in ("config.json", "preprocessor_config.json"):
        if (directory / name).is_file():
            read_json(directory / name)
    pickles = sorted(file.name for file in directory.glob("*") if file.suffix in _PICKLES)
    if pickles and not any(directory.glob("*.safetensors*")):
        raise SoctkError(
            f"the weights are a pickle ({pickles[0]}), which can run any program when it is read; soctk reads only "
            "safetensors",
            remedy='If you trust its source, convert it: python -c "from transformers import AutoModel; '
            f'AutoModel.from_pretrained({str(directory)!r}, weights_only=True).save_pretrained({str(directory)!r})"',
            where=directory,
        )


def _needs_code(where: str) -> SoctkError:
    return SoctkError(
        "this model needs program code from its own repository, and soctk never runs such code",
        remedy="Use a model whose architecture is part of transformers: wav2vec 2.0, HuBERT, WavLM, data2vec-audio, "
        "w2v-BERT or Whisper.",
        where=where,
    )


def _load_pretrained(name_or_path: str, revision: str | None):
    """Return feature extractor, model and loading report, from the local disk or else from the hub."""
    try:
        return _load_as_data(name_or_path, revision, local_files_only=True)
    except OSError:
        if Path(name_or_path).is_dir():
            raise
    _require_on_hub(name_or_path, revision)
    if sys.stderr.isatty():
        enable_progress_bar()
    return _load_as_data(name_or_path, revision, local_files_only=False)


def _load_as_data(name_or_path: str, revision: str | None, local_files_only: bool):
    """Load an encoder without running any code that its files contain or name.

    The weights of a directory are safetensors. A few older models on the hub have only pickles; torch reads these with
    `weights_only`, which refuses everything except tensors.
    """
    options: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    options |= {} if revision is None else {"revision": revision}
    extractor = AutoFeatureExtractor.from_pretrained(name_or_path, **options)
    config = AutoConfig.from_pretrained(name_or_path, **options)
    if "/" in str(config._attn_implementation):  # a kernel on the hub, which transformers would download and run
        raise _needs_code(f"--upstream {name_or_path}")
    only_safetensors = True if Path(name_or_path).is_dir() else None
    model, loaded = AutoModel.from_pretrained(
        name_or_path,
        config=config,
        weights_only=True,
        use_safetensors=only_safetensors,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # load_checkpoint reports them
        **options,
    )
    return extractor, model, loaded


def _require_on_hub(name: str, revision: str | None) -> None:
    """Request a model from the hub once: without a network, transformers would repeat its requests for 46 s."""
    try:
        HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT)
    except Exception as error:  # errors of network, hub and name have no common class
        raise SoctkError(
            f"not on this machine, and not available from the Hugging Face hub ({type(error).__name__})",
            remedy="The first use of a hub id needs a network connection. Check the id, or give the directory of the "
            "model: --upstream DIR.",
            where=f"--upstream {name}",
        ) from error


def identify_source(name_or_path: str, revision: str | None) -> str:
    """Return the checksum of a directory, or the revision of a model of the hub that has been loaded."""
    directory = Path(name_or_path)
    if directory.is_dir():
        return f"sha256:{compute_checksum(directory)}"
    cached = try_to_load_from_cache(
        name_or_path, "config.json", revision=revision
    )  # the name of its folder: the commit
    return f"revision:{Path(str(cached)).parent.name}"


def compute_checksum(directory: Path) -> str:
    """Return a checksum of the weights and settings in a directory."""
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*")):
        if file.suffix in (".safetensors", ".bin", ".json"):
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
