"""TextConfig, ModelConfig and TrainConfig: every setting with its default, its range and its help, once.

The command line makes its options of them, and files store them as plain values. Needs no NumPy.
"""

from __future__ import annotations

import codecs
import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeVar

from charrnn.errors import ConfigError

DEFAULT_MINUTES = 2.0
"""The length of a training if neither ``epochs``, ``steps`` nor ``minutes`` is given."""

LEARNING_RATES = {"adam": 0.015, "rmsprop": 0.003, "adagrad": 0.05, "sgd": 1.0}
"""The default learning rate of each optimizer, for an LSTM."""

CELL_NAMES = ["lstm", "gru", "rnn"]
"""The names of the cells, each a module of ``nn/cells/``; ``nn.cells.register`` adds one at run time."""

MANY_CHARACTERS, EMBEDDING_SIZE = 1000, 128
"""With more distinct characters than ``MANY_CHARACTERS``, a model has an embedding of ``EMBEDDING_SIZE`` by default."""

VALIDATION, MOST_VALIDATION = 0.1, 1_000_000
"""The default fraction of a text that is kept for validation, and the largest number of its characters."""

CHOSEN = ("hidden_size", "dropout", "weight_drop")
"""The settings of a model that are chosen for a text if no hidden size is given."""

BASELINE_ORDER = 4
"""Characters of context of the n-gram baseline that a trained model is compared with."""

SAMPLE_LENGTH = 1000
"""Characters that the ``sample`` command writes by default."""

Config = TypeVar("Config", "TextConfig", "ModelConfig", "TrainConfig")


def _setting(kind: type, default: Any, text: str, *, least: float | None = None, above: float | None = None,
             below: float | None = None, most: float | None = None, choices: Sequence[str] = (),
             absent: Any = dataclasses.MISSING) -> Any:
    """Return a field with its help and its range: ``least`` <= value <= ``most``, ``above`` < value < ``below``.

    A setting whose default is None may be None. ``absent`` is the value for files that were written before the setting
    existed, if that is not the default.
    """
    return field(default=default, metadata={
        "kind": kind, "help": text, "absent": default if absent is dataclasses.MISSING else absent,
        "range": {"least": least, "above": above, "below": below, "most": most, "choices": choices}})


def check_range(name: str, value: Any, kind: type[Any], *, least: float | None = None, above: float | None = None,
                below: float | None = None, most: float | None = None, choices: Sequence[str] = ()) -> None:
    """Raise ConfigError for ``name`` unless ``value`` is of type ``kind`` and in the range.

    Numbers of NumPy are accepted, and integers if ``kind`` is float.
    """
    value = _plain(value)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf
    if type(value) is not kind:
        raise ConfigError(name, f"must be of type {kind.__name__}, not {value!r}")
    if choices and value not in choices:
        raise ConfigError(name, f"must be one of {', '.join(choices)}, not {value!r}")
    if kind is int and abs(value) >= 2**63:
        raise ConfigError(name, "must be a number of at most 64 bits")
    if kind is float and not math.isfinite(value):
        raise ConfigError(name, f"must be a finite number, not {value}")
    shown = f"{value:g}" if kind is float else str(value)
    if least is not None and value < least:
        raise ConfigError(name, f"must be at least {least}, not {shown}")
    if above is not None and value <= above:
        raise ConfigError(name, f"must be above {above}, not {shown}")
    if below is not None and value >= below:
        raise ConfigError(name, f"must be below {below}, not {shown}")
    if most is not None and value > most:
        raise ConfigError(name, f"must be at most {most}, not {shown}")


def _check(config: Any) -> None:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        rule = item.metadata
        if value is None and item.default is None:
            continue
        check_range(item.name, value, rule["kind"], **rule["range"])
        object.__setattr__(config, item.name, float(value) if rule["kind"] is float else _plain(value))


