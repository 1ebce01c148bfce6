"""An LSTM in NumPy alone, whose weights are read from a checkpoint with h5py, step by step in float64."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

UNKNOWN = 0x110000


class IndependentLSTM:
    """The model of a checkpoint, read and computed without any code of the package.

    ``ids`` are the numbers of the characters, ``slot`` is that of the unknown character if there is one.
    """

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as file:
            self.output = [file[f"parameters/output/{name}"][()].astype(float) for name in "wb"]
            self.layers = [[file[f"parameters/layer{k}/{name}"][()].astype(float) for name in ("w_x", "w_h", "b")]
                           for k in range(sum(name.startswith("layer") for name in file["parameters"]))]
            points = file["vocabulary/codepoints"][()].tolist()
        self.size = len(points)
        self.ids = {chr(point): k for k, point in enumerate(points) if point != UNKNOWN}
        self.slot = len(points) - 1 if points[-1] == UNKNOWN else None
        self.start = self.ids.get("\n", 0)

    def zeros(self) -> list[Any]:
        """Return the state at the start of a text."""
        return [(np.zeros(len(w_h)), np.zeros(len(w_h))) for _, w_h, _ in self.layers]

    def step(self, number: int, states: list[Any]) -> np.ndarray:
        """Read one character, replace the states, and return the log-probabilities (V,) of the next one."""
        x = np.eye(self.size)[number]
        for k, (w_x, w_h, b) in enumerate(self.layers):
            h, c = states[k]
            gates = x @ w_x + h @ w_h + b
            i, f, o, g = np.split(gates, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            x = np.tanh(c) / (1 + np.exp(-o))
            states[k] = (x, c)
        logits = x @ self.output[0] + self.output[1]
        return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())

    def nats(self, text: str) -> list[float]:
        """Return the nats of all characters of a text but the first, from a zero state."""
        states, numbers = self.zeros(), [self.ids[character] for character in text]
        return [-self.step(before, states)[number] for before, number in pairwise(numbers)]

    def write(self, length: int) -> str:
        """Return the text that the model writes without a prime if it always takes the most likely character."""
        characters, states, number = list(self.ids), self.zeros(), self.start
        text = ""
        for _ in range(length):
            number = int(np.argmax(self.step(number, states)))
            text += characters[number]
        return text
