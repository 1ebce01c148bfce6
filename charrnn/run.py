"""Run: all that a training is at one moment; the one object that goes to disk and comes back."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import checkpoint
from charrnn.batches import Windows
from charrnn.cells import CELLS
from charrnn.checkpoint import Manifest
from charrnn.config import LEARNING_RATES, ModelConfig, TrainConfig, from_facts, to_facts
from charrnn.corpus import Corpus, bounds
from charrnn.errors import CheckpointError, ConfigError
from charrnn.model import CharRNN, State, parameter_shapes
from charrnn.optimizers import OPTIMIZERS, Optimizer, make_optimizer
from charrnn.parallel import blas, cores
from charrnn.randomness import generator
from charrnn.vocabulary import CODE_POINTS, Vocabulary

EVALUATIONS = 20
"""How many times a plan is evaluated where ``eval_every`` is not given."""

_MOST_EVALUATIONS = 100_000
_SMOOTHING = 0.01
_DTYPES = {"float32": "<f4", "float64": "<f8"}


class Record(NamedTuple):
    """One evaluation: after which step, the smoothed training loss and the validation loss in nats per character."""

    step: int
    train_loss: float
    validation_loss: float


class Source(NamedTuple):
    """The corpus a run trains on: names as given, SHA-256 of its UTF-8, characters in all, windows an epoch."""

    names: tuple[str, ...]
    fingerprint: str
    characters: int
    windows: int


@dataclass
class Run:
    """A training at one moment: after ``step`` steps, about to take the next.

    Everything that the next step depends on stands here or follows from it. ``config`` says exactly what is done:
    what was open in the config of the start is fixed in it; only ``config.steps`` stays None, until ``plan``, where
    the length was given in minutes. ``state`` is the hidden state that the next window starts from. What was evaluated
    up to step ``since``, in another run that this one goes on from, does not count for the best.
    """

    model: CharRNN
    vocabulary: Vocabulary
    config: TrainConfig
    optimizer: Optimizer
    state: State
    source: Source
    environment: dict[str, str] = field(default_factory=lambda: environment())
    step: int = 0
    smoothed_loss: float = 0.0
    history: list[Record] = field(default_factory=list)
    since: int = 0

    @classmethod
    def start(cls, corpus: Corpus, model_config: ModelConfig | None = None, train_config: TrainConfig | None = None,
              dtype: Any = np.float32) -> Run:
        """A run before its first step. Raises ConfigError where the text is too short for the windows."""
        model_config, config = model_config or ModelConfig(), train_config or TrainConfig()
        training, _ = bounds(len(corpus), config.validation, config.test)
        windows = Windows(corpus.ids[:training], config.batch_size, config.seq_len)
        corpus.split(config.validation, config.test)
        steps, budget = config.steps, config.budget
        if config.epochs is not None:
            steps = max(1, round(config.epochs * windows.per_epoch))
        config = replace(
            config, batch_size=windows.batch_size, epochs=None, steps=None, minutes=budget,
            learning_rate=config.learning_rate or LEARNING_RATES[config.optimizer],
            threads=min(config.threads or cores(), windows.batch_size))
        model = CharRNN(model_config, len(corpus.vocabulary), generator(config.seed, "weights"), dtype)
        run = cls(model, corpus.vocabulary, config, make_optimizer(config, model.parameters),
                  model.initial_state(windows.batch_size),
                  Source(corpus.sources, corpus.fingerprint, len(corpus), windows.per_epoch))
        if steps is not None:
            run.plan(steps)
        return run

    def plan(self, steps: int, eval_every: int | None = None) -> None:
        """Fix (or change) the number of steps in all. Evaluation points that are fixed already stay where they are.

        Raises ConfigError for a plan that is over already, or that has more evaluations than a history may hold.
        """
        if steps < self.step:
            raise ConfigError("steps", f"counts from the start of the run, which is at step {self.step:,} already; "
                                       f"give more than that, not {steps:,}")
        eval_every = self.config.eval_every or eval_every or math.ceil(steps / EVALUATIONS)
        if self.config.validation and steps // eval_every > _MOST_EVALUATIONS:
            raise ConfigError("eval_every", f"makes {steps // eval_every:,} evaluations of {steps:,} steps, and "
                                            f"{_MOST_EVALUATIONS:,} are the most; give a larger one")
        self.config = replace(self.config, steps=steps, minutes=None, eval_every=eval_every)

    @property
    def planned(self) -> int:
        """The number of steps in all. Raises ValueError before ``plan``."""
        if self.config.steps is None:
            raise ValueError("the plan is given in minutes and not fixed yet; see trainer.fix_plan")
        return self.config.steps

    @property
    def epoch(self) -> float:
        """Passes over the training part so far."""
        return self.step / self.source.windows

    @property
    def best(self) -> Record | None:
        """The evaluation with the lowest validation loss so far, the first of them where there are several."""
        counted = (record for record in self.history if record.step > self.since)
        return min(counted, key=lambda record: record.validation_loss, default=None)

    @property
    def history_to_best(self) -> list[Record]:
        """The history as it was when the best state was saved."""
        return [record for record in self.history if self.best and record.step <= self.best.step]

    @property
    def out_of_patience(self) -> bool:
        """Whether as many evaluations in a row as ``config.patience`` have brought no new best.

        One that came at the end of a plan, and not at an interval, counts for best but not for patience.
        """
        if self.config.patience is None or self.best is None:
            return False
        best, every = self.best.step, self.config.eval_every or 1
        return sum(record.step > best and record.step % every == 0 for record in self.history) >= self.config.patience

    @property
    def finished(self) -> bool:
        """Whether there is no next step."""
        return self.step >= self.planned or self.out_of_patience

    @property
    def at_evaluation(self) -> bool:
        """Whether the state after this step is to be evaluated."""
        assert self.config.eval_every is not None
        return bool(self.config.validation) and (
            self.step % self.config.eval_every == 0 or self.step == self.planned)

    @property
    def is_finite(self) -> bool:
        """Whether all that an update changes is finite."""
        blocks = (self.model.parameters, *self.optimizer.slots.values())
        with np.errstate(all="ignore"):
            return all(np.isfinite(block.flat.sum()) for block in blocks)

    def advance(self, loss: float, state: State) -> None:
        """Note a step taken: its loss, and the state that the next window starts from."""
        self.step += 1
        self.state = state
        self.smoothed_loss += (loss - self.smoothed_loss) * max(_SMOOTHING, 1 / self.step)

    def copy(self) -> Run:
        """A run that goes on by itself and leaves this one alone."""
        model = CharRNN(self.model.config, len(self.vocabulary), dtype=self.model.dtype)
        model.parameters.flat[...] = self.model.parameters.flat
        optimizer = make_optimizer(self.config, model.parameters)
        for name, slot in self.optimizer.slots.items():
            optimizer.slots[name].flat[...] = slot.flat
        state = tuple(type(layer)(*(array.copy() for array in layer)) for layer in self.state)
        return replace(self, model=model, optimizer=optimizer, state=state, history=list(self.history))

    def save(self, path: str | Path) -> None:
        """Write the run as a checkpoint, whole or not at all. Raises OSError where that fails."""
        checkpoint.write_bytes(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The run as the bytes of a checkpoint."""
        return checkpoint.to_bytes(self._arrays(), self._facts())

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """The run in a checkpoint. Raises CheckpointError for a file that is none or holds what cannot be."""
        arrays, facts = checkpoint.read(path, _describe)
        try:
            return cls._from(arrays, facts)
        except (ValueError, ConfigError) as error:
            raise CheckpointError(f"{path}: not a valid checkpoint: {error}") from None

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"parameters/{name}": array for name, array in self.model.parameters.items()}
        for slot, parameters in self.optimizer.slots.items():
            arrays.update({f"optimizer/{slot}/{name}": array for name, array in parameters.items()})
        for k, layer in enumerate(self.state):
            arrays.update({f"state/layer{k}/{name}": array for name, array in layer._asdict().items()})
        return {**arrays, "vocabulary/codepoints": self.vocabulary.codepoints}

    def _facts(self) -> dict[str, Any]:
        epoch, window = divmod(self.step, self.source.windows)
        return {
            "model": to_facts(self.model.config), "train": to_facts(self.config), "dtype": self.model.dtype.name,
            "vocabulary": len(self.vocabulary), "step": self.step, "epoch": epoch, "window": window, "since": self.since,
            "smoothed_loss": self.smoothed_loss, "history": [list(record) for record in self.history],
            "source": self.source._asdict(), "environment": self.environment,
        }

    @classmethod
    def _from(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Run:
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"/{name} holds what is not finite")
            if name.startswith("optimizer/") and "square" in name.split("/")[1] and np.any(array < 0):
                raise ValueError(f"/{name} holds negative squares")
        vocabulary = Vocabulary(arrays["vocabulary/codepoints"])
        config = from_facts(TrainConfig, facts["train"])
        model = CharRNN(from_facts(ModelConfig, facts["model"]), len(vocabulary), dtype=np.dtype(facts["dtype"]))
        optimizer = make_optimizer(config, model.parameters)
        for parameters, prefix in [(model.parameters, "parameters"),
                                   *((slot, f"optimizer/{name}") for name, slot in optimizer.slots.items())]:
            for name, view in parameters.items():
                view[...] = arrays[f"{prefix}/{name}"]
        zero = model.initial_state(config.batch_size)
        state = tuple(type(layer)(*(arrays[f"state/layer{k}/{name}"] for name in layer._fields))
                      for k, layer in enumerate(zero))
        return cls(model, vocabulary, config, optimizer, state, _source(facts["source"]), dict(facts["environment"]),
                   facts["step"], facts["smoothed_loss"], [Record(*record) for record in facts["history"]],
                   facts["since"])