def _plain(value: Any) -> Any:
    """Return a number of NumPy as an int or a float, and any other value as it is."""
    if type(value) in (int, float, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


@dataclass(frozen=True)
class TextConfig:
    """How files become text, and text becomes ids.

    Raises ConfigError for a value out of range, or for settings that cannot be combined.
    """

    encoding: str = _setting(str, "utf-8", "Encoding of the text, by any name that Python knows.")
    errors: str = _setting(
        str, "strict", "What to do about bytes that are not of the encoding: refuse the text, put U+FFFD in their place, "
        "or leave them out.", choices=("strict", "replace", "ignore"))
    level: str = _setting(
        str, "char", "What the model reads and writes: characters, or bytes, which every file has.",
        choices=("char", "byte"))
    normalize: str = _setting(
        str, "none", "Unicode normal form that the text is brought into: NFC composes accents with their letters, NFKC "
        "also replaces variants of a character.", choices=("none", "NFC", "NFKC"))
    lowercase: bool = _setting(bool, False, "Turn capitals into small letters.")
    min_count: int = _setting(
        int, 1, "Characters that stand in the text less often than this become one, which stands for all that are unknown. "
        "From 2 on, any text can be evaluated and any prime given.", least=1, most=2**62)
    lines: bool = _setting(
        bool, False, "Take each line for a document of its own: it begins with a fresh state, and their order is drawn.")
    shuffle_seed: int = _setting(int, 1, "Seed of the order of --lines.", least=0, most=2**62)
    reset_at_files: bool = _setting(bool, False, "Begin each file with a fresh state.")
    glob: str = _setting(
        str, "*.txt", "Names of the files that are read in a folder and below it, compressed ones (.gz, .bz2, .xz) too.")

    def __post_init__(self) -> None:
        _check(self)
        try:
            object.__setattr__(self, "encoding", codecs.lookup(self.encoding).name)
            "".encode(self.encoding).decode(self.encoding)
        except (LookupError, ValueError, TypeError):
            raise ConfigError("encoding", f"must be a text encoding that Python knows, such as utf-8, latin-1 or utf-16, "
                                          f"not {self.encoding!r}") from None
        for name in ("encoding", "errors", "normalize", "lowercase"):
            if self.level == "byte" and getattr(self, name) != getattr(TextConfig, name):
                raise ConfigError(name, "is about characters, and --level byte reads none; leave one of them out")
        if self.lines and self.reset_at_files:
            raise ConfigError("reset_at_files", "goes not with --lines, where each line has a fresh state; leave it out")
        if not PurePath(self.glob).name or "\0" in self.glob or self.glob.startswith("/"):
            raise ConfigError("glob", f"must be a pattern of file names such as '*.py', not {self.glob!r}")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. Raises ConfigError for a value out of range."""

    cell: str = _setting(str, "lstm", "Recurrent cell.", choices=CELL_NAMES)
    hidden_size: int = _setting(int, 256, "Hidden units of each layer.", least=1, most=2**16)
    layers: int = _setting(int, 1, "Recurrent layers, one upon the other.", least=1, most=100)
    dropout: float = _setting(
        float, 0.0, "Share of each layer's outputs that training drops, between layers and before the output.",
        least=0, below=1)
    embedding_size: int | None = _setting(
        int, None, f"Size of a learned vector for each character; 0 feeds characters one-hot. By default {EMBEDDING_SIZE} "
        f"for a text of more than {MANY_CHARACTERS:,} different characters, else 0.", least=0, most=2**16)
    weight_drop: float = _setting(
        float, 0.0, "Share of the recurrent weights (w_h) that each window of the training drops.", least=0, below=1)

    def __post_init__(self) -> None:
        _check(self)

    def for_vocabulary(self, size: int) -> ModelConfig:
        """Return a copy with every default resolved for a vocabulary of ``size`` characters."""
        if self.embedding_size is not None:
            return self
        return dataclasses.replace(self, embedding_size=EMBEDDING_SIZE if size > MANY_CHARACTERS else 0)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Raises ConfigError for a value out of range.

    At most one of ``epochs``, ``steps`` and ``minutes`` may be given; with none, training takes ``DEFAULT_MINUTES``.
    ``Run.start`` and ``Run.plan`` fix what is left open, so that the config of a run says exactly what it does.
    """

    batch_size: int = _setting(int, 32, "Streams of text that are read side by side.", least=1, most=2**16)
    seq_len: int = _setting(int, 64, "Characters of a window: how far back the gradient reaches.", least=1, most=2**20)
    stateful: bool = _setting(
        bool, True, "Carry the hidden state from window to window, or start each window from zero.")
    epochs: float | None = _setting(
        float, None, "Length of the training in passes over the training part.", above=0, most=10**7)
    steps: int | None = _setting(int, None, "Length of the training in steps, one window of every stream each.", least=1)
    minutes: float | None = _setting(
        float, None, "Length of the training in minutes: the first steps are timed, then the number of steps is fixed. "
        f"{DEFAULT_MINUTES:g} where no length is given.", above=0, most=10**7)
    optimizer: str = _setting(str, "adam", "Optimizer.", choices=("adam", "rmsprop", "adagrad", "sgd"))
    learning_rate: float | None = _setting(
        float, None, "Peak learning rate; by default that of the optimizer: "
        + ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items())
        + "; a GRU takes half of it, a tanh RNN a fifth.", above=0)
    schedule: str = _setting(
        str, "cosine", "Course of the learning rate: cosine falls to 2 % of the peak, step falls to a tenth at 60 % and "
        "again at 85 % of the plan.", choices=("cosine", "step", "constant"))
    warmup: int = _setting(int, 50, "Steps in which the learning rate rises from 0 to its peak.", least=0)
    weight_decay: float = _setting(
        float, 0.0, "Share of each weight, times the learning rate, that a step takes away (decoupled).", least=0)
    momentum: float = _setting(float, 0.9, "Momentum of sgd.", least=0, below=1)
    clip_norm: float = _setting(
        float, 1.0, "Scale the gradient down to this norm where it is longer; 0 = off.", least=0)
    clip_value: float = _setting(
        float, 0.0, "Cut each element of the gradient to plus or minus this, before the norm; 0 = off.", least=0)
    validation: float | None = _setting(
        float, None, "Share of the text, after the training part, that is kept for validation; 0 = none. By default "
        f"{VALIDATION:g}, of a long text {MOST_VALIDATION:,} characters, and fewer where many are different.",
        least=0, below=1)
    test: float = _setting(
        float, 0.0, "Share of the text, at its end, that training never looks at.", least=0, below=1)
    eval_every: int | None = _setting(
        int, None, "Steps between two evaluations on the validation part; by default a twentieth of the plan.", least=1)
    patience: int | None = _setting(
        int, None, "Stop early after this many evaluations in a row without a new best; by default never.", least=1)
    checkpoint_every: int | None = _setting(
        int, None, "Steps between two saves, besides those at evaluations and by time.", least=1)
    checkpoint_minutes: float = _setting(float, 5.0, "Minutes after which the run is saved in any case.", above=0)
    recover: bool = _setting(
        bool, True, "Where a loss or a gradient is not finite, go back to the last good weights at half the learning rate, "
        "or stop at once.")
    seed: int = _setting(int, 1, "Seed of all that is drawn: initial weights and dropout masks.", least=0)
    threads: int | None = _setting(
        int, None, "Threads that share the streams, on each MPI rank; by default as many as cores. The same number gives "
        "the same bits.", least=1, most=1024)

    def __post_init__(self) -> None:
        _check(self)
        given = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(given[1], f"cannot be given together with {given[0]}; give one of them")
        validation = validation_fraction(self.validation, 1, 1)
        if validation + self.test >= 1:
            raise ConfigError("test", f"must be below {1 - validation:g}, what validation leaves, not {self.test:g}")
        if self.patience is not None and self.validation == 0:
            raise ConfigError("patience", "needs a validation part; give a validation share above 0")

    @property
    def budget(self) -> float | None:
        """Minutes that the training may take, or None if its length is given in steps or epochs."""
        if self.epochs is None and self.steps is None and self.minutes is None:
            return DEFAULT_MINUTES
        return self.minutes


