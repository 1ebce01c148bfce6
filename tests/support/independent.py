"""An LSTM, with or without layer normalization, step by step in float64, in NumPy alone; h5py reads its weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

UNKNOWN = 0x110000


def affine(a: np.ndarray, layer: dict[str, np.ndarray], block: int) -> np.ndarray:
    """Return ``a`` with mean 0 and variance 1, times a block of the gain, plus the same block of the bias."""
    rows = slice(block * len(a), (block + 1) * len(a))
    return layer["gain"][rows] * (a - np.mean(a)) / (np.var(a) + 1e-5) ** 0.5 + layer["b"][rows]


class IndependentLSTM:
    """The model of a checkpoint, read and computed without any code of the package.

    ``ids`` are the numbers of the characters, ``slot`` is that of the unknown character if there is one.
    """

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as file:
            self.output = [file[f"parameters/output/{name}"][()].astype(float) for name in "wb"]
            self.layers = [{name: array[()].astype(float) for name, array in file[f"parameters/layer{k}"].items()}
                           for k in range(sum(name.startswith("layer") for name in file["parameters"]))]
            points = file["vocabulary/codepoints"][()].tolist()
        self.size = len(points)
        self.ids = {chr(point): k for k, point in enumerate(points) if point != UNKNOWN}
        self.slot = len(points) - 1 if points[-1] == UNKNOWN else None
        self.start = self.ids.get("\n", 0)

    def zeros(self) -> list[Any]:
        """Return the state at the start of a text."""
        return [(np.zeros(len(layer["w_h"])), np.zeros(len(layer["w_h"]))) for layer in self.layers]

    def step(self, number: int, states: list[Any]) -> np.ndarray:
        """Read one character, replace the states, and return the log-probabilities (V,) of the next one."""
        x = np.eye(self.size)[number]
        for k, layer in enumerate(self.layers):
            h, c = states[k]
            gates = x @ layer["w_x"] + h @ layer["w_h"]
            if "gain" in layer:
                f, o, g = (affine(part, layer, block) for block, part in enumerate(np.split(gates, 3)))
                c = (c + np.tanh(g) * np.exp(-f)) / (1 + np.exp(-f))
                x = np.tanh(affine(c, layer, 3)) / (1 + np.exp(-o))
            else:
                i, f, o, g = np.split(gates + layer["b"], 4)
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
