"""The forward pass of the models of a stack: from the rows of a batch to the outputs of all its models.

The inputs of the heads, descriptors, come from one of three sources. Models whose poolings are all `soc` share the
frames of the batch: each frame is read once and multiplied once, by the projections of all models side by side. Other
models with trained poolings share the frames that are read, and each describes its own. Heads without trained poolings
get descriptors that were computed before training.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm, linear

from soctk.pooling import SOC
from soctk.pooling.frames import Slices
from soctk.pooling.slices import log_triangles
from soctk.training.batches import Batch
from soctk.training.classifier import EmotionClassifier
from soctk.training.frames import Frames
from soctk.training.projection import Utterances, project
from soctk.training.stack import Stack


class Learner(Protocol):
    """What is needed of a model that is trained (soctk.training.loop.Learner)."""

    model: nn.Module
    inputs: Any
    seed: int


Describe = Callable[[Batch, torch.Tensor | None], torch.Tensor]


def make_describe(learners: Sequence[Learner], stack: Stack, threads: int = 1) -> Describe:
    """Return a function that gives the descriptors `(M, B, P)` of the M models of a batch.

    Args:
        learners: one for each model of the stack. Those with trained poolings must share their inputs.
        stack: the parameters of their models.
        threads: the number of threads for the frames; it has no influence on the results.
    """
    model = learners[0].model
    if not isinstance(model, EmotionClassifier):
        return lambda batch, models: torch.stack(
            [learners[model].inputs.batch(rows)[0] for model, rows in zip(batch.models, _lists(batch), strict=True)]
        )
    if shares_projection(model):
        return _SharedProjection(learners, stack, threads)
    return _OneByOne(learners)


def shares_projection(model: EmotionClassifier) -> bool:
    """Return whether all poolings of a classifier are `soc`, directly on the frames."""
    return model.layer_weights is None and not model.projections and all(type(one) is SOC for one in model.poolings)


def outputs_of(model: nn.Module, inputs: Any, rows: Sequence[int]) -> torch.Tensor:
    """Return the outputs `(B, K)` of a model for some rows of its inputs, without a gradient.

    Frames in memory are projected where they are: copying them would take longer than the product.
    """
    if not (isinstance(model, EmotionClassifier) and shares_projection(model) and _are_ready(inputs)):
        return model(*inputs.batch(rows))
    utterances = [inputs.utterances[row] for row in rows]
    lengths = torch.tensor([len(states) for states in utterances])
    pooled = []
    for i, pooling in enumerate(cast(Sequence[SOC], list(model.poolings))):
        own = Utterances([states[:, i] for states in utterances], rows)
        projected = project(own, pooling.projection.weight, threads=1)
        pooled.append(pooling.pool_projected_concatenated(projected, lengths))
    return model.head(torch.cat(pooled, dim=1))


def _are_ready(inputs: Any) -> bool:
    """Return whether these are frames on the CPU which need no further normalisation or conversion."""
    is_plain = isinstance(inputs, Frames) and inputs.layer_norm is False and inputs.block.dtype == torch.float32
    return is_plain and inputs.block.device.type == "cpu"


class _OneByOne:
    """Each model describes its own frames; the rows of all models are read at once."""

    def __init__(self, learners: Sequence[Learner]):
        self._learners = learners

    def __call__(self, batch: Batch, models: torch.Tensor | None) -> torch.Tensor:
        rows, places = _distinct(batch.rows)
        frames = self._learners[0].inputs.select(rows.tolist())
        classifiers = [cast(EmotionClassifier, self._learners[model].model) for model in batch.models]
        each = zip(classifiers, places.tolist(), strict=True)
        return torch.stack([classifier.describe(*frames.batch(own)) for classifier, own in each])


class _SharedProjection:
    """One product of the frames with the projections of all models, whose parts are then pooled where they are.

    Only models of the same seed have an order in common. So there is one product for the models of each seed.
    """

    def __init__(self, learners: Sequence[Learner], stack: Stack, threads: int):
        self._inputs, self._stack, self._threads = learners[0].inputs, stack, threads
        self._lengths = np.asarray(self._inputs.lengths)
        self._poolings = cast(Sequence[SOC], list(cast(EmotionClassifier, learners[0].model).poolings))
        self._seeds = np.array([learner.seed for learner in learners])

    def __call__(self, batch: Batch, models: torch.Tensor | None) -> torch.Tensor:
        seeds = self._seeds[list(batch.models)]
        weights = [self._stack.parameters[f"poolings.{i}.projection.weight"] for i in range(len(self._poolings))]
        weights = weights if models is None else [weight[models] for weight in weights]
        groups = [np.flatnonzero(seeds == seed) for seed in dict.fromkeys(seeds.tolist())]
        if len(groups) == 1:
            return self._describe(batch.rows, weights)
        places = [torch.from_numpy(group).to(self._stack.device) for group in groups]
        described = [
            self._describe(batch.rows[group], [weight[own] for weight in weights])
            for group, own in zip(groups, places, strict=True)
        ]
        return torch.cat(described)[torch.cat(places).argsort()]

    def _describe(self, rows: np.ndarray, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the descriptors `(M, B, P)` for the rows `(M, B)` of models with one order."""
        distinct, places = _distinct(rows)
        lengths = self._lengths[distinct]
        starts = np.cumsum(lengths) - lengths
        blocks = np.repeat(np.arange(len(rows)), rows.shape[1])
        numbers = np.stack([starts[places].ravel(), blocks, lengths[places].ravel()])
        slices = Slices(*torch.from_numpy(numbers).to(self._stack.device))
        pooled = []
        for pooling, weight, projected in zip(
            self._poolings, weights, self._projected(distinct.tolist(), weights), strict=True
        ):
            by_model = projected.unflatten(1, weight.shape[:2])
            pooled.append(log_triangles(by_model, slices, **pooling.regularisation))
        return torch.cat(pooled, dim=1).unflatten(0, rows.shape)

    def _projected(self, rows: list[int], weights: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the frames of some rows times the projections `(M, d, D)` of each pooling, `(sum of T, M d)`."""
        if _are_ready(self._inputs):
            utterances = [self._inputs.utterances[row] for row in rows]
        else:
            frames, _ = self._inputs.batch(rows, self._threads)
            if frames.device.type != "cpu":
                yield from (linear(frames[:, i], weight.flatten(0, 1)) for i, weight in enumerate(weights))
                return
            utterances = list(frames.split(self._lengths[rows].tolist()))
        for i, weight in enumerate(weights):
            own = Utterances([states[:, i] for states in utterances], rows)
            yield project(own, weight.flatten(0, 1), self._threads)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows, and the place of each row among them, in the shape of `rows`."""
    distinct, places = np.unique(rows, return_inverse=True)
    return distinct, places.reshape(rows.shape)


def _lists(batch: Batch) -> list[list[int]]:
    return batch.rows.tolist()


class StackedHead:
    """The heads of the models of a stack; each layer is computed for all models at once.

    Args:
        stack: the parameters of the models.
        heads: the head of each: a linear layer, or a sequence of linear layers, batch norm, ReLU and dropout. They have
            the same layers, but the rates of dropout may differ.
        prefix: what precedes the names of the heads' parameters.
    """

    def __init__(self, stack: Stack, heads: Sequence[nn.Module], prefix: str):
        self._stack = stack
        children = [(f"{name}.", layer) for name, layer in heads[0].named_children()] or [("", heads[0])]
        self._layers = [(f"{prefix}{name}", layer) for name, layer in children]
        # Batch norm subtracts what a bias before it adds, so the gradient of the bias is 0. AdamW would scale its
        # rounding errors to whole steps.
        pairs = itertools.pairwise(self._layers)
        self._before_norm = {name for (name, _), (_, layer) in pairs if isinstance(layer, nn.BatchNorm1d)}
        widths = [layer.out_features for _, layer in self._layers if isinstance(layer, nn.Linear)]
        # The rate of dropout of each model, and the number of values of a row that it may drop.
        self.rates = [next((one.p for one in head.modules() if isinstance(one, nn.Dropout)), 0.0) for head in heads]
        self.dropped = widths[0] if any(self.rates) else 0
        shares = torch.tensor([1 - rate for rate in self.rates], device=stack.device, dtype=stack.dtype)
        self._scales = (1 / shares).view(-1, 1, 1)

    def __call__(
        self, inputs: torch.Tensor, models: torch.Tensor | None, kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the outputs `(M, B, K)` in training; batch norm uses each model's own batch.

        Args:
            inputs: the descriptors `(M, B, P)`.
            models: the models (Stack.index).
            kept: `(M, B, dropped)` bool, the values that dropout keeps; None without dropout.
        """
        for name, layer in self._layers:
            if isinstance(layer, nn.Linear):
                weight = self._own(name + "weight", models)
                inputs = inputs @ weight.mT
                if layer.bias is not None:
                    bias = self._own(name + "bias", models).unsqueeze(1)
                    inputs = inputs + (bias.detach() if name in self._before_norm else bias)
            elif isinstance(layer, nn.BatchNorm1d):
                inputs = self._batch_norm(name, layer, inputs, models)
            elif isinstance(layer, nn.ReLU):
                inputs = inputs.relu()
            elif isinstance(layer, nn.Dropout):
                scales = self._scales if models is None else self._scales[models]
                inputs = inputs if kept is None else inputs * (kept * scales)
            else:
                raise TypeError(f"no stack of {type(layer).__name__}")
        return inputs

    def _own(self, name: str, models: torch.Tensor | None) -> torch.Tensor:
        parameter = self._stack.parameters[name]
        return parameter if models is None else parameter[models]

    def _batch_norm(
        self, name: str, layer: nn.BatchNorm1d, inputs: torch.Tensor, models: torch.Tensor | None
    ) -> torch.Tensor:
        """Normalise `(M, B, H)` as M H channels of B values."""
        weight, bias = (self._own(name + part, models) for part in ("weight", "bias"))
        stored = [self._stack.buffers[name + part] for part in ("running_mean", "running_var")]
        running = [buffer if models is None else buffer[models] for buffer in stored]
        flat = inputs.transpose(0, 1).flatten(1)
        mean, variance = (buffer.view(-1) for buffer in running)
        flat = batch_norm(
            flat, mean, variance, weight.flatten(), bias.flatten(), True, cast(float, layer.momentum), layer.eps
        )
        if models is not None:
            for buffer, changed in zip(stored, running, strict=True):
                buffer[models] = changed
        counts = self._stack.buffers[name + "num_batches_tracked"]
        counts[slice(None) if models is None else models] += 1
        return flat.unflatten(1, (len(inputs), -1)).transpose(0, 1)
