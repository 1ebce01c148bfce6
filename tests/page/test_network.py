"""The network in JavaScript agrees with Python."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from small_models import LETTERS, make_model

from charrnn.config import END, TextConfig
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.sampling import distribution
from charrnn.nn.cells import CELLS
from charrnn.page.module import SCRIPTS, module, static
from charrnn.page.weights import describe, to_base64
from charrnn.text.decoding import normalize
from charrnn.text.documents import mark_ends

Run = Callable[..., Any]

TEXT = "".join(np.random.default_rng(5).choice(list(LETTERS), 1000))

MODELS: dict[str, dict[str, Any]] = {
    **{f"{cell}, {layers} layers": {"cell": cell, "layers": layers, "hidden_size": 13}
       for cell in CELLS for layers in (1, 2)},
    **{f"{cell}, embedding": {"cell": cell, "layers": 2, "embedding_size": 5} for cell in CELLS},
    **{f"{cell}, {size} units": {"cell": cell, "hidden_size": size}
       for cell, size in (("lstm", 1), ("gru", 8), ("rnn", 17), ("lstm", 24), ("lnlstm", 1), ("lnlstm", 16))},
    "bytes": {"characters": "".join(map(chr, sorted(set(LETTERS.encode())))), "level": "byte"},
    "lines": {"documents": "lines", "cell": "gru"},
    "lines, lnlstm": {"documents": "lines", "cell": "lnlstm", "layers": 2},
    "lines, unknown": {"characters": "\nabc", "min_count": 2, "documents": "lines"},
    "unknown": {"characters": "abc", "min_count": 2},
    "unknown byte": {"characters": "\n abc", "min_count": 2, "level": "byte"},
    "one character": {"characters": "a", "min_count": 2},
}

PARTS = {"lstm": ["hidden", "cell", *"ifog"], "lnlstm": ["hidden", "cell", *"fog"], "gru": ["hidden", *"rzn"],
         "rnn": ["hidden", "h"]}


def model_of(name: str) -> LanguageModel:
    return make_model(dtype=np.float32, **MODELS[name])


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    """Return a function that calls a JavaScript function with arguments, on a page with the scripts and ``numbers``."""
    page = browser.new_page()
    page.add_script_tag(content=static(*SCRIPTS))
    page.add_script_tag(content="""
        function numbers(arrays) {
          const all = Float64Array.from(arrays.flatMap((array) => Array.from(array)));
          return btoa(Array.from(new Uint8Array(all.buffer), (byte) => String.fromCharCode(byte)).join(""));
        }
        function make([model, weights, dtype]) {
          return [new Network(model, weightsFrom(weights, dtype)), new Text(model)];
        }""")
    yield lambda function, *arguments: page.evaluate(f"(arguments) => ({function})(...arguments)", list(arguments))
    page.close()


def data(model: LanguageModel, dtype: str = "float32") -> list[Any]:
    """Return the arguments of ``make``."""
    return [describe(model), to_base64(model, dtype), dtype]


def numbers(text: str) -> np.ndarray:
    """Return the numbers that ``numbers`` in JavaScript has written."""
    return np.frombuffer(base64.b64decode(text), "<f8")


def python_logits(model: LanguageModel, text: str) -> np.ndarray:
    """Return the logits (N, V) after each character of a text, as a prime is read."""
    turns = model.vocabulary.encode((model.text_config.end or "") + "".join(characters_of(model, text)))
    reset = turns[:, None] == model.separator if model.text_config.end else None
    logits, _ = model.network.forward(turns[:, None], model.network.initial_state(1), reset)
    return logits[-len(characters_of(model, text)):, 0]


def characters_of(model: LanguageModel, text: str) -> list[str]:
    return list(text.encode().decode("latin-1")) if model.text_config.level == "byte" else list(text)


# Logits

@pytest.mark.parametrize("name", MODELS)
def test_logits(run: Run, name: str) -> None:
    model = model_of(name)
    for dtype in ("float32", "float16"):
        found = numbers(run("(model, string) => numbers(logitsOf(...make(model), string))", data(model, dtype), TEXT))
        model.network.parameters.flat[...] = model.network.parameters.flat.astype(dtype)
        expected = python_logits(model, TEXT)
        assert np.abs(found - expected.ravel()).max() < 1e-4
    assert np.ptp(expected, axis=0).max() > 0.5 or name.endswith(", 1 units")


def test_a_network_in_a_worker(run: Run) -> None:
    model = model_of("lstm, 2 layers")
    found = run("""async (model, code, string) => {
        const worker = new Worker(URL.createObjectURL(new Blob([code])));
        const answer = new Promise((resolve) => { worker.onmessage = (event) => resolve(event.data); });
        worker.postMessage([model, string]);
        return numbers(await answer);
    }""", data(model), static(*SCRIPTS) + """
        onmessage = ({ data: [[model, weights, dtype], string] }) => {
          const network = new Network(model, weightsFrom(weights, dtype));
          postMessage(logitsOf(network, new Text(model), string));
        };""", TEXT)
    assert np.abs(numbers(found) - python_logits(model, TEXT).ravel()).max() < 1e-4


def test_logits_of_characters_that_the_model_cannot_read(run: Run) -> None:
    found = numbers(run("(model) => numbers(logitsOf(...make(model), '?a?b'))", data(make_model("ab"))))
    known = python_logits(make_model("ab"), "ab")
    assert np.isnan(found[:2]).all()
    assert np.allclose(found[2:], [*known[0], *known[0], *known[1]], rtol=0, atol=1e-5)


def test_logits_of_no_text(run: Run) -> None:
    assert run("(model) => logitsOf(...make(model), '')", data(make_model())) == []


def test_rejects_weights_of_another_model(run: Run) -> None:
    model, weights, dtype = data(make_model())
    assert run("""(model) => { try { make(model); } catch (error) { return error.message; } }""",
               [{**model, "layers": 2}, weights, dtype]) == "the model needs 759 weights, not 447"


# Weights

def test_every_float16_is_converted_with_and_without_the_functions_of_new_browsers(run: Run) -> None:
    bits = np.arange(65536, dtype="<u2")
    found = run("""(base64) => {
        const fast = weightsFrom(base64, "float16"), fromBase64 = Uint8Array.fromBase64, half = globalThis.Float16Array;
        Uint8Array.fromBase64 = undefined;
        globalThis.Float16Array = undefined;
        const slow = weightsFrom(base64, "float16");
        const whole = weightsFrom(base64, "float32");
        Uint8Array.fromBase64 = fromBase64;
        globalThis.Float16Array = half;
        const differ = (other, k) => !Object.is(fast[k], other);
        return [numbers([slow]), slow.filter(differ).length, numbers([whole])];
    }""", base64.b64encode(bits.tobytes()).decode())
    expected = bits.view("<f2").astype(np.float64)
    assert np.array_equal(numbers(found[0]), expected, equal_nan=True)
    assert np.array_equal(np.signbit(numbers(found[0])[::1024]), np.signbit(expected[::1024]))
    assert found[1] == 0
    with np.errstate(invalid="ignore"):  # some of the bits are signaling NaNs
        assert np.array_equal(numbers(found[2]), bits.view("<f4").astype(np.float64), equal_nan=True)


# Text

@pytest.mark.parametrize(("settings", "text"), [
    ({}, "a\r\nb😀ﬁ𝕏é"), ({"documents": "lines"}, "a\r\nb\r"), ({"normalize": "NFC"}, "e\u0301ﬁ"),
    ({"normalize": "NFKC"}, "e\u0301ﬁ𝕏\u2460"), ({"lowercase": True}, "ΟΔΟΣ ΑΣ. İSTANBUL ẞ"),
    ({"normalize": "NFKC", "lowercase": True, "documents": "lines"}, "𝕏É\r\n"), ({"level": "byte"}, "é😀\r\n"),
    ({"level": "byte", "documents": "lines"}, "é\r\n"), ({}, ""), ({}, "<script>\0\u202e"),
])
def test_text_settings(run: Run, settings: dict[str, Any], text: str) -> None:
    """A vocabulary of all characters that the text and its normal forms consist of."""
    expected = normalize(text, TextConfig(**settings))
    model = make_model("\n" + expected, **settings)
    ids, decoded = run("""(model, string) => {
        const text = new Text(model);
        return [Array.from(text.encode(string)), text.decode(text.encode(string))];
    }""", describe(model), text)
    assert ids == model.vocabulary.encode(expected).tolist()
    assert decoded == (expected.encode("latin-1").decode() if model.text_config.level == "byte" else expected)


def test_unknown_characters(run: Run) -> None:
    found = """(model, string) => {
        const text = new Text(model);
        const ids = text.encode(string);
        return [text.unknown, text.start, Array.from(ids), text.decode(ids), Array.from(text.primed(string))];
    }"""
    assert run(found, describe(make_model("a\n")), "a😀?") == [None, 0, [1, -1, -1], "a\ufffd\ufffd", [1]]
    assert run(found, describe(make_model("a\n", min_count=2)), "a😀?") == [2, 0, [1, 2, 2], "a\ufffd\ufffd", [1, 2, 2]]
    assert run(found, describe(make_model("ab", level="byte")), "aé") == [None, 0, [0, -1, -1], "a\ufffd\ufffd", [0]]
    byte_model = make_model("ab", level="byte", min_count=2)
    assert run(found, describe(byte_model), "aé") == [2, 0, [0, 2, 2], "a\ufffd\ufffd", [0, 2, 2]]


def test_what_is_read_before_a_sample(run: Run) -> None:
    found = "(model, string) => Array.from(new Text(model).primed(string))"
    assert run(found, describe(make_model("ab\n")), "") == [0]
    assert run(found, describe(make_model("ab\n")), "?") == [0]
    assert run(found, describe(make_model("ab\n")), "ba") == [2, 1]
    assert run(found, describe(make_model("ab\n", documents="lines")), "ba") == [0, 2, 1]


def test_bytes_are_decoded_as_soon_as_a_character_is_complete(run: Run) -> None:
    model = make_model("".join(map(chr, sorted(set("a😀é\ufeff".encode())))), level="byte")
    data = "\ufeffé".encode() + b"\x9f" + "a😀".encode() + "é".encode()[:1]
    pieces = run("""(model, ids) => {
        const decode = new Text(model).decoder();
        return [...ids.map((id) => decode(id)), decode()];
    }""", describe(model), model.vocabulary.encode(data.decode("latin-1")).tolist())
    assert pieces == ["", "", "\ufeff", "", "é", "\ufffd", "a", "", "", "", "😀", "", "\ufffd"]


# Sampling

SETTINGS = [{"temperature": t, "top_k": k, "top_p": p} for t, k, p in itertools.product(
    (0.0, 1e-300, 0.3, 1.0, 7.0), (None, 1, 3, 100), (None, 0.01, 0.5, 0.9, 1.0))]


@pytest.mark.parametrize("unknown", [None, 0, 11])
def test_probabilities(run: Run, unknown: int | None) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(8, 12)).astype(np.float32) * 3
    logits[2:4] = np.round(logits[2:4])  # ties
    logits[4:6] = np.repeat(logits[4:6, :3], 4, axis=1)
    logits[6] = 0
    logits[7] = 80 * logits[7]
    found = run("""(rows, settings) => numbers(settings.flatMap((one) => rows.map((row) => probabilities(
        Float32Array.from(row), one))))""", logits.tolist(),
                [{"temperature": one["temperature"], "topK": one["top_k"], "topP": one["top_p"], "unknown": unknown}
                 for one in SETTINGS])
    if unknown is not None:
        logits[:, unknown] = -np.inf
    expected = np.array([distribution(logits, **one) for one in SETTINGS])
    assert np.allclose(numbers(found).reshape(expected.shape), expected, rtol=1e-9, atol=1e-300)
    assert np.array_equal(numbers(found).reshape(expected.shape) > 0, expected > 0)


@pytest.mark.parametrize(("settings", "message"), [
    ({"temperature": -1}, "temperature must be a number of at least 0"), ({"topK": 0}, "topK must be an integer above 0"),
    ({"topK": 1.5}, "topK must be an integer above 0"), ({"topP": 0}, "topP must be above 0 and at most 1"),
    ({"topP": 1.1}, "topP must be above 0 and at most 1"),
    ({"nan": True}, "the model computes NaN; its weights are not finite"),
])
def test_invalid_settings(run: Run, settings: dict[str, Any], message: str) -> None:
    assert run("""(settings) => {
        try {
          return probabilities(Float32Array.of(1, settings.nan ? NaN : 2), settings);
        } catch (error) {
          return error.message;
        }
    }""", settings) == message


def test_surprisal(run: Run) -> None:
    logits = np.array([3, -2, 900, 899.5], np.float32)
    found = run("(logits) => numbers([logits.map((_, id) => surprisal(logits, id))])", logits.tolist())
    assert np.allclose(numbers(found), np.logaddexp.reduce(logits.astype(float)) - logits)


def sfc32(seed: int, count: int) -> list[int]:
    """Return the first outputs of sfc32, computed from the description of the generator with numbers of any size."""
    mask = 2**32 - 1
    a, b, c, counter = 0, seed & mask, seed >> 32, 1
    outputs = []
    for _ in range(12 + count):
        output = (a + b + counter) & mask
        counter = (counter + 1) & mask
        a, b, c = b ^ (b >> 9), (c + (c << 3)) & mask, (((c << 21) | (c >> 11)) + output) & mask
        outputs.append(output)
    return outputs[12:]


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1, 2**32 + 7, 2**53 - 1])
def test_random_numbers(run: Run, seed: int) -> None:
    found = run("(seed) => { const uniform = random(seed); return numbers([Array.from({ length: 20 }, uniform)]); }", seed)
    pairs = np.array(sfc32(seed, 40), np.uint64).reshape(-1, 2)
    assert numbers(found).tolist() == [((int(a) >> 5) * 2**26 + (int(b) >> 6)) / 2**53 for a, b in pairs]


def test_draws_have_the_frequencies_of_the_distribution(run: Run) -> None:
    p = np.array([0.5, 0, 0.3, 0.15, 0.05, 0])
    count = 50_000
    counts = np.array(run("""(p, count) => {
        const uniform = random(7), counts = p.map(() => 0);
        for (let k = 0; k < count; k++) counts[draw(Float64Array.from(p), uniform())]++;
        return counts;
    }""", p.tolist(), count))
    assert np.all(counts[p == 0] == 0)
    assert np.all(np.abs(counts - count * p) <= 4 * np.sqrt(count * p * (1 - p)))
    edges = run("(p) => [0, 0.4999, 0.5, 0.79999, 0.8, 1 - 2 ** -53, 1].map((u) => draw(Float64Array.from(p), u))",
                p.tolist())
    assert edges == [0, 0, 2, 2, 3, 4, 4]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_text_is_that_of_python(run: Run, name: str) -> None:
    model = model_of(name)
    prime = "a" if model.network.config.layers == 1 else ""
    found = run("(model, prime) => sampleFrom(...make(model), { prime, temperature: 0, length: 500 })", data(model), prime)
    assert found == model.sample(prime, 500, greedy=True)
    assert len(found) > len(prime)


def test_a_model_of_lines_writes_one_line(run: Run) -> None:
    model = data(model_of("lines, unknown"))
    for until in ("", "\n", "not in it"):
        line = run("(model, until) => sampleFrom(...make(model), { temperature: 0, length: 100, until })", model, until)
        assert line.index("\n") == len(line) - 1


def test_a_seed_repeats(run: Run) -> None:
    def sample(seed: int | None) -> str:
        settings = {"prime": "ab", "length": 50} | ({} if seed is None else {"seed": seed})
        return run("(model, settings) => sampleFrom(...make(model), settings)", data(model_of("gru, 1 layers")), settings)

    texts = [sample(1), sample(2), sample(2**32 + 1), sample(None), sample(None)]
    assert sample(1) == texts[0]
    assert len(set(texts)) == 5
    assert all(len(text) == 52 and text.startswith("ab") for text in texts)


def test_a_sample_ends(run: Run) -> None:
    sample = "(model, settings) => sampleFrom(...make(model), { seed: 3, ...settings })"
    model = model_of("gru, 1 layers")
    whole = run(sample, data(model), {"length": 200})
    stop = whole[40:43]
    assert run(sample, data(model), {"length": 200, "until": stop}) == whole[:whole.index(stop) + 3]
    assert run(sample, data(model), {"length": 0, "prime": "ab"}) == "ab"
    lines = model_of("lines")
    line = run(sample, data(lines), {"prime": "ab\n"})
    assert line.startswith("ab")
    assert line.index("\n") == len(line) - 1
    assert run("""(model) => {
        try { return sampleFrom(...make(model), { prime: "a\\nb" }); } catch (error) { return error.message; }
    }""", data(lines)) == "prime contains several documents; the model generates one at a time"


def test_samples_have_the_frequencies_of_python(run: Run) -> None:
    """The second character of 4,000 samples: its distribution, computed exactly, and its frequencies in JavaScript."""
    model, count = make_model("ab\n", min_count=2), 4000
    settings = {"temperature": 0.8, "top_p": 0.9}
    texts = run("""(model, count) => {
        const [network, text] = make(model);
        return Array.from({ length: count }, (_, seed) => sampleFrom(network, text, {
          prime: "a", length: 2, seed, temperature: 0.8, topP: 0.9 }));
    }""", data(model), count)

    def next_characters(prime: str) -> np.ndarray:
        logits = python_logits(model, prime)[-1:]
        logits[:, model.vocabulary.unknown] = -np.inf
        return distribution(logits, **settings)[0]

    expected = sum(p * next_characters("a" + character)
                   for p, character in zip(next_characters("a"), model.vocabulary.characters[:-1]))
    found = np.array([sum(text[2] == character for text in texts) for character in model.vocabulary.characters])
    assert np.all(np.abs(found - count * expected) <= 4 * np.sqrt(count * expected * (1 - expected)))
    assert found[-1] == 0


# Knobs and activations

def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normalized(a: np.ndarray, gain: np.ndarray, b: np.ndarray) -> np.ndarray:
    return gain * (a - a.mean()) / np.sqrt(a.var() + 1e-5) + b


def steps(model: LanguageModel, ids: list[int], knobs: list[dict[str, Any]], calls: list[int]
          ) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Return the last logits and the values of all parts of each layer, computed step by step with knobs.

    ``calls`` are the numbers of the steps to which the knobs apply.
    """
    w, size, layers = model.network.parameters, model.network.config.hidden_size, model.network.config.layers
    values = [{part: np.zeros(size) for part in PARTS[model.network.config.cell]} for _ in range(layers)]
    for number, token in enumerate(ids):
        below = np.eye(len(model.vocabulary))[token]
        for k in range(layers):
            now = values[k]

            def turned(part: str, value: np.ndarray, k: int = k, number: int = number) -> np.ndarray:
                value = value.copy()
                for knob in knobs:
                    if number in calls and (knob["layer"], knob["part"]) == (k, part):
                        value[knob["unit"]] = knob["value"] + (knob["mode"] == "add") * value[knob["unit"]]
                return value

            gates = CELLS[model.network.config.cell].GATES
            b = w[f"layer{k}/b"] if gates != "fog" else 0
            x = dict(zip(gates, np.split(below @ w[f"layer{k}/w_x"] + b, len(gates))))
            h = dict(zip(gates, np.split(now["hidden"] @ w[f"layer{k}/w_h"], len(gates))))
            if gates == "ifog":
                for gate in gates:
                    now[gate] = turned(gate, (np.tanh if gate == "g" else sigmoid)(x[gate] + h[gate]))
                now["cell"] = turned("cell", now["f"] * now["cell"] + now["i"] * now["g"])
                now["hidden"] = now["o"] * np.tanh(now["cell"])
            elif gates == "fog":
                pairs = list(zip(*(np.split(w[f"layer{k}/{name}"], 4) for name in ("gain", "b"))))
                for gate, pair in zip(gates, pairs):
                    normal = normalized(x[gate] + h[gate], *pair)
                    now[gate] = turned(gate, (np.tanh if gate == "g" else sigmoid)(normal))
                now["cell"] = turned("cell", now["f"] * now["cell"] + (1 - now["f"]) * now["g"])
                now["hidden"] = now["o"] * np.tanh(normalized(now["cell"], *pairs[3]))
            elif gates == "rzn":
                for gate in "rz":
                    now[gate] = turned(gate, sigmoid(x[gate] + h[gate]))
                now["n"] = turned("n", np.tanh(x["n"] + now["r"] * (h["n"] + w[f"layer{k}/b_h"])))
                now["hidden"] = (1 - now["z"]) * now["n"] + now["z"] * now["hidden"]
            else:
                now["h"] = turned("h", np.tanh(x["h"] + h["h"]))
                now["hidden"] = now["h"]
            below = now["hidden"] = turned("hidden", now["hidden"])
    return below @ w["output/w"] + w["output/b"], values


