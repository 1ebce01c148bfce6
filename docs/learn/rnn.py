"""A character-level recurrent neural network in plain NumPy. It reads a text and learns to continue it.

    python rnn.py notes.txt

Read this file from top to bottom. In comments, letters are sizes: B streams that are read at the same time, T steps in
time, V distinct characters, H hidden units. The network is that of Elman (1990), "Finding Structure in Time"; the update is
Adagrad (Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods").
"""

import sys

import numpy as np

B, T, H = 16, 32, 128


# The text: characters become numbers, and numbers become vectors.

def encode(text):
    """Return the distinct characters of a text in sorted order, and the text as indices into them."""
    characters = sorted(set(text))
    number = {character: k for k, character in enumerate(characters)}
    return characters, np.array([number[character] for character in text])


def one_hot(ids, size):
    """Return a vector for each id: zeros, and a one at the index of the id."""
    return np.eye(size)[ids]


def windows(ids, streams=B, steps=T):
    """Yield (inputs, targets), (T, B) each: windows of the text, one after the other, from B places at the same time.

    The target of a character is the character after it. Each stream begins a window where its last window ended, so the
    network can remember what it has read.
    """
    count = (len(ids) - 1) // (streams * steps)  # windows of each stream
    length = streams * count * steps
    inputs = ids[:length].reshape(streams, -1).T
    targets = ids[1:length + 1].reshape(streams, -1).T
    for start in range(0, count * steps, steps):
        yield inputs[start:start + steps], targets[start:start + steps]


# The network

def uniform(rng, *shape):
    """Return random weights between -1 / sqrt(N) and 1 / sqrt(N), where N is the number of inputs."""
    return rng.uniform(-1, 1, shape) / np.sqrt(shape[0])


class RNN:
    """Three matrices and two biases: h' = tanh(x w_x + h w_h + b_h), scores = h' w_y + b_y."""

    def __init__(self, vocabulary, hidden=H, seed=1):
        rng = np.random.default_rng(seed)
        self.weights = {"w_x": rng.normal(0, 1, (vocabulary, hidden)), "w_h": uniform(rng, hidden, hidden),
                        "b_h": np.zeros(hidden), "w_y": uniform(rng, hidden, vocabulary), "b_y": np.zeros(vocabulary)}

    def start(self, streams):
        """Return the state before the first character, (B, H)."""
        return np.zeros((streams, len(self.weights["b_h"])))

    def read(self, inputs, state):
        """Read a window (T, B, V). Return the states before and after each step, (T + 1, B, H), and the last state."""
        w, states = self.weights, [state]
        for x in inputs:
            states.append(np.tanh(x @ w["w_x"] + states[-1] @ w["w_h"] + w["b_h"]))
        return np.array(states), states[-1]

    def probabilities(self, hidden):
        """Return how likely each character is to come next, (..., V): the softmax of the scores."""
        scores = hidden @ self.weights["w_y"] + self.weights["b_y"]
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return weights / weights.sum(axis=-1, keepdims=True)

    def back_through_time(self, inputs, states, d_hidden, gradients):
        """Add the gradients of the weights of the state; ``d_hidden`` (T, B, H) is the gradient from the output."""
        w, from_next = self.weights, np.zeros_like(states[0])  # from_next: from all steps after this one
        for t in reversed(range(len(inputs))):
            d_sum = (d_hidden[t] + from_next) * (1 - states[t + 1] ** 2)  # the derivative of tanh
            gradients["w_x"] += inputs[t].T @ d_sum
            gradients["w_h"] += states[t].T @ d_sum
            gradients["b_h"] += d_sum.sum(axis=0)
            from_next = d_sum @ w["w_h"].T

    def loss(self, ids, targets, state):
        """Return the loss of a window, its gradients, and the state with which the next window begins.

        The loss is the mean cross-entropy in nats: how surprised the network is by the characters that really follow.
        """
        inputs = one_hot(ids, len(self.weights["b_y"]))
        states, last = self.read(inputs, state)
        hidden = states[1:]
        p = self.probabilities(hidden)
        correct = one_hot(targets, p.shape[-1])
        d_scores = (p - correct) / targets.size  # the derivative of softmax and cross-entropy together
        gradients = {name: np.zeros_like(array) for name, array in self.weights.items()}
        gradients["w_y"] += np.tensordot(hidden, d_scores, axes=((0, 1), (0, 1)))  # the sum over steps and streams
        gradients["b_y"] += d_scores.sum(axis=(0, 1))
        self.back_through_time(inputs, states, d_scores @ self.weights["w_y"].T, gradients)
        return -np.log(p[correct == 1]).mean(), gradients, last


