"""TextConfig, ModelConfig and TrainConfig: define every setting once, with its default, range and help.

The command line creates its options from these classes, and files store the settings as plain values. This module does not
import NumPy.
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

END = "\ud800"
"""The end mark of a document, unless documents are lines. It is a surrogate, which valid text cannot contain."""

DEFAULT_MINUTES = 2.0
"""The length of training in minutes if none of ``epochs``, ``steps`` and ``minutes`` is set."""

LEARNING_RATES = {"adam": 0.015, "rmsprop": 0.003, "adagrad": 0.05, "sgd": 1.0}
"""The default learning rate of each optimizer, for an LSTM."""

CELL_NAMES = ["lnlstm", "lstm", "gru", "rnn"]
"""The names of the cells. Each is a module in ``nn/cells/``; ``nn.cells.register`` adds a cell at run time."""

MANY_CHARACTERS, EMBEDDING_SIZE = 1000, 128
"""A model of more than ``MANY_CHARACTERS`` distinct characters has an embedding of size ``EMBEDDING_SIZE`` by default."""

VALIDATION, MOST_VALIDATION = 0.1, 1_000_000
"""The default fraction of a text that is kept for validation, and its maximum in characters."""

AUTO, NONE = "auto", "none"
"""Values of ``start_from`` that do not name a model: the bundled model if it helps, and no model."""

CHOSEN = ("hidden_size", "dropout", "weight_drop")
"""The model settings that are chosen to suit the text if no hidden size is set."""

BASELINE_ORDER = 4
"""Number of context characters of the n-gram baseline with which a trained model is compared."""

SAMPLE_LENGTH = 1000
"""Number of characters to generate by default."""

NOVELTY_LENGTH = 50_000
"""Number of characters to generate by default for a comparison with the training text."""

Config = TypeVar("Config", "TextConfig", "ModelConfig", "TrainConfig")


def _setting(kind: type, default: Any, group: str, text: str, *, unset: str = "", least: float | None = None,
             above: float | None = None, below: float | None = None, most: float | None = None,
             choices: Sequence[str] = (), absent: Any = dataclasses.MISSING) -> Any:
    """Return a field with its help and its range: ``least`` <= value <= ``most``, ``above`` < value < ``below``.

    ``group`` is the section of the help that lists the setting. ``text`` is the help, in which other settings are in
    backticks. A setting whose default is None may be None; ``unset`` describes what None means. ``absent`` is the value in
    files that were written before the setting existed, if it differs from the default.
    """
    return field(default=default, metadata={
        "kind": kind, "group": group, "help": text, "unset": unset,
        "absent": default if absent is dataclasses.MISSING else absent,
        "range": {"least": least, "above": above, "below": below, "most": most, "choices": choices}})


def check_range(name: str, value: Any, kind: type[Any], *, least: float | None = None, above: float | None = None,
                below: float | None = None, most: float | None = None, choices: Sequence[str] = ()) -> None:
    """Raise ConfigError for ``name`` unless ``value`` is of type ``kind`` and in the range.

    NumPy numbers are accepted, and so are integers if ``kind`` is float.
    """
    value = _plain(value)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf
    if type(value) is not kind:
        raise ConfigError(name, f"must be of type {kind.__name__}, not {value!r}")
    if choices and value not in choices:
        raise ConfigError(name, f"must be one of {', '.join(choices)}, not {value!r}")
    if kind is int and abs(value) >= 2**63:
        raise ConfigError(name, "must fit in a signed 64-bit integer")
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
    """Convert a NumPy number to an int or a float, and return any other value unchanged."""
    if type(value) in (int, float, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


@dataclass(frozen=True)
class TextConfig:
    """Settings for reading files as text and converting text to ids.

    Raises ConfigError if a value is out of range or settings cannot be combined.
    """

    encoding: str = _setting(str, "utf-8", "Text", "Encoding of the text.")
    errors: str = _setting(str, "strict", "Text", "Reject, replace or drop invalid bytes.",
                           choices=("strict", "replace", "ignore"))
    level: str = _setting(str, "char", "Text", "Read a text as characters, or any file as bytes.", choices=("char", "byte"))
    normalize: str = _setting(str, "none", "Text", "Convert the text to a Unicode normal form.",
                              choices=("none", "NFC", "NFKC"))
    lowercase: bool = _setting(bool, False, "Text", "Convert the text to lower case.")
    min_count: int = _setting(int, 1, "Text", "Replace rarer characters with one unknown character.", least=1, most=2**62)
    documents: str | None = _setting(str, None, "Text", "Independent documents: lines, paragraphs or files.",
                                     unset="one continuous text", choices=("lines", "paragraphs", "files"))
    separator: str | None = _setting(str, None, "Text", "Text between documents; \\n is a line break.")
    column: str | None = _setting(str, None, "Text", "Read this column of CSV, TSV or JSON Lines files as documents.")
    shuffle_seed: int = _setting(int, 1, "Text", "Random seed for the order of documents.", least=0, most=2**62)
    group_copies: bool = _setting(bool, True, "Text", "Put identical documents into the same part of the text.")
    glob: str = _setting(str, "*.txt", "Text", "Pattern of the file names to read in a folder.")

    @property
    def unit(self) -> str | None:
        """What a document is: "line", "paragraph", "file" or "document"; None if the text is continuous."""
        if self.documents is not None:
            return self.documents.removesuffix("s")
        return None if self.separator is None and self.column is None else "document"

    @property
    def end(self) -> str | None:
        """The character that ends each document: the newline for lines, otherwise ``END``; None for a continuous text."""
        return None if self.unit is None else "\n" if self.unit == "line" else END

    def __post_init__(self) -> None:
        _check(self)
        try:
            object.__setattr__(self, "encoding", codecs.lookup(self.encoding).name)
            "".encode(self.encoding).decode(self.encoding)
        except (LookupError, ValueError, TypeError) as error:
            raise ConfigError("encoding", f"must be a text encoding that Python knows, such as utf-8, latin-1 or utf-16, "
                                          f"not {self.encoding!r}") from error
        for name in ("encoding", "errors", "normalize", "lowercase", "column"):
            if self.level == "byte" and getattr(self, name) != getattr(TextConfig, name):
                raise ConfigError(name, "applies to characters and cannot be combined with `level='byte'`")
        ways = [name for name in ("documents", "separator", "column") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ConfigError(ways[1], f"cannot be combined with `{ways[0]}`", "leave out one of them")
        for name in ("separator", "column"):
            if getattr(self, name) == "":
                raise ConfigError(name, "must not be empty")
        if not PurePath(self.glob).name or "\0" in self.glob or self.glob.startswith("/"):
            raise ConfigError("glob", f"must be a file name pattern such as '*.py', not {self.glob!r}")


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the network. Raises ConfigError if a value is out of range."""

    cell: str = _setting(str, "lnlstm", "Model", "Type of recurrent cell.", choices=CELL_NAMES, absent="lstm")
    hidden_size: int = _setting(int, 256, "Model", "Hidden units of each layer.", least=1, most=2**16)
    layers: int = _setting(int, 1, "Model", "Stacked recurrent layers.", least=1, most=100)
    dropout: float = _setting(float, 0.0, "Model", "Fraction of each layer's outputs to drop in training.",
                              least=0, below=1)
    embedding_size: int | None = _setting(
        int, None, "Model", "Size of character embeddings; 0 = one-hot.",
        unset=f"0; {EMBEDDING_SIZE} above {MANY_CHARACTERS:,} characters", least=0, most=2**16)
    weight_drop: float = _setting(float, 0.0, "Model", "Fraction of the recurrent weights to drop in each window.",
                                  least=0, below=1)

    def __post_init__(self) -> None:
        _check(self)

    def for_vocabulary(self, size: int) -> ModelConfig:
        """Return a copy with every default resolved for a vocabulary of ``size`` characters."""
        if self.embedding_size is not None:
            return self
        return dataclasses.replace(self, embedding_size=EMBEDDING_SIZE if size > MANY_CHARACTERS else 0)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of training. Raises ConfigError if a value is out of range or settings cannot be combined.

    At most one of ``epochs``, ``steps`` and ``minutes`` may be set; if none is set, training takes ``DEFAULT_MINUTES``.
    ``Run.start`` and ``Run.plan`` resolve the remaining defaults, so that the config of a run describes its training
    exactly.

    The schedule ``cosine`` falls to 2 % of the peak learning rate; ``step`` divides the rate by ten after 60 % of the plan
    and again after 85 %. ``weight_decay`` is decoupled: each step subtracts this fraction of a weight, times the learning
    rate; biases and gains do not decay. ``clip_value`` is applied before ``clip_norm``.

    ``reset`` trains the model to predict from the zero state, in which every text and every sample starts.

    ``precision`` applies to the factors of matrix products in the layers. Everything else has the dtype of the network.
    """

    batch_size: int = _setting(int, 32, "Optimization", "Parallel streams of text.", least=1, most=2**16)
    seq_len: int = _setting(int, 64, "Optimization", "Characters in a window, through which gradients flow back.",
                            least=1, most=2**20)
    stateful: bool = _setting(bool, True, "Optimization", "Carry the hidden state from window to window.")
    reset: float = _setting(float, 0.1, "Optimization", "Probability of setting a stream's state to zero before a window.",
                            least=0, most=1, absent=0.0)
    epochs: float | None = _setting(float, None, "Length", "Length of training in passes over the text.",
                                    above=0, most=10**7)
    steps: int | None = _setting(int, None, "Length", "Length of training in steps.", least=1)
    minutes: float | None = _setting(float, None, "Length", "Length of training in minutes.", unset=f"{DEFAULT_MINUTES:g}",
                                     above=0, most=10**7)
    optimizer: str = _setting(str, "adam", "Optimization", "Optimizer: adam, rmsprop, adagrad or sgd.",
                            choices=("adam", "rmsprop", "adagrad", "sgd"))
    learning_rate: float | None = _setting(
        float, None, "Optimization", "Peak learning rate.",
        unset="0.025 for adam and lnlstm", above=0)
    schedule: str = _setting(str, "cosine", "Optimization", "Learning-rate schedule: cosine, step or constant.",
                             choices=("cosine", "step", "constant"))
    warmup: int = _setting(
        int, 50, "Optimization", "Steps until the peak learning rate; at most a tenth of the plan.", least=0)
    weight_decay: float | None = _setting(float, None, "Optimization", "Decoupled weight decay of matrices.",
                                          unset="0.05 for adam, lnlstm; else 0", least=0, absent=0.0)
    momentum: float = _setting(float, 0.9, "Optimization", "Momentum of sgd.", least=0, below=1)
    beta1: float = _setting(float, 0.8, "Optimization", "Decay of Adam's mean of gradients.", least=0, below=1, absent=0.9)
    beta2: float = _setting(float, 0.95, "Optimization", "Decay of Adam's mean of squared gradients.", least=0, below=1,
                            absent=0.99)
    clip_norm: float = _setting(float, 1.0, "Optimization", "Maximum norm of the gradient; 0 = off.", least=0)
    clip_value: float = _setting(float, 0.0, "Optimization", "Maximum absolute value in the gradient; 0 = off.", least=0)
    validation: float | None = _setting(
        float, None, "Evaluation", "Fraction of the text to keep for validation; 0 = none.",
        unset=f"{VALIDATION:g}, at most {MOST_VALIDATION:,} characters", least=0, below=1)
    test: float = _setting(float, 0.0, "Evaluation", "Fraction at the end of the text that training never uses.",
                           least=0, below=1)
    eval_every: int | None = _setting(int, None, "Evaluation", "Steps between evaluations.",
                                      unset="a twentieth of the plan", least=1)
    patience: int | None = _setting(int, None, "Evaluation", "Stop after this many evaluations without a new best loss.",
                                    unset="off", least=1)
    samples: bool = _setting(bool, True, "Saving", "Write samples while training, and keep them in samples.jsonl.")
    sample_every: int | None = _setting(int, None, "Saving", "Steps between samples.",
                                        unset="after 1, 2, 4, 8, ... steps", least=1)
    checkpoint_every: int | None = _setting(int, None, "Saving", "Steps between additional saves.", unset="off", least=1)
    checkpoint_minutes: float = _setting(float, 5.0, "Saving", "Maximum minutes between saves.", above=0)
    keep: int = _setting(int, 0, "Saving", "Keep the checkpoints of the last N evaluations, as step-N.h5.", least=0)
    recover: bool = _setting(bool, True, "Optimization", "Roll back and halve the learning rate after a non-finite loss.")
    precision: str = _setting(
        str, "auto", "Optimization", "Precision of products: float32, bfloat16 or auto, the fastest.",
        choices=("auto", "float32", "bfloat16"), absent="float32")
    seed: int = _setting(int, 1, "Other", "Random seed for initial weights, dropout and resets.", least=0)
    threads: int | None = _setting(int, None, "Other", "Threads on each MPI rank.",
                                   unset="one per core, with at least 8 streams each", least=1, most=1024)

    def __post_init__(self) -> None:
        _check(self)
        lengths = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise ConfigError(lengths[1], f"cannot be combined with `{lengths[0]}`")
        validation = validation_fraction(self.validation, 1, 1)
        if validation + self.test >= 1:
            raise ConfigError("test", f"must be below {1 - validation:g}, the fraction that `validation` leaves, "
                                      f"not {self.test:g}")
        if self.patience is not None and self.validation == 0:
            raise ConfigError("patience", "needs a validation part", "set `validation` above 0")

    @property
    def budget(self) -> float | None:
        """The minutes that training may take, or None if its length is set in steps or epochs."""
        if self.epochs is None and self.steps is None and self.minutes is None:
            return DEFAULT_MINUTES
        return self.minutes


def validation_fraction(fraction: float | None, characters: int, distinct: int) -> float:
    """Return the fraction of a text that is kept for validation: ``fraction``, or the default if it is None.

    The default is smaller for long texts, and for texts with many ``distinct`` characters, whose evaluation takes longer.
    """
    most = MOST_VALIDATION * min(1.0, MANY_CHARACTERS / max(1, distinct))
    return min(VALIDATION, most / max(1, characters)) if fraction is None else fraction


FORMER_SETTINGS: dict[tuple[str, str], Callable[[Any], dict[str, Any]]] = {
    ("TextConfig", "lines"): lambda value: {"documents": "lines", "group_copies": False} if value is True else {},
    ("TextConfig", "reset_at_files"): lambda value: {},
}
"""Settings that were removed or renamed: maps (class name, setting) to a function that takes the stored value and returns
the settings that replace it."""


def to_dict(config: TextConfig | ModelConfig | TrainConfig) -> dict[str, Any]:
    """Return the settings as plain values that a file can store."""
    return dataclasses.asdict(config)


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Create a config from the settings in a file.

    A missing setting takes its ``absent`` value. Raises ValueError if a setting is unknown, ConfigError if a value is out
    of range.
    """
    fields = {item.name: item.metadata["absent"] for item in dataclasses.fields(kind)}
    for name, value in values.items():
        former = FORMER_SETTINGS.get((kind.__name__, name))
        if name not in fields and former is None:
            raise ValueError(f"unknown setting {name!r}")
        fields.update({name: value} if former is None else former(value))
    return kind(**fields)
