"""The training loop: AdamW with linear warm-up and decay, and early stopping on the validation loss.

It trains any number of models at the same time; one model is the simplest case. The batches, the dropout and the
learning rate of a model do not depend on the other models: it learns the same, up to rounding, alone and beside others.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from soctk.errors import SoctkError
from soctk.pooling.threads import share
from soctk.schema import TrainConfig
from soctk.training import batches
from soctk.training.classifier import EmotionClassifier
from soctk.training.frames import Frames, StreamedFrames
from soctk.training.inputs import Descriptors
from soctk.training.stack import Stack, step_factors, warmup_then_decay
from soctk.training.target import Target
from soctk.training.together import StackedHead, make_describe, outputs_of

EVAL_BATCH = 32
EVAL_BATCH_OF_DESCRIPTORS = 256  # on a GPU

_EPOCHS_ORDERED = 16  # epochs whose orders are made at once

Inputs = Frames | StreamedFrames | Descriptors


@dataclass
class Learner:
    """A model that is to be trained, and its data.

    Attributes:
        model: takes a batch of the inputs and returns outputs `(B, K)`; on the device of the inputs. The models that
            are trained together have the same architecture, up to the rate of dropout.
        inputs: the inputs of all rows; models with trained poolings that are trained together share them.
        target: what is predicted, for a run on this device (Target.of_run).
        fitted: the training rows.
        valid: the validation rows, whose loss chooses the best epoch, in the order of `predict`.
        config: the batch size, which is the same for models that are trained together; epochs, patience, learning
            rate, weight decay, warm-up, and gradient clipping.
        seed: determines the order of the rows and the dropout.
        strata: what the order of the rows is stratified by; None for nothing.
    """

    model: nn.Module
    inputs: Inputs
    target: Target
    fitted: Sequence[int]
    valid: Sequence[int]
    config: TrainConfig
    seed: int
    strata: batches.Strata | None = None


class Epoch(NamedTuple):
    """An epoch of one of the models.

    Attributes:
        number: the number of the learner, from 0.
        record: epoch, train_loss, the validation scores (Target.scores), lr, and the seconds of all models together.
        is_last: whether the model is trained: it has stopped, and has the weights of its best epoch.
    """

    number: int
    record: dict[str, Any]
    is_last: bool


def train_together(learners: Sequence[Learner], copies: int = 1, threads: int = 1) -> Iterator[Epoch]:
    """Train models in place and yield an `Epoch` of each model after each epoch; a trained model leaves the others.

    Args:
        learners: the models, their data and their settings.
        copies: how often each validation row occurs in `Learner.valid`.
        threads: the number of threads; it has no influence on the results.

    Raises:
        Diverged: the loss of a model becomes infinite or NaN; the other models are not trained further.
    """
    training = _Training(learners, threads)
    best = {number: _Best() for number in range(len(learners))}
    started = time.perf_counter()
    for epoch in itertools.count(1):
        losses = training.epoch(epoch)
        records = {}
        for number, loss in losses.items():
            learner = learners[number]
            _require_finite(loss, epoch, number)
            predicted = predict(learner.model, learner.inputs, learner.target, learner.valid, copies, threads)
            scores = learner.target.scores(predicted.cpu().numpy(), learner.valid[: len(predicted)])
            records[number] = {"epoch": epoch, "train_loss": loss, **scores, "lr": training.rate(number, epoch)}
            _require_finite(scores["valid_loss"], epoch, number)
        seconds, started = round(time.perf_counter() - started, 3), time.perf_counter()
        stopped = set()
        for number, record in records.items():
            config = learners[number].config
            if record["valid_loss"] < best[number].loss:
                best[number] = _Best(record["valid_loss"], epoch, training.state(number))
            if epoch == config.epochs or epoch - best[number].epoch >= config.patience:
                training.restore(number, best[number].state)
                stopped.add(number)
        training.drop(stopped)
        for number, record in records.items():
            yield Epoch(number, {**record, "seconds": seconds}, number in stopped)
        if len(stopped) == len(records):
            return


def train(
    model: nn.Module,
    inputs: Inputs,
    target: Target,
    train_indices: Sequence[int],
    valid_indices: Sequence[int],
    config: TrainConfig,
    seed: int,
    copies: int = 1,
) -> Iterator[dict[str, Any]]:
    """Train one model and yield its records: `train_together` with the arguments of one `Learner`."""
    learner = Learner(model, inputs, target, train_indices, valid_indices, config, seed)
    return (epoch.record for epoch in train_together([learner], copies))


def train_for(
    model: nn.Module,
    inputs: Inputs,
    target: Target,
    train_indices: Sequence[int],
    config: TrainConfig,
    seed: int,
    epochs: int,
) -> None:
    """Train `model` in place for a number of epochs, without validation; the other arguments are those of `train`.

    Raises:
        SoctkError: the loss becomes infinite or NaN.
    """
    training = _Training([Learner(model, inputs, target, train_indices, [], config, seed)], threads=1)
    for epoch in range(1, epochs + 1):
        _require_finite(training.epoch(epoch)[0], epoch, 0)
    training.drop({0})
    model.eval()


@dataclass
class _Best:
    """The best epoch of a model so far."""

    loss: float = math.inf
    epoch: int = 0
    state: Any = field(default=None, repr=False)


class _Training:
    """The models that are still being trained; they are addressed by their numbers among the learners."""

    def __init__(self, learners: Sequence[Learner], threads: int):
        self._learners, self._threads = list(learners), threads
        self._batch_size = learners[0].config.batch_size
        self._numbers = list(range(len(learners)))
        self._stack = Stack([learner.model for learner in learners])
        self._steps = [len(batches.cut(len(learner.fitted), self._batch_size)) for learner in learners]
        device = self._stack.device
        self._generators = [torch.Generator(device).manual_seed(learner.seed) for learner in learners]
        self._fitted = [_mask(learner) for learner in learners]
        # The order for a seed, strata, a number of rows, and an epoch.
        self._common: dict[tuple[int, int, int, int], np.ndarray] = {}
        self._build()

    def epoch(self, epoch: int) -> dict[int, float]:
        """Train each model for an epoch; return the mean loss of its batches, NaN if a gradient was infinite or NaN."""
        stack = self._stack
        for number in self._numbers:
            self._learners[number].model.train()
        sums = torch.zeros(len(stack), device=stack.device)
        factors, kept = self._factors(epoch), self._kept()
        for batch in batches.batches(self._orders(epoch), self._batch_size):
            models = stack.index(batch.models)
            own = slice(None) if models is None else models
            mask = kept[own, batch.start : batch.start + batch.rows.shape[1]] if self._head.dropped else None
            outputs = self._head(self._describe(batch, models), models, mask)
            losses = self._losses(outputs, models, torch.from_numpy(batch.rows).to(stack.device))
            losses.sum().backward()
            stack.step(models, factors[batch.step, own])
            sums[own] += losses.detach()
        means = sums.masked_fill_(stack.diverged, math.nan).tolist()
        return {number: total / self._steps[number] for number, total in zip(self._numbers, means, strict=True)}

    def rate(self, number: int, epoch: int) -> float:
        """Return the learning rate of a model after an epoch."""
        steps, config = self._steps[number], self._learners[number].config
        return config.lr * warmup_then_decay(steps * epoch, steps * config.epochs, config.warmup)

    def state(self, number: int) -> Any:
        """Return a copy of the weights of a model."""
        return self._stack.state(self._numbers.index(number))

    def restore(self, number: int, state: Any) -> None:
        """Give a model the weights of an earlier `state`."""
        self._stack.restore(self._numbers.index(number), state)

    def drop(self, numbers: set[int]) -> None:
        """Train these models no further."""
        if not numbers:
            return
        kept = [place for place, number in enumerate(self._numbers) if number not in numbers]
        self._stack.keep(kept)
        self._numbers = [self._numbers[place] for place in kept]
        if kept:
            self._build()

    def _build(self) -> None:
        learners = [self._learners[number] for number in self._numbers]
        model = learners[0].model
        is_whole = isinstance(model, EmotionClassifier)
        heads = [cast(nn.Module, one.model.head) if is_whole else one.model for one in learners]
        self._head = StackedHead(self._stack, heads, "head." if is_whole else "")
        self._describe = make_describe(learners, self._stack, self._threads)
        self._losses = learners[0].target.together([learner.target for learner in learners])

    def _orders(self, epoch: int) -> list[np.ndarray]:
        """Return the training rows of each model in the order of the epoch."""
        orders = []
        for number in self._numbers:
            learner, mask = self._learners[number], self._fitted[number]
            key = learner.seed, id(learner.strata), len(mask), epoch
            if key not in self._common:
                strata = learner.strata or batches.Strata.one(len(mask))
                last = max(self._learners[other].config.epochs for other in self._numbers)
                epochs = range(epoch, min(epoch + _EPOCHS_ORDERED, last + 1))
                found = batches.orders(strata, learner.seed, epochs)
                self._common = {past: order for past, order in self._common.items() if past[-1] >= epoch}
                self._common |= {(*key[:-1], each): order for each, order in zip(epochs, found, strict=True)}
            order = self._common[key]
            orders.append(order[mask[order]])
        return orders

    def _factors(self, epoch: int) -> torch.Tensor:
        """Return the factors `(S, K, 4)` of the steps of an epoch (Stack.step)."""
        factors = np.zeros((max(self._steps[number] for number in self._numbers), len(self._numbers), 4))
        for place, number in enumerate(self._numbers):
            steps, config = self._steps[number], self._learners[number].config
            for step in range(steps):
                factors[step, place] = step_factors(config, (epoch - 1) * steps + step, steps * config.epochs)
        return torch.from_numpy(factors).to(self._stack.device, self._stack.dtype)

    def _kept(self) -> torch.Tensor:
        """Return which values dropout keeps in an epoch, `(K, rows, dropped)`; each model draws its own."""
        rows = [len(self._learners[number].fitted) for number in self._numbers]
        kept = torch.ones(len(rows), max(rows), self._head.dropped, dtype=torch.bool, device=self._stack.device)
        for own, count, rate, number in zip(kept, rows, self._head.rates, self._numbers, strict=True):
            if rate:
                own[:count].bernoulli_(1 - rate, generator=self._generators[number])
        return kept


def _mask(learner: Learner) -> np.ndarray:
    """Return whether the model trains on each row, `(N,)`."""
    rows = 1 + max(learner.fitted) if learner.strata is None else len(learner.strata.numbers)
    mask = np.zeros(rows, dtype=bool)
    mask[list(learner.fitted)] = True
    return mask


class Diverged(SoctkError):
    """The error for a model whose loss is infinite or NaN.

    Attributes:
        number: the number of the learner, from 0.
    """

    def __init__(self, epoch: int, number: int):
        super().__init__(
            f"the loss is infinite or NaN in epoch {epoch}",
            remedy="Lower the learning rate (--set train.lr=1e-4), or check the store for extreme features.",
        )
        self.number = number


def _require_finite(loss: float, epoch: int, number: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(epoch, number)


@torch.inference_mode()
def predict(
    model: nn.Module,
    inputs: Inputs,
    target: Target,
    indices: Sequence[int],
    copies: int = 1,
    threads: int = 1,
) -> torch.Tensor:
    """Return the predictions `(N, K)` for N utterances (Target.predictions), averaged over their copies.

    Args:
        model: as in `train`.
        inputs: the inputs of all utterances and their copies.
        target: what is predicted.
        indices: N utterances, then N copies of them in the same order, and so on.
        copies: how often each utterance occurs in `indices`.
        threads: how many batches are predicted at the same time.
    """
    model.eval()
    is_small = isinstance(inputs, Descriptors) and next(model.parameters()).device.type != "cpu"
    size = EVAL_BATCH_OF_DESCRIPTORS if is_small else EVAL_BATCH
    outputs: dict[int, torch.Tensor] = {}

    @torch.inference_mode()  # each thread has its own mode
    def work(start: int) -> None:
        outputs[start] = outputs_of(model, inputs, indices[start : start + size])

    starts = range(0, len(indices), size)
    share(work, starts, caller_works=True, threads=threads)
    return target.predictions(torch.cat([outputs[start] for start in starts]).unflatten(0, (copies, -1)))
