"""What changes in rnn.py for an LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000).

    python lstm.py notes.txt

The state has a second part, the cell c. It is not multiplied by a matrix at each step, but kept, erased and
written by gates between 0 and 1. So the gradient becomes smaller more slowly on its way back through time, and a forget
gate of 1 passes it on unchanged.
"""

import numpy as np
from rnn import RNN, H, main, uniform


def sigmoid(x):
    """Return 1 / (1 + exp(-x)), in a form that cannot overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


class LSTM(RNN):
    """i, f, o = sigmoid(...), g = tanh(...), each of x w_x + h w_h + b_h; c' = f c + i g; h' = o tanh(c')"""

    def __init__(self, vocabulary, hidden=H, seed=1):
        super().__init__(vocabulary, hidden, seed)
        rng = np.random.default_rng(seed)
        self.weights |= {"w_x": rng.normal(0, 1, (vocabulary, 4 * hidden)), "w_h": uniform(rng, hidden, 4 * hidden),
                         "b_h": np.zeros(4 * hidden)}
        self.weights["b_h"][hidden:2 * hidden] = 1  # at first, the cell keeps most of what is in it

    def start(self, streams):
        """Return the state before the first character: h and c, (2, B, H)."""
        return np.zeros((2, streams, len(self.weights["w_y"])))

    def read(self, inputs, state):
        """Read a window (T, B, V). Return the hidden states, (T + 1, B, H), and the last state (2, B, H)."""
        w, (h, c) = self.weights, state
        hidden, self.cells, self.gates = [h], [c], []  # back_through_time needs them
        for x in inputs:
            sums = np.split(x @ w["w_x"] + h @ w["w_h"] + w["b_h"], 4, axis=-1)
            i, f, o = map(sigmoid, sums[:3])
            g = np.tanh(sums[3])
            c = f * c + i * g
            h = o * np.tanh(c)
            hidden.append(h)
            self.cells.append(c)
            self.gates.append((i, f, o, g))
        return np.array(hidden), np.array([h, c])

    def back_through_time(self, inputs, states, d_hidden, gradients):
        """Add the gradients of the weights of the state."""
        w, d_h, d_c = self.weights, np.zeros_like(states[0]), np.zeros_like(states[0])
        for t in reversed(range(len(inputs))):
            (i, f, o, g), before, after = self.gates[t], self.cells[t], np.tanh(self.cells[t + 1])
            d_h = d_h + d_hidden[t]
            d_c = d_c + d_h * o * (1 - after ** 2)
            d_sums = np.concatenate([d_c * g * i * (1 - i), d_c * before * f * (1 - f), d_h * after * o * (1 - o),
                                     d_c * i * (1 - g ** 2)], axis=-1)
            gradients["w_x"] += inputs[t].T @ d_sums
            gradients["w_h"] += states[t].T @ d_sums
            gradients["b_h"] += d_sums.sum(axis=0)
            d_h = d_sums @ w["w_h"].T
            d_c = d_c * f  # through the cell there is neither a matrix nor tanh


if __name__ == "__main__":
    main(LSTM)
