"""The training loop of one run: AdamW with two learning rates, early stopping on validation speakers, checkpoints."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from soctk.corpus.splits import Split
from soctk.errors import SoctkError
from soctk.features.babble import generator
from soctk.finetuning.augmentation import Augmenter
from soctk.finetuning.checkpoint import Checkpoint
from soctk.finetuning.model import TunedModel, smoothed
from soctk.schema import FineTuneConfig
from soctk.training import batches
from soctk.training.stack import warmup_then_decay
from soctk.training.target import Target
from soctk.training.training_data import TrainingData

_EVAL_BATCH = 32
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class FineTuner:
    """Trains a model on a split, and predicts its test utterances.

    Args:
        model: the model.
        rows: gives the rows of utterances and their copies.
        target: what is predicted, for this run.
        split: the utterances.
        config: the settings.
        seed: with the epoch, determines order, augmentation and dropout.
        has_start: whether the model can already predict, so that it is validated before the first epoch.
        save: writes a checkpoint.
    """

    def __init__(
        self,
        model: TunedModel,
        rows: TrainingData,
        target: Target,
        split: Split,
        config: FineTuneConfig,
        seed: int,
        has_start: bool,
        save: Callable[[Checkpoint], None],
    ):
        self._model, self._rows, self._target, self._split = model, rows, target, split
        self._config, self._seed, self._has_start, self._save = config, seed, has_start, save
        self._train = rows.indices(split.train)
        encoder, others = model.groups
        self._named = {**encoder, **others}
        groups = [(encoder, config.lr_encoder, "lr_encoder"), (others, config.lr_head, "lr_head")]
        options = [{"params": list(own.values()), "lr": lr, "peak": lr, "key": key} for own, lr, key in groups if own]
        self._optimizer = torch.optim.AdamW(options, weight_decay=config.weight_decay, fused=True)

    def train(self, done: Checkpoint | None = None) -> Iterator[dict[str, Any]]:
        """Train the model and yield a record per epoch; at the end, load the weights of the best epoch.

        A record has epoch, train_loss (except epoch 0, the start), the validation scores (Target.scores), the
        learning rates and seconds. The epoch with the lowest validation loss is the best; if it is epoch 0, the model
        stays as it was.

        Args:
            done: the checkpoint of an interrupted run, which goes on after it.

        Raises:
            SoctkError: the loss becomes infinite or NaN.
        """
        records = list(done.records) if done else []
        best = dict(done.best) if done else {}
        if done:
            self._restore(done)
            yield from records
        for epoch in range(len(records) + (not self._has_start), self._config.epochs + 1):
            if _is_over(records, self._config.patience):
                break
            record = self._epoch(epoch)
            if not records or record["valid_loss"] < min(each["valid_loss"] for each in records):
                best = self._model.state()
            records.append(record)
            self._save(Checkpoint(self._model.state(), best, self._moments(), records))
            yield record
        self._model.load_state(best)
        self._target.finish(self._model.classifier.output_layer)

    def predict(self, utterances: Sequence[str]) -> torch.Tensor:
        """Return the predictions `(N, K)` of utterances, averaged over their copies."""
        rows = self._rows.tested_rows(utterances)
        self._model.train(False)
        with torch.no_grad():
            starts = range(0, len(rows), _EVAL_BATCH)
            outputs = torch.cat([self._model.outputs(rows[start : start + _EVAL_BATCH]) for start in starts])
        return self._target.predictions(outputs.unflatten(0, (self._rows.tested, -1)))

    def _epoch(self, epoch: int) -> dict[str, Any]:
        started = time.perf_counter()
        record: dict[str, Any] = {"epoch": epoch}
        if epoch:
            record["train_loss"] = self._pass(epoch)
        predicted = self.predict(self._split.valid).cpu().numpy()
        record |= self._target.scores(predicted, self._rows.indices(self._split.valid))
        _require_finite(record.get("train_loss", 0.0) + record["valid_loss"], epoch)
        rates = {group["key"]: group["lr"] for group in self._optimizer.param_groups}
        return record | (rates if epoch else {}) | {"seconds": round(time.perf_counter() - started, 3)}

    def _pass(self, epoch: int) -> float:
        """Train on each training utterance once; return the mean loss."""
        torch.manual_seed(int(generator(self._seed, "dropout", str(epoch)).integers(2**62)))
        self._model.train()
        augmenter = Augmenter(self._config, self._rows.tested, self._seed, epoch)
        order = generator(self._seed, "order", str(epoch)).permutation(self._train).tolist()
        bounds = batches.cut(len(order), self._config.batch_size)
        losses = []
        for number, (start, end) in enumerate(bounds):
            batch = order[start:end]
            self._set_rates((epoch - 1) * len(bounds) + number, self._config.epochs * len(bounds))
            rows = [self._row(index, augmenter) for index in batch]
            outputs = self._model.training_outputs(rows, batch, augmenter)
            loss = smoothed(self._target.loss(outputs, rows), outputs, self._config)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(self._named.values()), self._config.grad_clip)
            self._optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def _row(self, index: int, augmenter: Augmenter) -> int:
        """Return the row of an utterance in this epoch: the utterance itself, or a copy at another speed."""
        utterances = self._rows.data.utterances
        return index + augmenter.speed(utterances[index]) * len(utterances)

    def _set_rates(self, step: int, total: int) -> None:
        factor = warmup_then_decay(step, total, self._config.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _moments(self) -> dict[str, torch.Tensor]:
        states = {name: self._optimizer.state[weight] for name, weight in self._named.items()}
        return {
            f"{name}/{key}": state[key].detach().cpu().clone()
            for name, state in states.items()
            if state
            for key in _MOMENTS
        }

    def _restore(self, done: Checkpoint) -> None:
        self._model.load_state(dict(done.state))
        for name, weight in self._named.items():
            moments = {key: done.moments[f"{name}/{key}"] for key in _MOMENTS if f"{name}/{key}" in done.moments}
            if moments:
                self._optimizer.state[weight] = {key: moment.to(weight.device) for key, moment in moments.items()}


def _is_over(records: Sequence[dict[str, Any]], patience: int) -> bool:
    """Return whether the last epochs brought no lower validation loss."""
    losses = [record["valid_loss"] for record in records]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience


def _require_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise SoctkError(
            f"the loss is infinite or NaN in epoch {epoch}",
            remedy="Lower the learning rates (--set finetune.lr_encoder=1e-5), or train in float32 (--precision).",
        )
