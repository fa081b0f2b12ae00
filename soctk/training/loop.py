"""The training loop: AdamW with linear warm-up and decay, early stopping on the validation loss."""

import math
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, Protocol

import torch
from sklearn.metrics import accuracy_score, recall_score
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss

from soctk.config import TrainConfig
from soctk.errors import SoctkError

EVAL_BATCH = 32


class Inputs(Protocol):
    """What a model is trained on: frames or descriptors, as soctk.training.inputs has them."""

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return the arguments of the model for the utterances at `indices`."""


def train(
    model: nn.Module,
    inputs: Inputs,
    labels: torch.Tensor,
    train_indices: Sequence[int],
    valid_indices: Sequence[int],
    config: TrainConfig,
    seed: int,
    copies: int = 1,
) -> Iterator[dict[str, Any]]:
    """Train `model` in place, yielding a record an epoch; when exhausted, the model is that of the best epoch.

    Args:
        model: takes a batch of the inputs, gives logits `(B, num_classes)`; on the device of the inputs.
        inputs: of all utterances.
        labels: their classes `(N,)`.
        train_indices: utterances to learn from.
        valid_indices: utterances whose loss chooses the best epoch and stops the training; as `predict` takes them.
        config: batch size, epochs, patience, learning rate, ...
        seed: of the order of the utterances.
        copies: of each utterance in `valid_indices`.

    Raises:
        SoctkError: the loss becomes infinite or NaN.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    steps_per_epoch = math.ceil(len(train_indices) / config.batch_size)
    scheduler = _warmup_then_decay(optimizer, steps_per_epoch * config.epochs, config.warmup)
    shuffle = torch.Generator().manual_seed(seed)
    best_loss, best_epoch, best_state = math.inf, 0, model.state_dict()
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        model.train()
        losses = []
        for batch in _batches(train_indices, config.batch_size, shuffle):
            loss = cross_entropy(model(*inputs.batch(batch)), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        record = {"epoch": epoch, "train_loss": sum(losses) / len(losses)}
        record |= _evaluate(model, inputs, labels, valid_indices, copies)
        record |= {"lr": scheduler.get_last_lr()[0], "seconds": round(time.perf_counter() - started, 3)}
        if not math.isfinite(record["train_loss"] + record["valid_loss"]):
            raise SoctkError(
                f"the loss is no longer finite in epoch {epoch}",
                remedy="Lower the learning rate (--set train.lr=1e-4), or look for extreme features in the store.",
            )
        if record["valid_loss"] < best_loss:
            best_loss, best_epoch, best_state = record["valid_loss"], epoch, deepcopy(model.state_dict())
        yield record
        if epoch - best_epoch >= config.patience:
            break
    model.load_state_dict(best_state)


@torch.inference_mode()
def predict(model: nn.Module, inputs: Inputs, indices: Sequence[int], copies: int = 1) -> torch.Tensor:
    """Return log-posteriors `(N, num_classes)`: of an utterance, the mean of the posteriors over its copies.

    Args:
        model: as `train` takes it.
        inputs: of all utterances and their copies.
        indices: N utterances, then N copies of them in the same order, and so on.
        copies: how many there are of each, itself counted.
    """
    model.eval()
    log_posteriors = torch.cat([model(*inputs.batch(batch)) for batch in _eval_batches(indices)]).log_softmax(-1)
    return log_posteriors.unflatten(0, (copies, -1)).logsumexp(0).log_softmax(-1)


def _eval_batches(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + EVAL_BATCH] for start in range(0, len(indices), EVAL_BATCH)]


def _evaluate(
    model: nn.Module, inputs: Inputs, labels: torch.Tensor, indices: Sequence[int], copies: int
) -> dict[str, float]:
    log_posteriors = predict(model, inputs, indices, copies)
    classes = labels[indices[: len(log_posteriors)]]
    reference, hypothesis = classes.tolist(), log_posteriors.argmax(-1).tolist()
    return {
        "valid_loss": nll_loss(log_posteriors, classes).item(),
        "valid_WA": accuracy_score(reference, hypothesis),
        "valid_UA": recall_score(reference, hypothesis, average="macro", zero_division=0),
    }


def _batches(indices: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield the indices in random order; a last batch of one, which batch norm cannot take, joins the one before."""
    shuffled = [indices[i] for i in torch.randperm(len(indices), generator=generator).tolist()]
    starts = list(range(0, len(shuffled), size))
    if len(shuffled) % size == 1 and len(starts) > 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(shuffled)], strict=True):
        yield shuffled[start:end]


def _warmup_then_decay(optimizer, total: int, warmup: float) -> torch.optim.lr_scheduler.LambdaLR:
    """Raise the learning rate linearly over the first `warmup` share of the steps, then lower it linearly to 0."""
    warmup_steps = int(total * warmup)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return max(0.0, (total - step) / max(1, total - warmup_steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
