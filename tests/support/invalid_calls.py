# ruff: noqa: F401  (the calls in invalid_calls.txt use the names that are imported)
"""Calls of the public Python interface with invalid arguments, and the fault that the error must name.

A call is an expression. ``python invalid_calls.py`` evaluates all calls and prints the results; a test runs it in a child
process, because an invalid call could crash it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import charrnn
from charrnn import CharRNN, Corpus, LanguageModel, ModelConfig, Run, TextConfig, TrainConfig, Trainer, Vocabulary
from charrnn.inference.evaluation import evaluate
from charrnn.inference.ngram import witten_bell
from charrnn.inference.sampling import distribution, generate, read_prime
from charrnn.inference.scoring import nats_of
from charrnn.nn.cells.lstm import LSTMState
from charrnn.nn.dropout import dropout_masks, weight_masks
from charrnn.nn.gradient_check import check_gradients
from charrnn.nn.model import one_hot
from charrnn.nn.parallel import Team, Workers
from charrnn.nn.parameters import Parameters
from charrnn.randomness import generator
from charrnn.text.split import Part
from charrnn.text.windows import Windows
from charrnn.training.optimizers import make_optimizer

T, B, V, H = 4, 3, 7, 5
FOLDER = Path(tempfile.mkdtemp())
TEXT = "abcdef\n" * 60
RNG = np.random.default_rng(1)

IDS = np.arange(T * B).reshape(T, B) % V
LONG = np.arange(300) % V
NAN = float("nan")
NET, OTHER, GRU = CharRNN(ModelConfig("lstm", H), V, RNG), CharRNN(ModelConfig("lstm", H + 1), V, RNG), CharRNN(
    ModelConfig("gru", H, 2), V, RNG)
STATE, MASK, W_MASK = NET.initial_state(B), np.ones((T, B, H)), np.ones((H, 4 * H))
VOCABULARY, SMALLER = Vocabulary.of(TEXT), Vocabulary.of("abc")
MODEL = LanguageModel(NET, VOCABULARY)
CORPUS, ANOTHER = Corpus.from_text(TEXT), Corpus.from_text(TEXT + "a")
FORGED = Corpus(np.full(420, 200, np.uint8), np.empty(0, np.int64), VOCABULARY, CORPUS.fingerprint)
CONFIG = TrainConfig(steps=3, batch_size=B, seq_len=T, threads=1)


def new_run(**settings: Any) -> Run:
    """Return a small run before its first step."""
    return Run.start(CORPUS, ModelConfig("lstm", H), TrainConfig(**{**vars(CONFIG), **settings}))


def step_of(change: Callable[[Run], Any], text: Corpus = CORPUS) -> Any:
    """Return the first step of a new run to which ``change`` was applied."""
    run = new_run()
    change(run)
    return Trainer(run, text).step()


def update(gradients: Parameters, step: int = 1, rate: float = 0.1, optimizer: str = "adam") -> str:
    """Return parameters like those of ``NET`` after an update by an optimizer, as text."""
    parameters = NET.parameters.like()
    make_optimizer(TrainConfig(optimizer=optimizer), parameters).update(gradients, rate, step)
    return str(parameters.flat)


def set_state(state: Any) -> Callable[[Run], None]:
    """Return a function that sets the state of a run."""
    return lambda run: setattr(run, "state", state)


def set_network(network: CharRNN) -> Callable[[Run], None]:
    """Return a function that gives a run another network."""
    return lambda run: setattr(run.model, "network", network)


BAD_IDS = {
    "IDS + V": "id 13 is out of range for a vocabulary of 7", "IDS - 1": "id -1 is out of range",
    "IDS * 10**12": "out of range", "np.full((T, B), 200, np.uint8)": "id 200 is out of range",
    "np.full((T, B), 2**64 - 1, np.uint64)": "out of range", "IDS * 1.0": "ids must be integers, not float64",
    "IDS > 2": "ids must be integers, not bool", "IDS.astype(str)": "ids must be integers",
    "IDS.astype(object)": "ids must be integers, not object", "IDS + 0j": "ids must be integers, not complex128",
    "IDS[0]": r"shape \(T, B\)", "IDS[:0]": "the window is empty", "IDS[:, :0]": "the window is empty",
    "IDS.tolist()": "must be of type ndarray, not list", "None": "must be of type ndarray",
    "'ab'": "must be of type ndarray",
}
"""Invalid inputs or targets (T, B), and the fault."""

BAD_STATES = {
    "NET.initial_state(B + 1)": r"hidden of layer 0 must have the shape \(3, 5\), not \(4, 5\)",
    "NET.initial_state(1)": r"not \(1, 5\)", "OTHER.initial_state(B)": r"not \(3, 6\)",
    "GRU.initial_state(B)": "has 2 layers", "GRU.initial_state(B)[:1]": "must be of type LSTMState, not GRUState",
    "()": "has 0 layers", "None": "must be of type tuple", "STATE[0]": "has 2 layers",
    "[STATE[0]]": "must be of type tuple, not list", "(None,)": "must be of type LSTMState",
    "(LSTMState(None, None),)": "must be of type ndarray",
    "(LSTMState(STATE[0].hidden.T, STATE[0].cell),)": r"not \(5, 3\)",
    "(LSTMState(STATE[0].hidden.astype(str), STATE[0].cell),)": "must contain numbers",
}
"""Invalid states of ``NET`` for B streams, and the fault."""

WINDOW_METHODS = ("NET.forward(%s, %s)", "NET.losses(%s, IDS, %s)", "NET.loss_and_gradients(%s, IDS, %s)",
                  "NET.window(%s, IDS, %s)", "Team(NET, 2).loss_and_gradients(%s, IDS, %s)")
TARGET_METHODS = ("NET.losses(IDS, %s, STATE)", "NET.loss_and_gradients(IDS, %s, STATE)", "NET.window(IDS, %s, STATE)",
                  "Team(NET, 2).loss_and_gradients(IDS, %s, STATE)")


BAD_ONE_HOT = {
    "one_hot(IDS, V + 1)": "length of 8, but", "one_hot(IDS, V)[..., :-1]": "length of 6, but",
    "one_hot(IDS, V)[:0]": "empty", "one_hot(IDS, V).astype(str)": "must be numbers",
    "one_hot(IDS, V)[None]": "ids must be integers", "one_hot(IDS, V) + 0j": "must be numbers",
}
BAD_RESETS = {
    "IDS": "must be bool", "(IDS > 2).T": r"not \(3, 4\)", "IDS[0] > 2": r"not \(3,\)", "True": "of type ndarray",
    "(IDS > 2).tolist()": "of type ndarray",
}
BAD_MASKS = {
    "[]": "0 masks, but", "[MASK, MASK]": "2 masks, but", "MASK": "of type list or tuple", "[MASK[1:]]": "shape",
    "[MASK[:, :1]]": "shape", "[None]": "of type ndarray", "[MASK.astype(str)]": "numbers",
}
BAD_WEIGHT_MASKS = {
    "[]": "0 masks, but", "[W_MASK.T]": "shape", "[W_MASK[:1]]": "shape", "W_MASK": "of type list or tuple",
}


def window_calls() -> list[tuple[str, str]]:
    """Return calls of all methods that read a window, each with one invalid argument."""
    calls: list[tuple[str, str]] = []
    for method in WINDOW_METHODS:
        calls += [(method % (ids, "STATE"), f"^inputs.*{fault}") for ids, fault in (BAD_IDS | BAD_ONE_HOT).items()]
        calls += [(method % ("IDS", state), f"^state.*{fault}") for state, fault in BAD_STATES.items()]
        calls += [((method % ("IDS", "STATE"))[:-1] + f", reset={reset})", f"^reset.*{fault}")
                  for reset, fault in BAD_RESETS.items()]
        calls += [(method % ("IDS.T", "STATE"), "^(state: hidden of layer 0|targets: shape)")]  # swapped axes
    for method in TARGET_METHODS:
        calls += [(method % ids, f"^targets.*{fault}") for ids, fault in BAD_IDS.items()]
        calls += [(method % ids, "^targets: shape .* does not match inputs of shape")
                  for ids in ("IDS.T", "IDS[1:]", "IDS[:, 1:]")]
    for method in ("NET.loss_and_gradients", "NET.window"):
        calls += [(f"{method}(IDS, IDS, STATE, {masks})", f"^masks.*{fault}") for masks, fault in BAD_MASKS.items()]
        calls += [(f"{method}(IDS, IDS, STATE, None, {masks})", f"^weight_masks.*{fault}")
                  for masks, fault in BAD_WEIGHT_MASKS.items()]
    team = "Team(NET, 2).loss_and_gradients(IDS, IDS, STATE, "
    calls += [(f"{team.replace('2', '1')}lambda first, last: {masks})", f"^masks.*{fault}")
              for masks, fault in BAD_MASKS.items()]
    calls += [(f"{team}None, {masks})", f"^weight_masks.*{fault}") for masks, fault in BAD_WEIGHT_MASKS.items()]
    calls += [(f"NET.window(IDS, IDS, STATE, d_state={state})", f"^d_state.*{fault}")
              for state, fault in BAD_STATES.items() if state != "None"]
    return calls + [(f"NET.window(IDS, IDS, STATE, characters={count})", "^characters: must be")
                    for count in ("0", "-1", "1.5", "NAN")]


def all_calls() -> list[tuple[str, str]]:
    """Return all calls: those of invalid_calls.txt, then those that read a window."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("  =>  ") for line in lines if line and not line.startswith("#")]
    return [(expression, fault) for expression, _, fault in pairs] + window_calls()


def run() -> list[tuple[str, str, str]]:
    """Evaluate all calls; return (expression, type of the exception or "", its message or the value)."""
    results = []
    for expression, _ in all_calls():
        print(expression, file=sys.stderr, flush=True)  # if the process crashes, the last line names the call
        try:
            results.append((expression, "", repr(eval(expression))[:200]))
        except (charrnn.CharRNNError, ValueError, TypeError, IndexError, KeyError, OSError, AttributeError) as error:
            results.append((expression, type(error).__name__, str(error)))
        except Exception as error:
            results.append((expression, f"other: {type(error).__name__}", str(error)))
    return results


if __name__ == "__main__":
    json.dump(run(), sys.stdout)
