"""The worker of the page: jobs that are stopped or replaced, limits, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from small_models import make_model

from charrnn.inference.language_model import LanguageModel
from charrnn.page.module import SCRIPTS, static
from charrnn.page.weights import describe, to_base64

Run = Callable[..., Any]

_SCRIPTS = static(*SCRIPTS, "worker.js")

_START = """
function start([script, model, weights]) {
  const worker = new Worker(URL.createObjectURL(new Blob([script]))), all = [], waiting = new Map();
  let job = 0;
  worker.onmessage = ({ data }) => {
    all.push(data);
    if (data.done) waiting.get(data.job)?.(data);
  };
  const tell = (message) => {
    worker.postMessage({ ...message, job: ++job });
    return job;
  };
  const ask = (message) => new Promise((resolve) => { waiting.set(tell(message), resolve); });
  const itemsOf = (job) => all.filter((data) => data.job === job).flatMap(({ items }) => items ?? []);
  tell({ do: "load", model, weights, dtype: "float32" });
  return { tell, ask, itemsOf };
}
const WRITE = { do: "write", prime: "", temperature: 1, seed: 1 };
"""


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    """Return a function that calls a JavaScript function with arguments, on a page with ``start``."""
    page = browser.new_page()
    page.add_script_tag(content=_START)
    yield lambda function, *arguments: page.evaluate(f"(arguments) => ({function})(...arguments)", list(arguments))
    page.close()


def data(model: LanguageModel, script: str = _SCRIPTS) -> list[Any]:
    """Return the argument of ``start``."""
    return [script, describe(model), to_base64(model, "float32")]


@pytest.mark.parametrize("kind", ["write", "read"])
@pytest.mark.parametrize("end", ["stop", "replace"])
def test_a_job_ends_when_it_is_stopped_or_replaced(run: Run, kind: str, end: str) -> None:
    """After the next answer, there are no more characters of a job that would take hours."""
    counts = run("""async (data, kind, end) => {
        const { tell, ask, itemsOf } = start(data);
        const long = tell(kind === "write" ? { ...WRITE, length: 1e9 } : { do: "read", string: "ab ".repeat(1e6) });
        while (!itemsOf(long).length) await ask({ do: "logits", string: "" });
        if (end === "stop") {
          tell({ do: "stop", kind });
        } else {
          await ask(kind === "write" ? { ...WRITE, length: 1 } : { do: "read", string: "" });
        }
        await ask({ do: "logits", string: "" });
        const before = itemsOf(long).length;
        for (let k = 0; k < 4; k++) await ask({ do: "logits", string: "ab" });
        return [before, itemsOf(long).length];
    }""", data(make_model(hidden_size=64), _SCRIPTS.replace("200_000", "1e9")), kind, end)
    assert 0 < counts[0] == counts[1]


def test_what_has_been_read_can_be_shaded_after_a_stop(run: Run) -> None:
    model = make_model()
    count, values, rest = run("""async (data) => {
        const { tell, ask, itemsOf } = start(data);
        const long = tell({ do: "read", string: "abc ".repeat(1e5) });
        while (!itemsOf(long).length) await ask({ do: "logits", string: "" });
        tell({ do: "stop", kind: "read" });
        const { values } = await ask({ do: "unit", shade: { layer: 0, part: "cell", unit: 1 } });
        const again = await ask({ do: "unit", shade: { layer: 0, part: "cell", unit: 1 } });
        return [itemsOf(long).length, values.slice(0, 100), again.values.length - values.length];
    }""", data(model))
    ids = model.vocabulary.encode("\n" + "abc " * 25)
    expected = model.network.activations(ids[:, None], model.network.initial_state(1))[0][0]["cell"][1:, 0, 1]
    assert count >= 1
    assert np.allclose(values, expected[:len(values)], rtol=0, atol=1e-5)
    assert rest == 0


@pytest.mark.parametrize("part", ["i", "cell", "hidden"])
def test_values_of_unknown_characters_while_another_job_uses_the_network(run: Run, part: str) -> None:
    """They are the values after the last known character: those of the other job are never returned."""
    first, distinct, values = run("""async (data, part) => {
        const { tell, ask, itemsOf } = start(data), shade = { layer: 0, part, unit: 1 };
        const writing = tell({ ...WRITE, length: 1e9 });
        const string = "?b" + "?".repeat(200);
        const reading = tell({ do: "read", string, shade });
        while (itemsOf(reading).length < string.length) await ask({ do: "logits", string: "a" });
        tell({ do: "stop", kind: "write" });
        const { values } = await ask({ do: "unit", shade });
        const found = itemsOf(reading).map((item) => item.value);
        return [found[0], [...new Set(found.slice(1))], [values[0], ...new Set(values.slice(1))]];
    }""", data(make_model("ab\n"), _SCRIPTS.replace("SLICE = 25", "SLICE = 0")), part)
    assert first == values[0] == 0
    assert len(distinct) == 1
    assert distinct[0] == pytest.approx(values[1], abs=1e-5)
    assert len(values) == 2


def test_the_limits_of_a_text(run: Run) -> None:
    """Hidden states are kept for each byte; the number of characters is limited too."""
    model = make_model("".join(map(chr, sorted("aé€".encode()))), level="byte", hidden_size=6)
    read = """async (data, string) => {
        const { tell, ask, itemsOf } = start(data);
        const { job, cut, known, unknown } = await ask({ do: "read", string });
        const { values } = await ask({ do: "unit", shade: { layer: 0, part: "hidden", unit: 0 } });
        return [itemsOf(job).map((item) => item.text).join(""), cut, known, unknown, values.length];
    }"""
    floats = data(model, _SCRIPTS.replace("2 ** 25", "62"))  # 10 states
    assert run(read, floats, "aé€aé€a") == ["aé€aé", 2, 9, 0, 5]
    assert run(read, floats, "aé€aéaaaa") == ["aé€aéa", 3, 10, 0, 6]
    assert run(read, floats, "?" * 30 + "a") == ["?" * 30 + "a", 0, 1, 30, 31]
    characters = data(model, _SCRIPTS.replace("200_000", "4"))
    assert run(read, characters, "aé€?") == ["aé€?", 0, 6, 1, 4]
    assert run(read, characters, "aé€??") == ["aé€?", 1, 6, 1, 4]


def test_without_a_model(run: Run) -> None:
    script, model, weights = data(make_model())
    errors = run("""async (data) => {
        const { ask } = start(data);
        const messages = [{ ...WRITE, length: 1 }, { do: "read", string: "a" }, { do: "logits", string: "a" },
                          { do: "unit", shade: { layer: 0, part: "hidden", unit: 0 } }];
        return Promise.all(messages.map(async (message) => (await ask(message)).error));
    }""", [script, {**model, "layers": 2}, weights])
    assert set(errors) == {"the model could not be started"}
