"""What a training tells its caller: events, passed to one function, ``on_event``. The library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from charrnn.config import ModelConfig
    from charrnn.text.corpus import Corpus
    from charrnn.training.run import Run
    from charrnn.training.trainer import Step


class BytesRead(NamedTuple):
    """``number`` more bytes of the text were read, of ``size`` in all (0 if that is not known)."""

    number: int
    size: int


class TextRead(NamedTuple):
    """The text was read."""

    corpus: Corpus


class ModelChosen(NamedTuple):
    """The settings ``names`` of the model were chosen for the text, the length of the training and the machine."""

    config: ModelConfig
    names: tuple[str, ...]


class RunMade(NamedTuple):
    """A run was created and has not taken a step. ``batch_size`` was requested; that of the run may be smaller."""

    run: Run
    batch_size: int


class VocabularyChanged(NamedTuple):
    """A model continues with the vocabulary of another text; ``known`` of its characters have trained weights."""

    known: int
    new_characters: list[str]


class CompilationStarted(NamedTuple):
    """The kernels are being compiled for this machine, because the cache does not contain them."""


class PlanFixed(NamedTuple):
    """A length in minutes became a number of steps. ``eval_every`` is the interval if it is not the usual one."""

    minutes: float
    steps: int
    eval_every: int | None


class Started(NamedTuple):
    """The first step comes next."""

    run: Run


class StepTaken(NamedTuple):
    """A step was taken."""

    run: Run
    step: Step


class Saved(NamedTuple):
    """The run was saved after ``step``, because the signal SIGUSR1 asked for it."""

    step: int


class Warned(NamedTuple):
    """Something went wrong, or may not be as expected; training continues."""

    message: str


OnEvent = Callable[[Any], None]


def ignore(event: Any) -> None:
    """Do nothing about an event."""