# Training: change each weight a little, in the direction in which the loss becomes smaller.

def train(network, ids, epochs=1, rate=0.05, most=5.0, streams=B, steps=T):
    """Change the weights of a network in place. Yield the loss of each window, before the change."""
    squares = {name: np.zeros_like(array) for name, array in network.weights.items()}
    state = network.start(streams)
    for _ in range(epochs):
        for inputs, targets in windows(ids, streams, steps):
            loss, gradients, state = network.loss(inputs, targets, state)
            for name, gradient in gradients.items():
                gradient = np.clip(gradient, -most, most)  # a huge one would make all later changes of this weight tiny
                squares[name] += gradient ** 2
                network.weights[name] -= rate * gradient / (np.sqrt(squares[name]) + 1e-10)
            yield loss
        state = np.roll(state, 1, axis=-2)  # stream b ends where stream b + 1 begins ...
        state[..., 0, :] = 0  # ... and stream 0 begins with the text


def largest_error(network, ids, targets, state, step=1e-5):
    """Compare each gradient with (loss(w + step) - loss(w - step)) / (2 step). Return the largest relative error."""
    _, gradients, _ = network.loss(ids, targets, state)
    errors = []
    for name, array in network.weights.items():
        numeric = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above, _, _ = network.loss(ids, targets, state)
            array[index] = value - step
            below, _, _ = network.loss(ids, targets, state)
            array[index] = value
            numeric[index] = (above - below) / (2 * step)
        difference = np.linalg.norm(gradients[name] - numeric)
        errors.append(difference / (np.linalg.norm(gradients[name]) + np.linalg.norm(numeric)))
    return max(errors)


def sample(network, characters, prime, length, seed=1):
    """Return the prime and ``length`` more characters, each drawn with the probability that the network gives it."""
    rng, state = np.random.default_rng(seed), network.start(1)
    text = unread = prime
    for _ in range(length):
        ids = np.array([[characters.index(character)] for character in unread])
        states, state = network.read(one_hot(ids, len(characters)), state)
        unread = rng.choice(characters, p=network.probabilities(states[-1, 0]))
        text += unread
    return text


def main(kind):
    """Check the gradients of a small network; then train a larger one on a text file, and show what it writes."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} TEXT_FILE")
    with open(sys.argv[1], encoding="utf-8-sig") as file:
        characters, ids = encode(file.read())
    if len(ids) <= B * T:
        sys.exit(f"{sys.argv[1]}: a window needs more than {B * T} characters, and this text has {len(ids)}")
    small = kind(len(characters), hidden=5)
    print(f"relative error of the gradients: {largest_error(small, ids[:6, None], ids[1:7, None], small.start(1)):.1e}")
    network = kind(len(characters))
    losses, every = [], min(100, (len(ids) - 1) // (B * T))  # a line after each epoch of a short text
    for loss in train(network, ids, epochs=10):
        losses.append(loss)
        if len(losses) % every == 0:
            text = sample(network, characters, characters[ids[0]], 70)
            print(f"step {len(losses)}: {np.mean(losses[-every:]):.3f} nats per character: {text!r}")


if __name__ == "__main__":
    main(RNN)
