"""The options of a recipe, as the command line gives them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soctk.features.upstream import has_one_state
from soctk.schema import Augmentation, Normalisation, Protocol


@dataclass(frozen=True)
class Options:
    """The options of a recipe as the command line gives them; None stands for the default of the conf directories.

    Attributes:
        stage: the first stage to run.
        stop_stage: the last stage to run; None for 3, or for `stage` if it is greater.
        corpus: the folder of the recordings.
        upstream: a name, a folder, or a hub id; or several, separated by spaces.
        layers: the hidden states to extract: `last`, `all`, or numbers.
        speeds: the speeds of the copies of each recording.
        augmentations: the augmentations of further copies, for training only.
        normalise: `level` to scale recordings to one level, or `none`.
        use_layers: the hidden states to train on: `auto`, `all`, `last`, numbers, or numbers for each of several
            upstreams; None for the default of frames.yaml if all are extracted, and otherwise for all that are
            extracted.
        combine: `sum` or `concat`.
        preset: `default`, or the name of a folder in conf/preset/.
        pooling: the pooling's name, or several joined by `+`.
        head: `linear`, `mlp` or `auto`.
        folds: the folds to test; empty for all.
        seeds: the seeds.
        recentre: `none` or `speaker`.
        enrol: how many utterances of a test speaker give the speaker's mean.
        protocol: how validation utterances are chosen.
        extract_args: more arguments of soctk-extract.
        train_args: more arguments of soctk-train, or of soctk-finetune.
        conf_dirs: the directories of `--conf` in train_args.
        overrides: the settings of `--set` in train_args.
        target: what is predicted: `emotion`, `distribution`, or dimensions joined by `+`.
        finetune: the parameters of the encoder to train: `lora`, `top:N` or `all`; None for a frozen encoder.
        tag: a suffix of the experiment's name.
        nj: the number of processes.
        cluster: the cluster of stages 1 and 2; None for processes on this machine.
        device: `cpu`, `cuda` or `auto`.
        expdir: the directory of the experiments; None for exp in the recipe.
        own: the recipe's own options, by name.
    """

    stage: int
    stop_stage: int | None
    corpus: str | None
    upstream: str
    layers: str | tuple[int, ...]
    speeds: tuple[float, ...]
    augmentations: tuple[Augmentation, ...]
    normalise: Normalisation
    use_layers: str | tuple[int, ...] | tuple[tuple[int, ...], ...] | None
    combine: str | None
    preset: str
    pooling: str | None
    head: str | None
    folds: Sequence[int]
    seeds: Sequence[int]
    recentre: str | None
    enrol: str | int | None
    protocol: Protocol
    extract_args: Sequence[str]
    train_args: Sequence[str]
    conf_dirs: Sequence[Path]
    overrides: Sequence[str]
    target: str
    finetune: str | None
    tag: str
    nj: int
    cluster: str | None
    device: str
    expdir: str | None
    own: dict[str, str]

    @property
    def upstreams(self) -> list[str]:
        """The upstreams, one or several. A folder with spaces in its name is one upstream."""
        if Path(self.upstream).is_dir() or Path(self.upstream.rpartition(":")[0]).is_file():
            return [self.upstream]
        try:
            return shlex.split(self.upstream) or [self.upstream]
        except ValueError:  # a quote that is not closed
            return [self.upstream]

    @property
    def extracts_last(self) -> bool:
        """Whether the last hidden state is extracted, and no other."""
        return self.layers == "last" or (self.layers == "all" and all(map(has_one_state, self.upstreams)))


def per_encoder(layers: tuple[Any, ...]) -> list[tuple[int, ...]]:
    """Return the lists of hidden states of several encoders, or the one list that holds for all."""
    return list(layers) if isinstance(layers[0], tuple) else [layers]


def spaced(values: str | Sequence[float]) -> str:
    """Return a word as it is, or numbers separated by spaces, as an option takes them."""
    if isinstance(values, str):
        return values
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