@pytest.mark.parametrize(("cell", "part", "mode"), [(cell, part, mode) for cell, parts in PARTS.items() for part in parts
                                                    for mode in ("set", "add")])
def test_a_knob(run: Run, cell: str, part: str, mode: str) -> None:
    model = make_model(cell=cell, hidden_size=9, layers=2)
    if cell == "gru":
        model.network.parameters["layer0/b_h"][...] = model.network.parameters["layer1/b_h"][...] = 0.5
    ids = np.random.default_rng(2).integers(0, len(model.vocabulary), 30).tolist()
    knobs = [{"layer": 0, "part": part, "unit": 8, "mode": mode, "value": 0.75},
             {"layer": 1, "part": part, "unit": 2, "mode": "add", "value": -0.5},
             {"layer": 1, "part": part, "unit": 2, "mode": mode, "value": 0.5}]
    on = list(range(10, 25))  # the steps before and after are without knobs
    found = run("""(model, ids, knobs, on) => {
        const [network] = make(model), state = network.initialState();
        let logits;
        ids.forEach((id, number) => { logits = network.step(id, state, on.includes(number) ? knobs : undefined); });
        const parts = state.flatMap((arrays, k) => [...Object.values(arrays), network.gates[k]]);
        return numbers([logits, ...parts]);
    }""", data(model), ids, knobs, on)
    logits, values = steps(model, ids, knobs, on)
    expected = np.concatenate([logits, *(now[name] for now in values for name in now)])
    assert np.allclose(numbers(found), expected, rtol=0, atol=1e-5)
    assert np.abs(steps(model, ids, [], on)[0] - logits).max() > 1e-3


