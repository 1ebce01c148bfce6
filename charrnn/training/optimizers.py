"""Optimizers (SGD, Adagrad, RMSprop, Adam) on the flat block, gradient clipping, and learning-rate schedules."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from charrnn.config import TrainConfig, check_range
from charrnn.errors import check_type
from charrnn.nn.kernels import kernels_for
from charrnn.nn.parameters import Parameters

_PIECE = 2**15
"""Number of elements that are updated at a time, so that they stay in the cache for all passes over them."""


class Optimizer(ABC):
    """Updates parameters from their gradients.

    ``slots`` are its entire memory: blocks with the layout of the parameters, by name. They start as zeros.

    The weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, "Decoupled Weight Decay
    Regularization"): each step subtracts learning_rate x weight_decay x w from every matrix w. Biases and gains do not
    decay.
    """

    SLOTS: ClassVar[tuple[str, ...]]

    kernels: str | None = None
    """The name of the kernels to use, or None for those that ``kernels_name`` chooses."""

    def __init__(self, parameters: Parameters, weight_decay: float = 0.0, slots: Mapping[str, Parameters] | None = None
                 ) -> None:
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.slots = {name: parameters.like() for name in self.SLOTS} if slots is None else slots
        if set(self.slots) != set(self.SLOTS):
            raise ValueError(f"slots: must be {', '.join(self.SLOTS)}, not {', '.join(self.slots)}")
        for name, block in self.slots.items():
            _check_layout(name, block, parameters)

    def update(self, gradients: Parameters, learning_rate: float, step: int) -> None:
        """Take step number ``step`` (from 1) in place.

        Raises ValueError unless the gradients have the layout of the parameters, ConfigError if a number is out of range.
        """
        _check_layout("gradients", gradients, self.parameters)
        check_range("step", step, int, least=1)
        check_range("learning_rate", learning_rate, float, least=0)
        if self.weight_decay:
            for array in self.parameters.values():
                if array.ndim == 2:
                    array *= 1 - learning_rate * self.weight_decay
        blocks = [self.parameters.flat, gradients.flat, *(slot.flat for slot in self.slots.values())]
        for start in range(0, len(gradients.flat), _PIECE):
            w, g, *slots = (block[start:start + _PIECE] for block in blocks)
            self._change(w, g, slots, learning_rate, step)

    @abstractmethod
    def _change(self, w: np.ndarray, g: np.ndarray, slots: list[np.ndarray], learning_rate: float, step: int) -> None:
        """Update the weights ``w`` by their gradient ``g``, and their ``slots``, in place."""


def _check_layout(name: str, block: Parameters, parameters: Parameters) -> None:
    """Raise ValueError unless a block has the layout of the parameters, which compiled kernels rely on."""
    check_type(name, block, Parameters)
    if (block.shapes, block.flat.dtype) != (parameters.shapes, parameters.flat.dtype):
        raise ValueError(f"{name}: must have the layout of the parameters")


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v <- momentum v + g;  w <- w - rate v"""

    SLOTS = ("velocity",)

    def __init__(self, parameters: Parameters, weight_decay: float = 0.0, momentum: float = 0.0,
                 slots: Mapping[str, Parameters] | None = None) -> None:
        super().__init__(parameters, weight_decay, slots)
        self.momentum = momentum

    def _change(self, w: np.ndarray, g: np.ndarray, slots: list[np.ndarray], learning_rate: float, step: int) -> None:
        (velocity,) = slots
        velocity *= self.momentum
        velocity += g
        w -= learning_rate * velocity


class Adagrad(Optimizer):
    """Adagrad: s <- s + g^2;  w <- w - rate g / (sqrt(s) + e)   (Duchi, Hazan and Singer 2011)"""

    SLOTS = ("square_sum",)
    EPSILON = 1e-10

    def _change(self, w: np.ndarray, g: np.ndarray, slots: list[np.ndarray], learning_rate: float, step: int) -> None:
        (square_sum,) = slots
        square_sum += g * g
        change = np.sqrt(square_sum)
        change += self.EPSILON
        np.divide(g, change, out=change)
        change *= learning_rate
        w -= change