def environment() -> dict[str, str]:
    """What the last bit of a result can depend on besides the run itself."""
    return {"machine": platform.machine(), "numpy": np.__version__, "blas": blas(), "kernels": "reference"}


def _describe(facts: dict[str, Any]) -> Manifest:
    """The arrays that belong to the facts of a checkpoint; ValueError for facts that cannot be."""
    _need(facts, {"model": dict, "train": dict, "dtype": str, "vocabulary": int, "step": int, "epoch": int,
                  "window": int, "since": int, "smoothed_loss": float, "history": list, "source": dict,
                  "environment": dict}, "its facts")
    model_config, config = _configs(facts)
    if facts["dtype"] not in _DTYPES:
        raise ValueError("its dtype is unknown")
    if not 1 <= facts["vocabulary"] <= CODE_POINTS:
        raise ValueError("its vocabulary has an impossible size")
    source = _source(facts["source"])
    if config.steps is None or config.eval_every is None or config.learning_rate is None or config.threads is None:
        raise ValueError("its plan is not fixed")
    if not 0 <= facts["since"] <= facts["step"] <= config.steps:
        raise ValueError("its step lies outside its plan")
    if (facts["epoch"], facts["window"]) != divmod(facts["step"], source.windows):
        raise ValueError("its position is not that of its step")
    training, _ = bounds(source.characters, config.validation, config.test)
    if source.windows != (training - 1) // config.seq_len // config.batch_size:
        raise ValueError("its windows are not those of its corpus")
    if config.threads > config.batch_size:
        raise ValueError("its threads are more than its streams")
    if not math.isfinite(facts["smoothed_loss"]):
        raise ValueError("its loss is not finite")
    _check_history(facts["history"], facts["step"])
    if any(type(name) is not str or type(value) is not str for name, value in facts["environment"].items()):
        raise ValueError("its environment is no text")
    dtype, cell = _DTYPES[facts["dtype"]], CELLS[model_config.cell]
    shapes = parameter_shapes(model_config, facts["vocabulary"])
    manifest: Manifest = {f"parameters/{name}": (dtype, shape) for name, shape in shapes.items()}
    for slot in OPTIMIZERS[config.optimizer].SLOTS:
        manifest.update({f"optimizer/{slot}/{name}": (dtype, shape) for name, shape in shapes.items()})
    state_shape = (config.batch_size, model_config.hidden_size)
    manifest.update({f"state/layer{k}/{name}": (dtype, state_shape)
                     for k in range(model_config.layers) for name in cell.State._fields})
    return {**manifest, "vocabulary/codepoints": ("<u4", (facts["vocabulary"],))}