@pytest.mark.parametrize("name", ["lstm, 2 layers", "gru, 2 layers", "rnn, 2 layers", "lnlstm, 2 layers", "lstm, embedding",
                                  "lnlstm, embedding", "lines", "lines, unknown", "lines, lnlstm"])
def test_the_activation_of_one_unit_in_a_whole_text(run: Run, name: str) -> None:
    """It is computed from the hidden states, from the start of a text and from a state in the middle."""
    model = model_of(name)
    if model.network.config.cell == "gru":
        model.network.parameters["layer0/b_h"][...] = np.linspace(-1, 1, model.network.config.hidden_size)
    for name, b in model.network.parameters.items():
        if name.endswith("/b"):
            b[...] += 0.1
    ids = np.random.default_rng(6).integers(0, len(model.vocabulary), 40).tolist()
    config = model.network.config
    worst = run("""(model, ids, middle, parts) => {
        const [network] = make(model), state = network.initialState(), { size, GATES } = network;
        const hidden = state.map(() => new Float32Array(ids.length * size)), recorded = [];
        let first;
        ids.forEach((id, t) => {
          if (t === middle) first = structuredClone(state);
          network.step(id, state);
          state.forEach((arrays, k) => hidden[k].set(arrays.hidden, t * size));
          recorded.push(state.map((arrays, k) => ({ ...structuredClone(arrays), gates: network.gates[k].slice() })));
        });
        let worst = 0, count = 0;
        for (let layer = 0; layer < state.length; layer++) {
          for (const part of parts) {
            for (let unit = 0; unit < size; unit++) {
              const all = network.activation(layer, part, unit, ids, hidden);
              const rest = network.activation(layer, part, unit, ids.slice(middle),
                                              hidden.map((array) => array.subarray(middle * size)), first);
              ids.forEach((_, t) => {
                const arrays = recorded[t][layer];
                const value = part in arrays ? arrays[part][unit] : arrays.gates[GATES.indexOf(part) * size + unit];
                worst = Math.max(worst, Math.abs(all[t] - value), t < middle ? 0 : Math.abs(rest[t - middle] - value));
                count++;
              });
            }
          }
        }
        return [worst, count];
    }""", data(model), ids, 17, PARTS[config.cell])
    assert worst[0] < 1e-6
    assert worst[1] == config.layers * len(PARTS[config.cell]) * config.hidden_size * 40


