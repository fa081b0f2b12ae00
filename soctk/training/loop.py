"""The training loop: AdamW with linear warm-up and decay, and early stopping on the validation loss."""

import math
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import nn

from soctk.errors import SoctkError
from soctk.schema import TrainConfig
from soctk.training.target import Target

EVAL_BATCH = 32


class Inputs(Protocol):
    """The inputs of a model: frames or descriptors (soctk.training.inputs)."""

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return the arguments of the model for the utterances with these indices."""


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
    """Train `model` in place and yield a record per epoch; at the end, load the weights of the best epoch.

    A record has epoch, train_loss, the validation scores (Target.scores), lr, and seconds.

    Args:
        model: takes a batch of the inputs and returns outputs `(B, K)`; on the device of the inputs.
        inputs: the inputs of all utterances.
        target: what is predicted, for a run on this device (Target.of_run).
        train_indices: the training utterances.
        valid_indices: the validation utterances, whose loss chooses the best epoch, in the order of `predict`.
        config: batch size, epochs, patience, learning rate, weight decay, warm-up, and gradient clipping.
        seed: determines the order of the utterances.
        copies: how often each validation utterance occurs in `valid_indices`.

    Raises:
        SoctkError: the loss becomes infinite or NaN.
    """
    best_loss, best_epoch, best_state = math.inf, 0, model.state_dict()
    started = time.perf_counter()
    for epoch, train_loss, lr in _epochs(model, inputs, target, train_indices, config, seed):
        record: dict[str, Any] = {"epoch": epoch, "train_loss": train_loss}
        record |= _evaluate(model, inputs, target, valid_indices, copies)
        record |= {"lr": lr, "seconds": round(time.perf_counter() - started, 3)}
        _require_finite(record["train_loss"] + record["valid_loss"], epoch)
        if record["valid_loss"] < best_loss:
            best_loss, best_epoch, best_state = record["valid_loss"], epoch, deepcopy(model.state_dict())
        yield record
        if epoch - best_epoch >= config.patience:
            break
        started = time.perf_counter()
    model.load_state_dict(best_state)


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
    for epoch, train_loss, _ in _epochs(model, inputs, target, train_indices, config, seed):
        _require_finite(train_loss, epoch)
        if epoch == epochs:
            break
    model.eval()


def _epochs(
    model: nn.Module,
    inputs: Inputs,
    target: Target,
    train_indices: Sequence[int],
    config: TrainConfig,
    seed: int,
) -> Iterator[tuple[int, float, float]]:
    """Train `model` in place; after each epoch, yield its number, the mean training loss, and the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    steps_per_epoch = math.ceil(len(train_indices) / config.batch_size)
    scheduler = _warmup_then_decay(optimizer, steps_per_epoch * config.epochs, config.warmup)
    shuffle = torch.Generator().manual_seed(seed)
    for epoch in range(1, config.epochs + 1):
        model.train()
        losses = []
        for batch in _batches(train_indices, config.batch_size, shuffle):
            loss = target.loss(model(*inputs.batch(batch)), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        yield epoch, sum(losses) / len(losses), float(scheduler.get_last_lr()[0])


def _require_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise SoctkError(
            f"the loss is infinite or NaN in epoch {epoch}",
            remedy="Lower the learning rate (--set train.lr=1e-4), or check the store for extreme features.",
        )


@torch.inference_mode()
def predict(model: nn.Module, inputs: Inputs, target: Target, indices: Sequence[int], copies: int = 1) -> torch.Tensor:
    """Return the predictions `(N, K)` for N utterances (Target.predictions), averaged over their copies.

    Args:
        model: as in `train`.
        inputs: the inputs of all utterances and their copies.
        target: what is predicted.
        indices: N utterances, then N copies of them in the same order, and so on.
        copies: how often each utterance occurs in `indices`.
    """
    model.eval()
    outputs = torch.cat([model(*inputs.batch(batch)) for batch in _eval_batches(indices)])
    return target.predictions(outputs.unflatten(0, (copies, -1)))


def _eval_batches(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + EVAL_BATCH] for start in range(0, len(indices), EVAL_BATCH)]


def _evaluate(
    model: nn.Module, inputs: Inputs, target: Target, indices: Sequence[int], copies: int
) -> dict[str, float]:
    predicted = predict(model, inputs, target, indices, copies)
    return target.scores(predicted.cpu().numpy(), indices[: len(predicted)])


def _batches(indices: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield the indices in random order. A last batch of one utterance joins the batch before it.

    Batch norm cannot be trained on a batch of one.
    """
    shuffled = [indices[i] for i in torch.randperm(len(indices), generator=generator).tolist()]
    starts = list(range(0, len(shuffled), size))
    if len(shuffled) % size == 1 and len(starts) > 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(shuffled)], strict=True):
        yield shuffled[start:end]


def _warmup_then_decay(
    optimizer: torch.optim.Optimizer, total: int, warmup: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a scheduler that raises the learning rate linearly over the first `warmup` share, then lowers it to 0."""
    warmup_steps = int(total * warmup)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return max(0.0, (total - step) / max(1, total - warmup_steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