def validation_fraction(fraction: float | None, characters: int, distinct: int) -> float:
    """Return the fraction of a text that is kept for validation: the given one, or the default if it is None.

    The default is smaller for long texts, and for those with many ``distinct`` characters, whose evaluation takes longer.
    """
    most = MOST_VALIDATION * min(1.0, MANY_CHARACTERS / max(1, distinct))
    return min(VALIDATION, most / max(1, characters)) if fraction is None else fraction


FORMER_SETTINGS: dict[tuple[str, str], Callable[[Any], dict[str, Any]]] = {}
"""Settings that were removed or renamed: (class name, setting) -> a function of the stored value, which returns the
settings that replace it."""


def to_dict(config: TextConfig | ModelConfig | TrainConfig) -> dict[str, Any]:
    """Return the settings as plain values, for a file."""
    return dataclasses.asdict(config)


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Make a config of the settings in a file.

    A setting that is missing takes its ``absent`` value. Raises ValueError for an unknown setting, ConfigError for a value
    out of range.
    """
    fields = {item.name: item.metadata["absent"] for item in dataclasses.fields(kind)}
    for name, value in values.items():
        former = FORMER_SETTINGS.get((kind.__name__, name))
        if name not in fields and former is None:
            raise ValueError(f"unknown setting {name!r}")
        fields.update({name: value} if former is None else former(value))
    return kind(**fields)