# The module

def test_a_page_imports_the_module(browser: Any, run: Run) -> None:
    model = model_of("bytes")
    answers = {"/": ("text/html", """<script type="module">
                     import { logits, sample, loaded, Network, Text, model } from "./model.js";
                     const text = await sample({ prime: "abé", length: 300, temperature: 0.7, topK: 4, seed: 5 });
                     const greedy = await sample({ prime: "abé", length: 300, temperature: 0 });
                     window.found = [text, greedy, (await logits("café")).map((row) => Array.from(row)),
                                     new Text(model).encode("é").length, loaded() instanceof Network];
                     </script>"""), "/model.js": ("text/javascript", module(model, "float32"))}

    def answer(route: Any) -> None:
        kind, body = answers[route.request.url.removeprefix("http://a.test")]
        route.fulfill(content_type=kind + "; charset=utf-8", body=body)

    page = browser.new_page()
    page.route("**", answer)
    page.goto("http://a.test/")
    page.wait_for_function("window.found")
    text, greedy, logits, ids, is_network = page.evaluate("window.found")
    page.close()
    assert text == run("(model, settings) => sampleFrom(...make(model), settings)", data(model), {
        "prime": "abé", "length": 300, "temperature": 0.7, "topK": 4, "seed": 5})
    assert greedy == model.sample("abé", 300, greedy=True)
    assert np.allclose(logits, python_logits(model, "café"), rtol=0, atol=1e-4)
    assert (ids, is_network) == (2, True)


