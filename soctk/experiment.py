"""An experiment: folds x seeds of one configuration, each run left as a directory that is there whole or not at all."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from joblib import Parallel, delayed
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from soctk import pooling, protocol
from soctk.config import Config, differences, read_yaml
from soctk.datadir import DataDir
from soctk.errors import SoctkError, listing
from soctk.files import atomic_directory
from soctk.model import EmotionClassifier
from soctk.store import FeatureStore, Frames
from soctk.train import Descriptors, Inputs, apply, predict, train


def run(
    config: Config,
    data: DataDir,
    store: FeatureStore,
    path: Path,
    folds: Iterable[int],
    seeds: Iterable[int],
    nj: int = 1,
    device: str = "cpu",
) -> int:
    """Train and test each fold with each seed; leave foldK/seedS directories under `path`.

    A run that is already there with the same settings is not repeated. A run that is interrupted leaves
    `seedS.unfinished`, and is started afresh.

    Args:
        config: everything but fold and seed.
        data: the corpus.
        store: its features.
        path: the experiment's directory.
        folds: folds to test, from 1.
        seeds: of initialisation and order, and of the validation draw of `--protocol emobox`.
        nj: how many runs go on at a time, each a process with one thread; the results do not depend on it.
        device: `cpu` or `cuda`.

    Returns:
        How many runs were done now.

    Raises:
        SoctkError: an unknown fold, features missing from the store, a finished run with other settings.
    """
    pooling.create(config.pooling.name, store.settings["hidden_size"], config.pooling.options)
    pending = []
    for fold in folds:
        for seed in seeds:
            protocol.split(data, fold, config.protocol, seed)
            settings = _settings(config, data, store, fold, seed)
            if not _is_finished(path / f"fold{fold}" / f"seed{seed}", settings):
                pending.append((fold, seed, settings))
    jobs = (delayed(_run_one)(config, data, store, path, *run, device) for run in pending)
    workers = Parallel(n_jobs=min(nj, len(pending)) or 1, return_as="generator_unordered")
    for line in tqdm(workers(jobs), desc="train", total=len(pending), unit="run", disable=None):
        tqdm.write(line)
    return len(pending)


def _settings(config: Config, data: DataDir, store: FeatureStore, fold: int, seed: int) -> dict[str, Any]:
    return {
        "fold": fold,
        "seed": seed,
        "data": data.checksum(),
        "features": {key: value for key, value in store.settings.items() if key != "versions"},
        **config.model_dump(),
    }


def _is_finished(path: Path, settings: dict[str, Any]) -> bool:
    if not path.exists():
        return False
    lines = differences(read_yaml(path / "config.yaml"), settings)
    if lines:
        raise SoctkError(
            f"this run was made with other settings\n{listing(lines)}",
            remedy="Give the new settings a name of their own (--tag), or remove the directory.",
            where=path,
        )
    return True


def _run_one(
    config: Config,
    data: DataDir,
    store: FeatureStore,
    path: Path,
    fold: int,
    seed: int,
    settings: dict[str, Any],
    device: str,
) -> str:
    """Train and test one fold with one seed; return a line that says how it went."""
    torch.set_num_threads(1)  # one thread a run, so that its numbers do not depend on how many runs go on
    torch.manual_seed(seed)
    model = EmotionClassifier(store.settings["hidden_size"], len(data.emotions), config).to(device)
    learner, inputs = _learner_and_inputs(model, store.load(data.utterances).to(device))
    labels = torch.tensor([data.emotions.index(emotion) for emotion in data.emotion.values()], device=device)
    split = protocol.split(data, fold, config.protocol, seed)
    index = {utt: i for i, utt in enumerate(data.utterances)}
    train_indices, valid_indices, test_indices = (
        [index[utt] for utt in part] for part in (split.train, split.valid, split.test)
    )
    with atomic_directory(path / f"fold{fold}" / f"seed{seed}") as directory:
        (directory / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        records = []
        with (directory / "train.jsonl").open("w", encoding="utf-8") as log:
            for record in train(learner, inputs, labels, train_indices, valid_indices, config.train, seed):
                records.append(record)
                print(json.dumps(record), file=log, flush=True)
        (directory / "model.safetensors").write_bytes(save(model.state_dict()))
        log_posteriors = predict(learner, inputs, test_indices)
        _predictions(data, split.test, log_posteriors).to_csv(directory / "predictions.tsv", sep="\t", index=False)
    best = min(records, key=lambda record: record["valid_loss"])
    return (
        f"fold {fold} seed {seed}: {len(records)} epochs, best {best['epoch']} with validation "
        f"WA {100 * best['valid_WA']:.1f} UA {100 * best['valid_UA']:.1f}"
    )


def _learner_and_inputs(model: EmotionClassifier, frames: Frames) -> tuple[nn.Module, Inputs]:
    """Return what is trained, and on what: the model on frames; or, where only the head learns, that on descriptors."""
    if any(True for _ in model.pooling.parameters()):
        return model, frames
    return model.head, Descriptors(apply(model.describe, frames, range(len(frames.lengths))))


def _predictions(data: DataDir, utterances: list[str], log_posteriors: torch.Tensor) -> pd.DataFrame:
    best = log_posteriors.argmax(-1).tolist()
    columns = {
        "utt": utterances,
        "spk": [data.speaker[utt] for utt in utterances],
        "ref": [data.emotion[utt] for utt in utterances],
        "hyp": [data.emotions[i] for i in best],
    }
    posteriors = log_posteriors.exp().cpu().T.tolist()
    return pd.DataFrame(
        columns | {e: [f"{p:.6f}" for p in ps] for e, ps in zip(data.emotions, posteriors, strict=True)}
    )