class RMSprop(Optimizer):
    """RMSprop: s <- d s + (1 - d) g^2;  w <- w - rate g / (sqrt(s) + e), d = 0.99   (Tieleman and Hinton 2012)"""

    SLOTS = ("square_mean",)
    DECAY = 0.99
    EPSILON = 1e-8

    def _change(self, w: np.ndarray, g: np.ndarray, slots: list[np.ndarray], learning_rate: float, step: int) -> None:
        (square_mean,) = slots
        square_mean *= self.DECAY
        square_mean += (1 - self.DECAY) * (g * g)
        change = np.sqrt(square_mean)
        change += self.EPSILON
        np.divide(g, change, out=change)
        change *= learning_rate
        w -= change


class Adam(Optimizer):
    """Adam: m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;  w <- w - rate m' / (sqrt(s') + e)   (Kingma and Ba 2015)

    m' = m / (1 - b1^step) and s' = s / (1 - b2^step). The defaults b1 = 0.8 and b2 = 0.95 follow a changing gradient faster
    than 0.9 and 0.99, and short runs reach a lower loss with them (docs/recipes.md).
    """

    SLOTS = ("mean", "square_mean")
    EPSILON = 1e-8

    def __init__(self, parameters: Parameters, weight_decay: float = 0.0, beta1: float = TrainConfig.beta1,
                 beta2: float = TrainConfig.beta2, slots: Mapping[str, Parameters] | None = None) -> None:
        super().__init__(parameters, weight_decay, slots)
        self.beta1 = beta1
        self.beta2 = beta2

    def _change(self, w: np.ndarray, g: np.ndarray, slots: list[np.ndarray], learning_rate: float, step: int) -> None:
        b1, b2 = self.beta1, self.beta2
        kernels_for(w.dtype, self.kernels).adam(w, g, *slots, b1, b2, learning_rate / (1 - b1**step),
                                                1 / math.sqrt(1 - b2**step), self.EPSILON)


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "rmsprop": RMSprop, "adagrad": Adagrad, "sgd": SGD}


def make_optimizer(config: TrainConfig, parameters: Parameters, slots: Mapping[str, Parameters] | None = None,
                   kernels: str | None = None) -> Optimizer:
    """Return the optimizer that ``config`` names, with ``slots`` or with slots of zeros, and its ``kernels``."""
    kind = OPTIMIZERS[config.optimizer]
    names = {SGD: ("momentum",), Adam: ("beta1", "beta2")}.get(kind, ())
    settings = {name: getattr(config, name) for name in names}
    optimizer = kind(parameters, config.weight_decay or 0.0, slots=slots, **settings)
    optimizer.kernels = kernels
    return optimizer


def clip(gradients: Parameters, norm: float = 0.0, value: float = 0.0) -> float:
    """Clip each element to +-``value``, then scale all down to the global norm ``norm``, in place; 0 = off.

    Returns the global norm before clipping (Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent
    neural networks"). If a gradient is not finite, the returned norm is not finite, and nothing is clipped.
    """
    flat = gradients.flat
    length = global_norm(gradients)
    if not math.isfinite(length):
        return length
    if value:
        value = min(value, float(np.finfo(flat.dtype).max))
        np.clip(flat, -value, value, out=flat)
    after = global_norm(gradients) if value else length
    if norm and after > norm:
        flat *= norm / after
    return length


def global_norm(block: Parameters) -> float:
    """Return the Euclidean norm of a block, summed in float64, so that no square of a float32 overflows or underflows."""
    pieces = (block.flat[start:start + _PIECE].astype(np.float64) for start in range(0, len(block.flat), _PIECE))
    return math.sqrt(sum(float(np.dot(piece, piece)) for piece in pieces))


_FLOOR = 0.02
"""The fraction of the peak to which the cosine schedule falls."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of step number ``step`` (from 1), which depends only on ``step`` and ``config``.

    It follows the schedule (cosine: Loshchilov and Hutter 2017), multiplied by a linear warm-up over ``config.warmup``
    steps, but at most over a tenth of the plan.
    """
    assert config.learning_rate is not None, "Run.start fixes it"
    assert config.steps is not None, "Run.plan fixes it"
    done = min(1.0, (step - 1) / config.steps)
    if config.schedule == "cosine":
        fraction = _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * done)) / 2
    elif config.schedule == "step":
        fraction = 1.0 if done < 0.6 else 0.1 if done < 0.85 else 0.01
    else:
        fraction = 1.0
    warmup = min(config.warmup, config.steps // 10)
    return config.learning_rate * fraction * min(1.0, step / (warmup + 1))