def test_a_long_text_leaves_time_for_events(run: Run) -> None:
    found = run("""() => {
        let events = 0;
        setTimeout(() => { events++; });
        function* slow() {
          for (let k = 0; k < 3; k++) {
            const end = performance.now() + 30;
            while (performance.now() < end);
            yield events;
          }
        }
        return inSlices(slow());
    }""")
    assert found == [0, 1, 1]


# Documents

DOCUMENTS = [{"documents": "paragraphs"}, {"documents": "files"}, {"separator": "-"}, {"separator": "a\n-"},
             {"separator": "\n"},
             {"separator": "]^."}, {"column": "text"}, {"documents": "lines"}, {}]


@pytest.mark.parametrize("settings", DOCUMENTS, ids=str)
def test_documents_are_marked_as_in_python(run: Run, settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(8)
    texts = ["".join(rng.choice(list("a😀-]^. \n\n\n\t"), rng.integers(0, 25))) for _ in range(500)]
    model = make_model("a😀-]^. \n\t", **settings)
    found = run("(model, strings) => strings.map((string) => { const text = new Text(model); "
                "return Array.from(text.marked(string), (c) => c.codePointAt(0)); })", describe(model), texts)
    for text, points in zip(texts, found):
        marked = "".join(mark_ends([text], model.text_config)) if model.text_config.end == END else text
        assert points == list(map(ord, marked)), text


@pytest.mark.parametrize("settings", [{"documents": "paragraphs"}, {"documents": "files"}, {"separator": "-"},
                                      {"documents": "files", "level": "byte"}], ids=str)
def test_the_end_mark_is_never_written(run: Run, settings: dict[str, Any]) -> None:
    model = make_model("\n abc", dtype=np.float32, **settings)
    model.network.parameters["output/b"][model.separator] += 1
    for seed in range(4):
        text = run("(model, settings) => sampleFrom(...make(model), settings)", data(model),
                   {"prime": "a", "length": 200, "seed": seed})
        assert text.startswith("a")
        assert END not in text
        assert len(text) < 201
