"""Run: the complete state of a training run between two steps, as it is saved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.config import LEARNING_RATES, ModelConfig, TrainConfig, from_dict
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, check_type
from charrnn.inference import language_model
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.locate import BEST, LAST, checkpoint_at, is_checkpoint_of_run
from charrnn.nn.cells import CELLS
from charrnn.nn.kernels import kernels_name, resolve_precision
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import default_threads, environment, kernels_in
from charrnn.nn.parameters import Parameters
from charrnn.nn.state import State, map_state
from charrnn.randomness import generator
from charrnn.storage import container
from charrnn.storage.atomic import replace_file
from charrnn.storage.container import Manifest
from charrnn.text.corpus import Corpus
from charrnn.text.split import Split
from charrnn.text.windows import Windows
from charrnn.training import schema
from charrnn.training.curves import curves_of
from charrnn.training.optimizers import Optimizer, make_optimizer
from charrnn.training.plot import draw, to_svg
from charrnn.training.rollback import Rollback
from charrnn.training.schema import Record, Source, source_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATIONS = 20
"""Number of evaluations in a plan if no ``eval_every`` is set."""

_MOST_EVALUATIONS = 100_000
_SMOOTHING = 0.01
_NOT_FIXED = "the length was given in minutes and the number of steps is not fixed yet; call trainer.fix_plan"


@dataclass(repr=False)
class Run:
    """A training run after ``step`` steps, before the next one.

    Everything that the next step depends on is here or follows from it. ``config`` contains all settings, with the defaults
    resolved at the start. If the length was given in minutes, its ``steps`` is None until ``plan`` is called; its
    ``eval_every`` is None if no interval is set. ``state`` is the hidden state from which the next window starts.
    ``blocks`` are all blocks of parameters that a step changes, by name: the parameters of the network and the slots of
    the optimizer. ``history`` contains the evaluations. Those up to step ``since`` belong to the older run that this run
    continues, and cannot be the best. ``rollback`` contains the weights to restore if a loss is not finite, and
    ``failures`` is the number of times that they were restored since they were copied. ``rate_factor`` multiplies the
    learning rate; each rollback halves it. ``folder`` is the folder in which the run is kept, if there is one.
    """

    model: LanguageModel
    config: TrainConfig
    blocks: dict[str, Parameters]
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
    rollback: Rollback | None = None
    folder: Path | None = None

    def __repr__(self) -> str:
        steps = "?" if self.config.steps is None else f"{self.planned:,}"
        best = f", validation {self.best_record.validation_loss:.4f} nats" if self.best_record else ""
        return f"Run({self.model!r}, step {self.step:,} of {steps}{best})"

    @classmethod
    def start(cls, text: Corpus | Split, model_config: ModelConfig | None = None, train_config: TrainConfig | None = None,
              dtype: Any = np.float32, kernels: str | None = None) -> Run:
        """Return a run before its first step. ``kernels`` names the kernels to use, if available.

        Raises ConfigError if the text is too short for the windows, or the precision is not supported here.
        """
        model_config, config = model_config or ModelConfig(), train_config or TrainConfig()
        check_type("text", text, Corpus, Split)
        check_type("model_config", model_config, ModelConfig)
        check_type("train_config", config, TrainConfig)
        split = text if isinstance(text, Split) else text.split(config.validation, config.test)
        corpus = split.corpus
        split.require(config.validation, config.test)
        windows = Windows(split.train, config.batch_size, config.seq_len)
        steps, budget = config.steps, config.budget
        if config.epochs is not None:
            steps = steps_of(config.epochs, windows.per_epoch)
        cell = CELLS[model_config.cell]
        rate = LEARNING_RATES[config.optimizer] * cell.LEARNING_RATE_FACTOR
        decay = cell.WEIGHT_DECAY if config.optimizer == "adam" else 0.0
        config = replace(
            config, batch_size=windows.batch_size, validation=corpus.validation_fraction(config.validation), epochs=None,
            steps=None, minutes=budget, learning_rate=config.learning_rate or rate,
            weight_decay=decay if config.weight_decay is None else config.weight_decay,
            threads=min(config.threads or default_threads(windows.batch_size), windows.batch_size),
            precision=resolve_precision(config.precision, dtype, kernels_name(dtype, kernels)))
        network = CharRNN(model_config, len(corpus.vocabulary), generator(config.seed, "weights"), dtype)
        run = cls._of(LanguageModel(network, corpus.vocabulary, corpus.text_config), config,
                      network.initial_state(windows.batch_size), source_of(corpus, windows.per_epoch),
                      environment(dtype, kernels))
        run.keep_rollback()
        if steps is not None:
            run.plan(steps)
        return run

    @classmethod
    def start_from(cls, old: LanguageModel, text: Corpus | Split, model_config: ModelConfig | None = None,
                   train_config: TrainConfig | None = None, kernels: str | None = None) -> tuple[Run, list[str]]:
        """Return a run on a text, before its first step, that starts from the weights of ``old``.

        Characters that ``old`` does not know get initial weights, and are returned with the run. Raises ValueError if the
        cell or the sizes in ``model_config`` (by default that of ``old``) are not those of ``old``.
        """
        check_type("old", old, LanguageModel)
        run = cls.start(text, model_config or old.network.config, train_config, old.network.dtype, kernels)
        new_characters = run.model.take_weights(old)
        run.keep_rollback()
        return run, new_characters

    @classmethod
    def _of(cls, model: LanguageModel, config: TrainConfig, state: State, source: Source, environment: dict[str, str],
            **progress: Any) -> Run:
        """Return a run whose optimizer starts with slots of zeros."""
        network, parameters = model.network, model.network.parameters
        network.kernels, network.bfloat16 = kernels_in(environment), config.precision == "bfloat16"
        blocks = {name: parameters if name == "parameters" else parameters.like() for name in schema.block_names(config)}
        slots = {name.removeprefix("optimizer/"): block for name, block in blocks.items() if name.startswith("optimizer/")}
        optimizer = make_optimizer(config, parameters, slots, network.kernels)
        return cls(model, config, blocks, optimizer, state, source, environment, **progress)

    def split(self, corpus: Corpus) -> Split:
        """Return the parts of the run's corpus."""
        return corpus.split(self.config.validation, self.config.test)

    def plan(self, steps: int, eval_every: int | None = None) -> None:
        """Fix (or change) the total number of steps, and the interval of evaluations if one is given.

        Raises ConfigError if the run is already past ``steps``, or if there are too many evaluations.
        """
        if steps < self.step or steps == self.step != self.config.steps:
            raise ConfigError("steps", f"counts from the start of the run, which is already at step {self.step:,}",
                              f"choose more than {self.step:,}")
        eval_every = eval_every or self.config.eval_every
        if eval_every and self.config.validation and steps // eval_every > _MOST_EVALUATIONS:
            raise ConfigError("eval_every", f"leads to {steps // eval_every:,} evaluations in {steps:,} steps, above the "
                                            f"limit of {_MOST_EVALUATIONS:,}", "choose a larger interval")
        self.config = replace(self.config, steps=steps, minutes=None, eval_every=eval_every)

    @property
    def eval_every(self) -> int:
        """Steps between two evaluations: as set, or a twentieth of the plan. Raises ValueError before ``plan``."""
        return self.config.eval_every or math.ceil(self.planned / EVALUATIONS)

    @property
    def planned(self) -> int:
        """The total number of steps. Raises ValueError before ``plan``."""
        if self.config.steps is None:
            raise ValueError(_NOT_FIXED)
        return self.config.steps

    @property
    def epoch(self) -> float:
        """Passes over the training part so far."""
        return self.step / self.source.windows

    @property
    def best_record(self) -> Record | None:
        """The evaluation with the lowest validation loss so far; the first of them if there are several."""
        counted = (record for record in self.history if record.step > self.since)
        return min(counted, key=lambda record: record.validation_loss, default=None)

    @property
    def best(self) -> LanguageModel:
        """The model with the lowest validation loss, from ``best.h5`` in the run's folder.

        It is ``model`` if the run has no validation part, or if its folder does not contain the best state.
        """
        record = self.best_record
        if record is None or record.step == self.step or self.folder is None or not (self.folder / BEST).exists():
            return self.model
        is_best = language_model.file_metadata(self.folder / BEST).get("step") == record.step
        return language_model.load(self.folder / BEST) if is_best else self.model

    @property
    def out_of_patience(self) -> bool:
        """Whether none of the last ``config.patience`` evaluations was the best.

        An evaluation at the end of a plan that is not at a multiple of the interval can be the best, but does not
        count towards patience.
        """
        if self.config.patience is None or self.best_record is None:
            return False
        best, every = self.best_record.step, self.eval_every
        return sum(record.step > best and record.step % every == 0 for record in self.history) >= self.config.patience

    @property
    def finished(self) -> bool:
        """Whether there is no next step."""
        return self.step >= self.planned or self.out_of_patience

    @property
    def at_evaluation(self) -> bool:
        """Whether the state after this step must be evaluated."""
        return bool(self.config.validation) and (self.step % self.eval_every == 0 or self.step == self.planned)

    @property
    def is_finite(self) -> bool:
        """Whether all values that a step changes are finite."""
        with np.errstate(all="ignore"):
            return all(np.isfinite(block.flat.sum()) for block in self.blocks.values())

    @property
    def at_rollback_point(self) -> bool:
        """Whether the weights after this step must be copied for a rollback: at the interval of evaluations."""
        return self.step % self.eval_every == 0

    @property
    def rollback_step(self) -> int:
        """The step after which the weights for a rollback were copied."""
        return self.step if self.rollback is None else self.rollback.step

    def advance(self, loss: float, state: State) -> None:
        """Count a step; record its loss and the state from which the next window starts."""
        self.step += 1
        self.state = state
        self.smoothed_loss += (loss - self.smoothed_loss) * max(_SMOOTHING, 1 / self.step)

    def keep_rollback(self) -> None:
        """Copy the current weights for a rollback."""
        self.rollback = Rollback.of(self.step, self.blocks, self.rollback)
        self.failures = 0

    def roll_back(self) -> None:
        """Restore the last finite weights, set the state to zero, and halve the learning rate."""
        if self.rollback is None:
            raise ValueError("the run has no copied weights for a rollback")
        self.rollback.restore(self.blocks)
        self.state = self.model.network.initial_state(self.config.batch_size)
        self.failures += 1
        self.rate_factor /= 2

    def copy(self) -> Run:
        """Return a copy that shares no array with this run, and whose rollback restores the current weights."""
        network = CharRNN(self.model.network.config, len(self.model.vocabulary), dtype=self.model.network.dtype)
        model = LanguageModel(network, self.model.vocabulary, self.model.text_config, self.model.origin)
        twin = self._of(model, self.config, map_state(np.copy, self.state), self.source,
                        dict(self.environment), step=self.step, smoothed_loss=self.smoothed_loss,
                        history=list(self.history), since=self.since, rate_factor=self.rate_factor)
        for name, block in self.blocks.items():
            twin.blocks[name].flat[...] = block.flat
        twin.keep_rollback()
        return twin

    def plot(self, text: Corpus | Split | None = None) -> Figure:
        """Return a matplotlib figure of the losses and the learning rates; with the text of the run, also of the n-gram
        baseline. Raises CharRNNError if matplotlib is not installed, or as ``curves_of`` does.
        """
        return draw([curves_of(self, text)])

    def page(self, path: str | Path, text: Corpus | Split | None = None, dtype: str = "float16") -> None:
        """Write an HTML page that contains the best model and runs it; ``dtype`` is that of its weights.

        ``text`` is the text of the run; by default, it is read from its files. Without it, the page has no named units, no
        novelty and no n-gram baseline. Raises OSError if the file cannot be written, CorpusError if ``text`` is not that
        of the run, ConfigError if ``dtype`` is not float16 or float32, or cannot hold the weights.
        """
        from charrnn.page.api import write_page

        write_page(path, self, text, dtype)

    def _repr_svg_(self) -> str | None:
        """Return the picture for a notebook as SVG, or None if it cannot be drawn; the notebook then shows ``repr``."""
        try:
            return to_svg(self.plot())
        except CharRNNError:
            return None

    def save(self, path: str | Path) -> None:
        """Write the run as a checkpoint, and create a missing folder. Raises OSError, or ValueError before ``plan``."""
        replace_file(path, [self.to_bytes()], create_folder=True)

    def to_bytes(self) -> bytes:
        """Return the bytes of the run's checkpoint. Raises ValueError before ``plan``."""
        if self.config.steps is None:
            raise ValueError(_NOT_FIXED)
        return container.to_bytes(schema.arrays_of(self), schema.metadata_of(self))

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Load the run of a checkpoint, or the last state of a run folder.

        Raises RunError if no such file exists, CheckpointError if the file is not a valid checkpoint of a run.
        """
        file = checkpoint_at(path, LAST)

        def expected(metadata: dict[str, Any]) -> Manifest:
            if metadata.get("kind") == "model":
                raise CheckpointError(f"{file}: contains only a model and no training run to resume",
                                      "use it to sample or evaluate")
            return schema.expected_arrays(metadata)

        arrays, metadata = container.read(file, expected)
        with container.reported(file):
            run = cls._restore(arrays, metadata)
        run.folder = file.parent if is_checkpoint_of_run(file) else None
        return run

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a run as the content of its checkpoint."""
        return Run._restore, (schema.arrays_of(self), json.loads(json.dumps(schema.metadata_of(self))))

    @classmethod
    def _restore(cls, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Run:
        schema.check_values(arrays)
        model = language_model.restore(arrays, metadata["model"])
        state = tuple(type(layer)(*(arrays[f"state/layer{k}/{name}"] for name in layer._fields))
                      for k, layer in enumerate(model.network.initial_state(1)))
        run = cls._of(model, from_dict(TrainConfig, metadata["train"]), state, schema.source_from(metadata["source"]),
                      dict(metadata["environment"]), step=metadata["step"], smoothed_loss=metadata["smoothed_loss"],
                      history=[Record(*record) for record in metadata["history"]], since=metadata["since"],
                      rate_factor=metadata["rate_factor"])
        for block, parameters in run.blocks.items():
            for name, view in parameters.items():
                view[...] = arrays[f"{block}/{name}"]
        if metadata["rollback_step"] == run.step:
            run.keep_rollback()
        else:
            run.rollback = Rollback(metadata["rollback_step"],
                                    {name: arrays[f"rollback/{name}"] for name in run.blocks})
        run.failures = metadata["failures"]
        return run


def steps_of(epochs: float, windows: int) -> int:
    """Return the number of steps in ``epochs`` passes over a training part of ``windows`` windows."""
    return max(1, round(epochs * windows))
