"""Run: all that a training is at one moment; the one object that goes to disk and comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import CELL_RATES, LEARNING_RATES, ModelConfig, TrainConfig, from_facts, to_facts
from charrnn.errors import CheckpointError, ConfigError
from charrnn.mpi import ranks
from charrnn.nn.model import CharRNN, State
from charrnn.nn.parallel import environment
from charrnn.randomness import generator
from charrnn.storage import atomic
from charrnn.storage import container as checkpoint
from charrnn.text.corpus import Corpus, bounds
from charrnn.text.vocabulary import UNKNOWN, Vocabulary
from charrnn.text.windows import Windows
from charrnn.training.optimizers import Optimizer, make_optimizer
from charrnn.training.schema import Record, Source, check_values, describe, good_names, source_from

EVALUATIONS = 20
"""How many times a plan is evaluated where ``eval_every`` is not given."""

_MOST_EVALUATIONS = 100_000
_SMOOTHING = 0.01


class Good(NamedTuple):
    """The last weights that are known to be good: after which step, and blocks of parameters and optimizer slots."""

    step: int
    blocks: tuple[np.ndarray, ...]


@dataclass
class Run:
    """A training at one moment: after ``step`` steps, about to take the next.

    Everything that the next step depends on stands here or follows from it. ``config`` says exactly what is done:
    what was open in the config of the start is fixed in it; only ``config.steps`` stays None, until ``plan``, where
    the length was given in minutes. ``state`` is the hidden state that the next window starts from. What was evaluated
    up to step ``since``, in another run that this one goes on from, does not count for the best. ``good`` are the
    weights to go back to where a loss is not finite, ``failures`` how often that was done since they were noted, and
    ``rate_factor`` what it has left of the learning rate.
    """

    model: CharRNN
    vocabulary: Vocabulary
    config: TrainConfig
    optimizer: Optimizer
    state: State
    source: Source
    environment: dict[str, str]
    step: int = 0
    smoothed_loss: float = 0.0
    history: list[Record] = field(default_factory=list)
    since: int = 0
    rate_factor: float = 1.0
    failures: int = 0
    good: Good | None = None

    @classmethod
    def start(cls, corpus: Corpus, model_config: ModelConfig | None = None, train_config: TrainConfig | None = None,
              dtype: Any = np.float32) -> Run:
        """A run before its first step. Raises ConfigError where the text is too short for the windows."""
        model_config, config = model_config or ModelConfig(), train_config or TrainConfig()
        validation = corpus.share(config.validation)
        training, _ = bounds(len(corpus), validation, config.test)
        windows = Windows(corpus.ids[:training], config.batch_size, config.seq_len)
        corpus.split(validation, config.test)
        steps, budget = config.steps, config.budget
        if config.epochs is not None:
            steps = steps_of(config.epochs, windows.per_epoch)
        config = replace(
            config, batch_size=windows.batch_size, validation=validation, epochs=None, steps=None, minutes=budget,
            learning_rate=config.learning_rate or LEARNING_RATES[config.optimizer] * CELL_RATES[model_config.cell],
            threads=min(config.threads or ranks().cores, windows.batch_size))
        model = CharRNN(model_config, len(corpus.vocabulary), generator(config.seed, "weights"), dtype)
        run = cls(model, corpus.vocabulary, config, make_optimizer(config, model.parameters),
                  model.initial_state(windows.batch_size),
                  Source(corpus.sources, corpus.reading, corpus.fingerprint, len(corpus), windows.per_epoch),
                  environment(dtype))
        run.note_good()
        if steps is not None:
            run.plan(steps)
        return run

    @classmethod
    def start_from(cls, old: Run, corpus: Corpus, train_config: TrainConfig) -> tuple[Run, list[str]]:
        """A run before its first step that begins with the weights of ``old`` and learns another text (fine-tuning).

        The vocabulary is that of ``corpus``; what belongs to a character goes along with it, and a character that
        ``old`` does not know gets fresh weights. Returns the run and these characters.
        """
        run = cls.start(corpus, old.model.config, train_config, old.model.dtype)
        points = run.vocabulary.codepoints
        _, to, of = np.intersect1d(points, old.vocabulary.codepoints, assume_unique=True, return_indices=True)
        per_row = "embedding/w" if old.model.config.embedding_size else "layer0/w_x"
        for name, weights in run.model.parameters.items():
            if name == per_row:
                weights[to] = old.model.parameters[name][of]
            elif name.startswith("output/"):
                weights[..., to] = old.model.parameters[name][..., of]
            else:
                weights[...] = old.model.parameters[name]
        run.note_good()
        fresh = np.delete(points, to)
        return run, [chr(point) for point in fresh if point != UNKNOWN]

    def plan(self, steps: int, eval_every: int | None = None) -> None:
        """Fix (or change) the number of steps in all. Evaluation points that are fixed already stay where they are.

        Raises ConfigError for a plan that is over already, or that has more evaluations than a history may hold.
        """
        if steps < self.step or steps == self.step != self.config.steps:
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
        best = self.best
        return [record for record in self.history if best is not None and record.step <= best.step]

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
        with np.errstate(all="ignore"):
            return all(np.isfinite(block.sum()) for block in self._blocks)

    @property
    def at_good_point(self) -> bool:
        """Whether the weights after this step are to be kept as good ones: at the interval of evaluations."""
        assert self.config.eval_every is not None
        return self.step % self.config.eval_every == 0

    @property
    def good_step(self) -> int:
        """After which step the last good weights were noted."""
        return self.step if self.good is None else self.good.step

    def advance(self, loss: float, state: State) -> None:
        """Note a step taken: its loss, and the state that the next window starts from."""
        self.step += 1
        self.state = state
        self.smoothed_loss += (loss - self.smoothed_loss) * max(_SMOOTHING, 1 / self.step)

    def note_good(self) -> None:
        """Keep a copy of the present weights, to go back to."""
        blocks = self.good.blocks if self.good else tuple(np.empty_like(block) for block in self._blocks)
        for kept, block in zip(blocks, self._blocks):
            kept[...] = block
        self.good = Good(self.step, blocks)
        self.failures = 0

    def fall_back(self) -> None:
        """Go back to the last good weights, from a zero state, with half the learning rate."""
        if self.good is None:
            raise ValueError("a copy of a run has no good weights to go back to")
        for kept, block in zip(self.good.blocks, self._blocks):
            block[...] = kept
        self.state = self.model.initial_state(self.config.batch_size)
        self.failures += 1
        self.rate_factor /= 2

    @property
    def _blocks(self) -> list[np.ndarray]:
        """All that an update changes."""
        return [self.model.parameters.flat, *(slot.flat for slot in self.optimizer.slots.values())]

    def copy(self) -> Run:
        """A run that goes on by itself and leaves this one alone."""
        model = CharRNN(self.model.config, len(self.vocabulary), dtype=self.model.dtype)
        model.parameters.flat[...] = self.model.parameters.flat
        optimizer = make_optimizer(self.config, model.parameters)
        for name, slot in self.optimizer.slots.items():
            optimizer.slots[name].flat[...] = slot.flat
        state = tuple(type(layer)(*(array.copy() for array in layer)) for layer in self.state)
        twin = replace(self, model=model, optimizer=optimizer, state=state, history=list(self.history), good=None)
        twin.note_good()
        return twin

    def save(self, path: str | Path) -> None:
        """Write the run as a checkpoint, whole or not at all. Raises OSError where that fails."""
        atomic.write_pieces(path, [self.to_bytes()])

    def to_bytes(self) -> bytes:
        """The run as the bytes of a checkpoint. Raises ValueError before ``plan``."""
        assert self.planned
        return checkpoint.to_bytes(self._arrays(), self._facts())

    def __reduce__(self) -> tuple[Any, ...]:
        """For other ranks: what a checkpoint would hold."""
        return Run._from, (self._arrays(), json.loads(json.dumps(self._facts())))

    def snapshot(self) -> Callable[[str | Path], None]:
        """``save`` of the run as it is now, for later."""
        arrays, facts = {name: array.copy() for name, array in self._arrays().items()}, self._facts()
        return lambda path: checkpoint.write(path, arrays, facts)

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """The run in a checkpoint. Raises CheckpointError for a file that is none or holds what cannot be."""
        arrays, facts = checkpoint.read(path, describe)
        try:
            return cls._from(arrays, facts)
        except (ValueError, ConfigError) as error:
            raise CheckpointError(f"{path}: not a valid checkpoint: {error}") from None
        except MemoryError:
            raise CheckpointError(f"{path}: cannot be read as a checkpoint: it takes more memory than there is") from None

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"parameters/{name}": array for name, array in self.model.parameters.items()}
        for slot, parameters in self.optimizer.slots.items():
            arrays.update({f"optimizer/{slot}/{name}": array for name, array in parameters.items()})
        for k, layer in enumerate(self.state):
            arrays.update({f"state/layer{k}/{name}": array for name, array in layer._asdict().items()})
        if self.good is not None and self.good.step != self.step:
            arrays.update(zip(good_names(self.optimizer.SLOTS), self.good.blocks))
        return {**arrays, "vocabulary/codepoints": self.vocabulary.codepoints}

    def _facts(self) -> dict[str, Any]:
        epoch, window = divmod(self.step, self.source.windows)
        return {
            "model": to_facts(self.model.config), "train": to_facts(self.config), "dtype": self.model.dtype.name,
            "vocabulary": len(self.vocabulary), "step": self.step, "epoch": epoch, "window": window, "since": self.since,
            "rate_factor": self.rate_factor, "failures": self.failures,
            "good_step": self.good_step,
            "smoothed_loss": self.smoothed_loss, "history": [list(record) for record in self.history],
            "source": {**self.source._asdict(), "reading": to_facts(self.source.reading)}, "environment": self.environment,
        }

    @classmethod
    def _from(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Run:
        check_values(arrays)
        vocabulary = Vocabulary(arrays["vocabulary/codepoints"])
        if (vocabulary.unknown is not None) != (facts["source"]["reading"]["min_count"] > 1):
            raise ValueError("its vocabulary is not that of its reading")
        config = from_facts(TrainConfig, facts["train"])
        model = CharRNN(from_facts(ModelConfig, facts["model"]), len(vocabulary), dtype=np.dtype(facts["dtype"]))
        optimizer = make_optimizer(config, model.parameters)
        for parameters, prefix in [(model.parameters, "parameters"),
                                   *((slot, f"optimizer/{name}") for name, slot in optimizer.slots.items())]:
            for name, view in parameters.items():
                view[...] = arrays[f"{prefix}/{name}"]
        state = tuple(type(layer)(*(arrays[f"state/layer{k}/{name}"] for name in layer._fields))
                      for k, layer in enumerate(model.initial_state(1)))
        run = cls(model, vocabulary, config, optimizer, state, source_from(facts["source"]), dict(facts["environment"]),
                  facts["step"], facts["smoothed_loss"], [Record(*record) for record in facts["history"]],
                  facts["since"], facts["rate_factor"])
        if facts["good_step"] == run.step:
            run.note_good()
        else:
            run.good = Good(facts["good_step"], tuple(arrays[name] for name in good_names(optimizer.SLOTS)))
        run.failures = facts["failures"]
        return run


def steps_of(epochs: float, windows: int) -> int:
    """The steps that so many passes over a training part of so many windows take."""
    return max(1, round(epochs * windows))
