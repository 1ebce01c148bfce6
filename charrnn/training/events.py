"""Events of training, which are passed to the function ``on_event``. The library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from charrnn.config import ModelConfig
    from charrnn.text.corpus import Corpus
    from charrnn.training.run import Run
    from charrnn.training.samples import Sample
    from charrnn.training.trainer import Step


class BytesRead(NamedTuple):
    """``number`` more bytes of the text were read; ``size`` is the total number, 0 if it is unknown."""

    number: int
    size: int


class TextRead(NamedTuple):
    """The text was read."""

    corpus: Corpus


class StartChosen(NamedTuple):
    """Training starts from a trained model, or from scratch. ``message`` says why, with parameters in backticks."""

    message: str


class ModelChosen(NamedTuple):
    """The settings ``names`` of the model were chosen for the text, the length of training and the machine.

    ``passes`` is the number of passes that are expected over a training part of ``characters``.
    """

    config: ModelConfig
    names: tuple[str, ...]
    characters: int
    passes: float


class RunMade(NamedTuple):
    """A run was created. ``batch_size`` is the requested number of streams; the run may have fewer."""

    run: Run
    batch_size: int


class VocabularyChanged(NamedTuple):
    """A model gets the vocabulary of another text. It has trained weights for ``known`` of the characters."""

    known: int
    new_characters: list[str]


class CompilationStarted(NamedTuple):
    """The kernels are being compiled for this machine, because the cache does not contain them."""


class SpeedMeasured(NamedTuple):
    """The speed of this machine was measured, and was not in the cache.

    ``speeds`` are the operations per second of one core with the reference kernels ("reference"), the compiled kernels
    ("compiled") and, if the processor supports it, the compiled kernels in bfloat16 ("bfloat16").
    """

    speeds: Mapping[str, float]


class PlanFixed(NamedTuple):
    """A length in minutes was converted to steps. ``eval_every`` is the interval if the conversion set one, else None.

    ``epochs`` is None, or the number of passes after which training ends because more would not help.
    """

    minutes: float
    steps: int
    eval_every: int | None
    epochs: float | None = None


class Started(NamedTuple):
    """Training starts; the first step is next."""

    run: Run


class StepTaken(NamedTuple):
    """A step was taken."""

    run: Run
    step: Step


class Sampled(NamedTuple):
    """The model wrote a sample."""

    run: Run
    sample: Sample


class Saved(NamedTuple):
    """The run was saved after ``step``, because the signal SIGUSR1 requested it."""

    step: int


class Warned(NamedTuple):
    """Something went wrong or may be unexpected; training continues. ``message`` has parameters in backticks."""

    message: str


OnEvent = Callable[[Any], None]


def ignore(event: Any) -> None:
    """Ignore an event."""
