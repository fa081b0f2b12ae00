"""Models of one architecture: their parameters are the rows of one matrix, and AdamW updates all rows at once."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from soctk.schema import TrainConfig

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # the defaults of torch.optim.AdamW


class Stack:
    """The parameters, buffers, gradients and moments of K models, one row for each model.

    The parameters of each model stay where they are used: they become views of its row. So a model can be called alone,
    and shares its values with the stack. All parameters must have one dtype and one device.

    Attributes:
        parameters: name -> the parameter `(K, ...)` of all models, a leaf of the graph. A backward pass gives gradients
            to these, or to the parameters of the models.
        buffers: name -> the buffer `(K, ...)` of all models.
        diverged: whether the norm of a gradient of each model was infinite or NaN, `(K,)` bool. Steps do not use such
            a gradient, so weights stay finite: poolings refuse frames that are projected to infinity.

    Args:
        models: K models of the same architecture. The stack uses their parameters until `keep` drops them.
    """

    parameters: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    diverged: torch.Tensor

    def __init__(self, models: Sequence[nn.Module]):
        self._models = list(models)
        self._values = torch.stack([nn.utils.parameters_to_vector(model.parameters()).detach() for model in models])
        self._gradients = torch.zeros_like(self._values)
        self._first, self._second = torch.zeros_like(self._values), torch.zeros_like(self._values)
        self.diverged = torch.zeros(len(models), dtype=torch.bool, device=self._values.device)
        names = [name for name, _ in models[0].named_buffers()]
        self.buffers = {name: torch.stack([model.get_buffer(name) for model in models]) for name in names}
        self._bind()

    def __len__(self) -> int:
        """Return K."""
        return len(self._models)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self._values.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters."""
        return self._values.dtype

    def index(self, models: Sequence[int]) -> torch.Tensor | None:
        """Return the numbers of some of the models on the device of the stack; None for all models."""
        return None if len(models) == len(self) else torch.tensor(models, device=self.device)

    def step(self, models: torch.Tensor | None, factors: torch.Tensor) -> None:
        """Do a step of AdamW by the gradients of the last backward pass, clipped to a norm for each model.

        Args:
            models: the models that do a step (`index`); the others stay as they are.
            factors: `(M, 4)` from `step_factors`.
        """
        self._collect_gradients()
        state = (self._values, self._gradients, self._first, self._second)
        values, gradients, first, second = state if models is None else (part[models] for part in state)
        decay, size, root, clip = factors.unsqueeze(2).unbind(1)
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        diverged = ~norms.isfinite()
        self.diverged[slice(None) if models is None else models] |= diverged.squeeze(1)
        gradients.masked_fill_(diverged, 0)
        norms.masked_fill_(diverged, 0)
        gradients.mul_((clip / (norms + 1e-6)).clamp_(max=1))  # as torch.nn.utils.clip_grad_norm_
        first.lerp_(gradients, 1 - _BETA1)
        second.mul_(_BETA2).addcmul_(gradients, gradients, value=1 - _BETA2)
        values.mul_(decay).addcdiv_(first * size, second.sqrt().mul_(root).add_(_EPS))
        if models is not None:
            for part, changed in ((self._values, values), (self._first, first), (self._second, second)):
                part[models] = changed

    def state(self, model: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return a copy of the parameters and the buffers of a model."""
        return self._values[model].clone(), {name: buffer[model].clone() for name, buffer in self.buffers.items()}

    def restore(self, model: int, state: tuple[torch.Tensor, dict[str, torch.Tensor]]) -> None:
        """Give a model the parameters and buffers of an earlier `state`."""
        self._values[model] = state[0]
        for name, buffer in state[1].items():
            self.buffers[name][model] = buffer

    def keep(self, models: Sequence[int]) -> None:
        """Drop all other models. Their parameters keep their values, in memory of their own."""
        for number in set(range(len(self))).difference(models):
            dropped = self._models[number]
            for parameter in dropped.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None
            for name, buffer in list(dropped.named_buffers()):
                _set_buffer(dropped, name, buffer.clone())
        if not models:
            return
        self._models = [self._models[number] for number in models]
        kept = torch.tensor(models, device=self.device)
        self._values, self._gradients = self._values[kept], self._gradients[kept]
        self._first, self._second = self._first[kept], self._second[kept]
        self.diverged = self.diverged[kept]
        self.buffers = {name: buffer[kept] for name, buffer in self.buffers.items()}
        self._bind()

    def _collect_gradients(self) -> None:
        """Move the gradients into one matrix: those of the stack's parameters, or else of the models' own."""
        parts = []
        for name, leaf in self.parameters.items():
            if leaf.grad is not None:
                parts.append(leaf.grad.flatten(1))
                leaf.grad = None
                continue
            own = [model.get_parameter(name) for model in self._models]
            parts.append(torch.stack([_gradient(parameter).flatten() for parameter in own]))
            for parameter in own:
                parameter.grad = None
        torch.cat(parts, dim=1, out=self._gradients)

    def _bind(self) -> None:
        """Make the parameters of the models, and those of the stack, views of the rows."""
        self.parameters, start = {}, 0
        for name, parameter in self._models[0].named_parameters():
            part = slice(start, start + parameter.numel())
            values = self._values[:, part].unflatten(1, parameter.shape)
            self.parameters[name] = values.detach().requires_grad_()
            for number, model in enumerate(self._models):
                own = model.get_parameter(name)
                own.data, own.grad = values[number], None
            start = part.stop
        for name, buffer in self.buffers.items():
            for number, model in enumerate(self._models):
                _set_buffer(model, name, buffer[number])


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _set_buffer(model: nn.Module, name: str, value: torch.Tensor) -> None:
    parent, _, own = name.rpartition(".")
    model.get_submodule(parent)._buffers[own] = value


def step_factors(config: TrainConfig, step: int, total: int) -> tuple[float, float, float, float]:
    """Return what a step of AdamW needs to know of the settings (Loshchilov & Hutter 2019, algorithm 2).

    These are 1 - decay, the step size, the scale of the second moment's root, and the largest norm of the gradient.

    Args:
        config: the learning rate, the warm-up, the weight decay, and the gradient clipping.
        step: the number of the step, from 0.
        total: the number of steps in all epochs.
    """
    rate = config.lr * warmup_then_decay(step, total, config.warmup)
    root = 1 / math.sqrt(1 - _BETA2 ** (step + 1))
    return 1 - rate * config.weight_decay, -rate / (1 - _BETA1 ** (step + 1)), root, config.grad_clip


def warmup_then_decay(step: int, total: int, warmup: float) -> float:
    """Return the factor of the learning rate: it rises linearly over the first `warmup` share, then falls to 0."""
    warmup_steps = int(total * warmup)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return max(0.0, (total - step) / max(1, total - warmup_steps))