def _configs(facts: Mapping[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Both configs of a checkpoint's facts; ValueError where one cannot be."""
    try:
        return from_facts(ModelConfig, facts["model"]), from_facts(TrainConfig, facts["train"])
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _need(facts: Mapping[str, Any], kinds: Mapping[str, type], what: str) -> None:
    if set(facts) != set(kinds):
        raise ValueError(f"{what} are incomplete, or more than there are")
    for name, kind in kinds.items():
        if type(facts[name]) is not kind:
            raise ValueError(f"{what} have a {name} of the wrong type")


def _source(facts: Mapping[str, Any]) -> Source:
    _need(facts, {"names": list, "fingerprint": str, "characters": int, "windows": int}, "the facts of its corpus")
    if any(type(name) is not str for name in facts["names"]):
        raise ValueError("the names of its corpus are no text")
    if facts["characters"] < 1 or facts["windows"] < 1:
        raise ValueError("its corpus has an impossible size")
    return Source(tuple(facts["names"]), facts["fingerprint"], facts["characters"], facts["windows"])


def _check_history(history: list[Any], step: int) -> None:
    before = 0
    for record in history:
        if (type(record) is not list or [type(item) for item in record] != [int, float, float]
                or not before < record[0] <= step or not all(map(math.isfinite, record))):
            raise ValueError("its history is not one")
        before = record[0]
