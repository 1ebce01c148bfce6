"""The page in Chromium: it computes what Python computes, works for everyone, and nothing in a text can harm it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import LETTERS, make_model
from small_pages import HOSTILE, full_contents, named_unit, samples, small_contents

from charrnn.config import END
from charrnn.inference.language_model import LanguageModel
from charrnn.page.api import to_bytes
from charrnn.page.contents import Contents
from charrnn.page.page import comparison_page, model_page

TEXT = "".join(np.random.default_rng(5).choice(list(LETTERS), 300)) + "a"

MODELS: dict[str, dict[str, Any]] = {
    "lstm": {}, "gru": {"cell": "gru", "layers": 2}, "rnn": {"cell": "rnn", "hidden_size": 9},
    "lnlstm": {"cell": "lnlstm", "layers": 2},
    "embedding": {"cell": "lstm", "layers": 2, "embedding_size": 3}, "lines": {"documents": "lines", "cell": "gru"},
    "bytes": {"characters": "".join(map(chr, sorted(set((LETTERS + "€").encode())))), "level": "byte"},
    "unknown": {"characters": "\n abcde", "min_count": 2},
}

_WATCH = """
Object.assign(globalThis, { hit: 0, violations: [], messages: 0, Worker: class extends Worker {
  constructor(url) {
    super(url);
    globalThis.worker = this;
    this.addEventListener("message", () => { messages++; });
  }
} });
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));
"""


def model_of(name: str) -> LanguageModel:
    model = make_model(**MODELS[name])
    if name == "rnn":  # surer than the others: its characters have the lightest shades too
        model.network.parameters.flat *= 4
    return model


class Opened:
    """A page in the browser, and what it must not do: make requests, violate its policy, print errors."""

    def __init__(self, browser: Any, path: Path, without_workers: bool = False, **context: Any) -> None:
        from playwright.sync_api import expect

        self.expect = expect
        self.context = browser.new_context(**context)
        self.context.set_offline(True)
        self.runs = context.get("java_script_enabled", True)
        if self.runs:
            self.context.add_init_script(_WATCH)
        if without_workers:
            self.context.add_init_script("Worker = class { constructor() { throw new Error('no workers'); } };")
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def close(self) -> None:
        found = self.page.evaluate("[hit, violations]") if self.runs else [0, []]
        self.context.close()
        assert found == [0, []]
        assert self.problems == []
        assert [url for url in self.requests if not url.startswith("blob:")] == [self.url]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def finished(self, section: str) -> str:
        """Wait until "write" or "read" has finished, and return its status."""
        self.expect(self.page.locator(f"#{section}-stop")).to_be_disabled(timeout=20_000)
        return str(self.page.inner_text(f"#{section}-status"))

    def loaded(self) -> None:
        """Wait until the worker has answered all messages before this one, except those that take several slices."""
        self.page.evaluate("charrnn.logits('')")

    def fill_in(self, section: str, **fields: Any) -> None:
        for name, value in fields.items():
            self.page.fill(f"#{section}-form [name={name}]", str(value))

    def put(self, text: str) -> None:
        """Fill in a long text to be read: typing many lines takes long."""
        self.page.eval_on_selector("#read-form [name=string]", "(field, text) => { field.value = text; }", text)

    def write(self, prime: str = "", length: int = 60, temperature: float = 0, **fields: Any) -> str:
        """Write a text with these settings; return it without the prime."""
        fields = {"topk": "", "topp": "", "seed": 1, **fields}
        self.fill_in("write", prime=prime, length=length, temperature=temperature, **fields)
        self.page.click("#write-form .main")
        self.finished("write")
        return self.text("write")

    def writes(self, expected: str) -> None:
        """Wait until this text has been written, after the pause that follows the movement of a knob."""
        text = None
        for _ in range(100):
            if (text := self.text("write")) == expected:
                break
            self.page.wait_for_timeout(100)
        assert text == expected

    def read(self, text: str, shade: str = "bits") -> str:
        """Read a text; return the status."""
        self.shade(shade)
        self.finished("read")
        self.fill_in("read", string=text)
        self.page.click("#read-form .main")
        return self.finished("read")

    def shade(self, shade: str) -> None:
        """Select the shade: "bits", the number of a named unit, or the layer, the part and the unit of another one."""
        kind, *rest = shade.split()
        self.page.select_option("[name=shade]", kind)
        if rest:
            self.page.select_option("[name=part]", rest[0])
            self.page.fill("[name=unit]", rest[1])
            self.page.dispatch_event("[name=unit]", "change")
        self.loaded()

    def spans(self, section: str) -> list[tuple[str, str]]:
        """Return the characters of a text with their classes."""
        found = self.page.evaluate("""(id) => Array.from(document.querySelectorAll(`#${id}-text [data-c]`),
                                       (span) => [span.textContent, span.className])""", section)
        return [(text.replace("⏎\n", "\n"), classes) for text, classes in found]

    def text(self, section: str) -> str:
        return "".join(text for text, _ in self.spans(section))

    def descriptions(self, section: str) -> list[str]:
        """Move through a text with the arrow keys, and return the description of each character."""
        return self.page.evaluate("""(section) => {
            const box = document.getElementById(`${section}-text`), status = document.getElementById(`${section}-status`);
            const press = (key) => box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            press("Home");
            return Array.from(box.querySelectorAll("[data-c]"), () => {
              const text = status.textContent;
              press("ArrowRight");
              return text;
            });
        }""", section)


@pytest.fixture(scope="module")
def open_page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a context manager that opens a page and, at its end, checks that it has done no harm."""
    @contextmanager
    def opened(page: Contents | str, dtype: str = "float32", **context: Any) -> Iterator[Opened]:
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_bytes(to_bytes(page if isinstance(page, str) else model_page(page, dtype)))
        shown = Opened(browser, path, **context)
        yield shown
        shown.close()

    return opened


@pytest.fixture(scope="module", params=list(MODELS))
def each(request: pytest.FixtureRequest, open_page: Any) -> Iterator[tuple[LanguageModel, Opened]]:
    """Return each of the models and a page with it."""
    model = model_of(request.param)
    with open_page(small_contents(model)) as page:
        yield model, page


@pytest.fixture(scope="module")
def demo(open_page: Any) -> Iterator[Opened]:
    """Return a page with all sections; its model is ``MODEL``."""
    with open_page(full_contents(MODEL)) as page:
        yield page


MODEL = model_of("lstm")


def turns(model: LanguageModel, text: str) -> list[str]:
    """Return the characters of a text as the vocabulary has them: for bytes, one for each byte."""
    return list(text.encode().decode("latin-1")) if model.text_config.level == "byte" else list(text)


def ids_of(model: LanguageModel, text: str, start: bool) -> np.ndarray:
    """Return the ids that the model reads, with ``start`` after the start."""
    ids, _ = model.vocabulary.encode_known("".join(turns(model, text)))
    return np.append(model.vocabulary.start, ids) if start else ids


def resets(model: LanguageModel, ids: np.ndarray) -> np.ndarray | None:
    return ids[:, None] == model.separator if model.separator is not None else None


def logits_of(model: LanguageModel, text: str) -> np.ndarray:
    ids = ids_of(model, text, model.separator is not None)
    logits, _ = model.network.forward(ids[:, None], model.network.initial_state(1), resets(model, ids))
    return logits[-len(turns(model, text)):, 0]


def class_of_bits(bits: float) -> str:
    return "escape" if np.isnan(bits) else "" if bits < 0.5 else f"s{min(9, 1 + int(bits))}"


def bits_of(model: LanguageModel, text: str) -> list[float]:
    """Return the bits of each character; in a model of bytes, the sum over its bytes."""
    bits = iter(model.score(text).bits.tolist())
    return [sum(next(bits) for _ in turns(model, character)) for character in text]


def check_classes(found: list[tuple[str, str]], text: str, bits: list[float]) -> None:
    assert "".join(character for character, _ in found) == text
    assert len(found) == len(bits)
    for (_, classes), value in zip(found, bits):
        assert classes.replace("here", "").strip() in {class_of_bits(value + 1e-4), class_of_bits(value - 1e-4)}


# The network

def test_logits_are_those_of_python(each: tuple[LanguageModel, Opened]) -> None:
    model, page = each
    text = TEXT.replace("\n", "") if model.text_config.documents == "lines" else TEXT
    found = np.array(page.evaluate("async (text) => (await charrnn.logits(text)).map((row) => Array.from(row))", text))
    assert np.abs(found - logits_of(model, text)).max() < 1e-4


def test_logits_in_float16(open_page: Any) -> None:
    model = make_model(hidden_size=40)
    with open_page(small_contents(model), "float16") as page:
        found = np.array(page.evaluate("async (text) => (await charrnn.logits(text)).map((row) => Array.from(row))", TEXT))
    assert 0 < np.abs(found - logits_of(model, TEXT)).max() < 0.02


def test_the_page_writes_and_reads_as_python_does(each: tuple[LanguageModel, Opened]) -> None:
    """Greedy text, the function ``sample``, the shades and the sentences, in "Write" and in "Read"."""
    model, page = each
    page.finished("write")
    page.finished("read")
    for prime in ("", "ab"):
        greedy = model.sample(prime, 60, greedy=True)[len(prime):]
        settings = {"prime": prime, "length": 60, "temperature": 0}
        assert page.evaluate("(settings) => charrnn.sample(settings)", settings) == prime + greedy
        written = page.write(prime, 60)
        if model.separator is not None:  # the page writes several documents, each from the zero state
            greedy = (greedy + 60 * model.sample("", 60, greedy=True))[:60]
        assert written.removesuffix("\ufffd") == greedy.rstrip("\ufffd") or model.text_config.level == "byte"
        assert written.startswith(greedy.rstrip("\ufffd"))
        if not prime and model.vocabulary.unknown is None and "\ufffd" not in written:
            check_classes(page.spans("write"), written, bits_of(model, written))
        for said in page.descriptions("write"):
            p, bits = map(float, re.search(r"([\d.]+) %, ([\d.]+) bits", said).groups())
            assert p == pytest.approx(100 * 2**-bits, abs=1)
    text = "abc\ndé ae fe\n" if "é" in model.vocabulary else "abc\nde ?a" if model.vocabulary.unknown else "abc\ndé e€\n"
    score = model.score(text)
    status = page.read(text)
    bits = bits_of(model, text)
    check_classes(page.spans("read"), text, bits)
    unit = "byte" if model.text_config.level == "byte" else "character"
    assert f"{len(text)} characters, {score.mean / np.log(2):.2f} bits ({score.mean:.3f} nats) per {unit}" in status
    assert ("1 unknown" in status) == (score.unknown == 1)
    for said, character, value in zip(page.descriptions("read"), text, bits):
        shown = {"\n": "new line", " ": "space"}.get(character, character)
        assert said == f"“{shown}”: {'is not known to the model' if np.isnan(value) else f'{value:.2f} bits'}"


def test_documents_are_written_and_read_with_their_ends(open_page: Any) -> None:
    model = make_model(documents="paragraphs", cell="gru")
    first = model.sample("", 60, greedy=True)
    with open_page(small_contents(model)) as page:
        assert page.write("", 2 * len(first) + 2) == 2 * f"{first}∎\n"
        page.read("\nabc\nd\n\n\na")
        score = model.score("abc\nd\n\na")
        assert score.text == f"abc\nd{END}a{END}"
        check_classes(page.spans("read"), "abc\nd∎\na∎\n", score.bits.tolist())
        said = page.descriptions("read")
        assert said[5] == f"“end of document”: {score.bits[5]:.2f} bits"


def parts_of(model: LanguageModel) -> tuple[str, ...]:
    return {"lstm": ("hidden", "cell", *"ifog"), "lnlstm": ("hidden", "cell", *"fog"), "gru": ("hidden", *"rzn"),
            "rnn": ("hidden",)}[model.network.config.cell]


def test_shading_by_a_unit_or_gate(each: tuple[LanguageModel, Opened]) -> None:
    """The values are those of Python, of a new text and of one that has been read."""
    model, page = each
    text = "é" if model.text_config.level == "byte" else "a"
    text = f"ab{text}\nca da"
    ids = ids_of(model, text, start=True)
    layers, _ = model.network.activations(ids[:, None], model.network.initial_state(1), resets(model, ids))
    ends = np.cumsum([len(turns(model, character)) for character in text])
    last = model.network.config.layers - 1
    unit = model.network.config.hidden_size - 2
    page.read(text)
    for number, part in enumerate(parts_of(model)):
        for layer in {0, last}:
            expected = layers[layer][part][ends, 0, unit]
            if number % 2:
                page.shade(f"other {layer}/{part} {unit + 1}")
            else:
                page.read(text, f"other {layer}/{part} {unit + 1}")
            found = [float(re.search(r"value (-?[\d.]+),", said)[1]) for said in page.descriptions("read")]
            assert np.abs(found - expected).max() < 6e-4
            scale = np.abs(expected).max() if part == "cell" else 1
            for (_, shade), value in zip(page.spans("read"), expected / scale):
                steps = {round(abs(value) * 4 + margin) for margin in (-1e-3, 1e-3)}
                letter = "m" if value < 0 else "p"
                assert shade.replace("here", "").strip() in {f"{letter}{min(4, step)}" if step else "" for step in steps}
    page.shade("bits")
    check_classes(page.spans("read"), text, bits_of(model, text))


# Write

def test_a_seed_repeats_and_the_settings_count(demo: Opened) -> None:
    first = demo.write("ab", 80, 1, seed=3)
    assert len(first) == 80
    assert demo.write("ab", 80, 1, seed=4) != first
    assert demo.write("ab", 80, 1, seed=3) == first
    greedy = MODEL.sample("ab", 80, greedy=True)[2:]
    assert demo.write("ab", 80, 1, topk=1) == greedy
    assert demo.write("ab", 80, 1, topp=0.01) == greedy
    assert demo.write("ab", 80, 0.01) == greedy
    assert first != greedy
    assert demo.inner_text("#write-text .prime") == "ab"
    sampled = demo.evaluate("charrnn.sample({ prime: 'ab', length: 80, temperature: 1, seed: 3 })")
    assert sampled == "ab" + first


def test_bits_of_the_text_that_it_writes(demo: Opened) -> None:
    text = demo.write("", 70, 1.3, seed=9)
    bits = MODEL.score(text).bits
    check_classes(demo.spans("write"), text, bits.tolist())
    assert re.match(rf"70 characters, {bits.mean():.2f} bits per character, \d+ characters per second\.$",
                    demo.inner_text("#write-status"))
    logits = np.vstack([logits_of(MODEL, "\n"), logits_of(MODEL, "\n" + text)[1:-1]]).astype(float)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    names = {"\n": "new line", " ": "space"}
    for said, character, row, value in zip(demo.descriptions("write"), text, p, bits):
        found = re.fullmatch(r"“(.*)”: ([\d.]+) %, ([\d.]+) bits\. Most likely: (.*)", said)
        assert found is not None
        assert found[1] == names.get(character, character)
        own = row[MODEL.vocabulary.id(character)]
        assert float(found[2]) == pytest.approx(100 * own, abs=0.51 if own > 0.09 else 0.06)
        assert float(found[3]) == pytest.approx(value, abs=0.006)
        best = np.argsort(-row)[:5]
        options = [option.rsplit(" ", 2) for option in found[4].split(", ")]
        assert [name for name, *_ in options] == [names.get(c, c) for c in MODEL.vocabulary.decode(best)]
        assert [float(p) for _, p, _ in options] == pytest.approx(100 * row[best], abs=0.51)


def test_an_alternative_continues_from_there(demo: Opened) -> None:
    """With the pointer and with the keyboard alone; what was before is kept."""
    whole = demo.write("ab", 40)
    index = 6

    def continued(before: str, option: int) -> str:
        ranked = np.argsort(-logits_of(MODEL, "ab" + before)[-1])
        chosen = MODEL.vocabulary.characters[ranked[option]]
        return before + chosen + MODEL.sample("ab" + before + chosen, 39, greedy=True)[2 + len(before) + 1:]

    demo.hover(f"#write-text [data-c] >> nth={index}")
    demo.expect(demo.locator(".choices:visible button")).to_have_count(5)
    demo.click("#write-text .choices button >> nth=2")
    demo.finished("write")
    text = demo.text("write")
    assert text == continued(whole[:index], 2)
    assert demo.inner_text("#write-text .prime") == "ab"
    assert demo.locator(".choices:visible").count() == 0
    demo.mouse.move(0, 0)

    demo.focus("#write-text")
    for _ in range(4):  # from the character that was chosen
        demo.keyboard.press("ArrowRight")
    demo.keyboard.press("ArrowLeft")
    demo.keyboard.press("ArrowDown")  # to the first alternative
    demo.keyboard.press("ArrowDown")
    demo.keyboard.press("ArrowDown")
    demo.keyboard.press("ArrowUp")
    demo.keyboard.press("Enter")
    demo.finished("write")
    assert demo.text("write") == continued(text[:index + 3], 1)
    assert demo.evaluate("document.activeElement.id") == "write-text"
    for key, expected in (("ArrowRight", index + 4), ("ArrowLeft", index + 3)):
        demo.keyboard.press(key)
        assert current(demo) == expected


def current(page: Opened) -> int:
    """Return the index of the current character of the text that was written, or -1."""
    return page.evaluate("""[...document.querySelectorAll("#write-text [data-c]")]
                            .findIndex((span) => span.classList.contains("here"))""")


def test_the_keyboard_in_a_text(demo: Opened) -> None:
    text = demo.write("", 100)
    demo.focus("#write-text")
    for key, expected in (("End", 99), ("Home", 0), ("ArrowLeft", 0), ("PageDown", 40), ("ArrowRight", 41), ("PageUp", 1)):
        demo.keyboard.press(key)
        assert current(demo) == expected
    demo.keyboard.press("Control+ArrowRight")
    assert current(demo) == 1
    demo.keyboard.press("ArrowDown")
    assert demo.evaluate("document.activeElement.tagName") == "BUTTON"
    demo.keyboard.press("Escape")
    assert demo.evaluate("document.activeElement.id") == "write-text"
    demo.keyboard.press("Shift+Tab")
    assert current(demo) == -1
    assert demo.locator(".choices:visible").count() == 0
    assert demo.text("write") == text


def greedy_with_knob(model: LanguageModel, length: int, unit: int, turn: Callable[[float], float]) -> str:
    """Return greedy text of a network of one layer while ``turn`` changes the output of a unit."""
    state, last, text = model.network.initial_state(1), model.vocabulary.start, ""
    for _ in range(length):
        _, state = model.network.forward(np.array([[last]]), state)
        hidden = state[0].hidden.copy()
        hidden[0, unit] = turn(hidden[0, unit])
        state = (state[0]._replace(hidden=hidden),)
        p = model.network.parameters
        last = int(np.argmax(hidden @ p["output/w"] + p["output/b"]))
        text += model.vocabulary.characters[last]
    return text


def test_knobs(demo: Opened) -> None:
    plain = demo.write("", 50)
    knob = demo.locator("#knobs fieldset >> nth=1")
    slider = knob.locator("input")
    assert slider.is_disabled()
    for mode, value, turn in (("set", 4, lambda h: 4), ("add", -3.5, lambda h: h - 3.5), ("set", -4, lambda h: -4)):
        knob.locator("select").select_option(mode)
        slider.fill(str(value))
        demo.expect(knob.locator("output")).to_have_text(f"{value:.1f}")
        expected = greedy_with_knob(MODEL, 50, 2, turn)
        assert expected != plain
        demo.writes(expected)
    demo.click("#knobs-off")
    demo.writes(plain)
    assert slider.is_disabled()


def test_streaming_and_stopping(demo: Opened) -> None:
    """A text appears while it is written; another one can be read, and stopping ends it."""
    demo.mouse.move(0, 0)  # a character under the mouse would be described instead
    demo.evaluate("""() => {
        window.batches = { write: 0, read: 0 };
        for (const name of ["write", "read"]) {
          const box = document.getElementById(`${name}-text`);
          window[name] = new MutationObserver(() => { batches[name]++; });
          window[name].observe(box, { childList: true, subtree: true });
        }
    }""")
    text = TEXT * 25
    demo.shade("bits")
    demo.put(text)
    demo.fill_in("write", prime="", length=60_000, temperature=1)
    at_start, at_end = demo.evaluate("""() => new Promise((resolve) => {
        const [stopWriting, stopReading, ...said] = ["write-stop", "read-stop", "write-status", "read-status"].map(
          (id) => document.getElementById(id));
        for (const name of ["write", "read"]) document.querySelector(`#${name}-form .main`).click();
        const atStart = said.map((status) => status.textContent);
        new MutationObserver((_, observer) => {
          if (!stopReading.disabled) return;
          observer.disconnect();
          const wasWriting = !stopWriting.disabled;
          stopWriting.click();
          resolve([atStart, wasWriting]);
        }).observe(stopReading, { attributes: true });
    })""")
    assert at_start == ["Writing …", "Reading …"]
    assert at_end is True
    status = demo.inner_text("#read-status")
    score = MODEL.score(text)
    assert status == f"{len(text):,} characters, {score.mean / np.log(2):.2f} bits ({score.mean:.3f} nats) per character"
    check_classes(demo.spans("read"), text, score.bits.tolist())
    stopped = demo.inner_text("#write-status")
    written = demo.text("write")
    assert stopped == f"Stopped after {len(written):,} characters."
    check_classes(demo.spans("write"), written, MODEL.score(written).bits.tolist())
    demo.loaded()
    count = demo.evaluate("messages")
    demo.wait_for_timeout(150)
    assert demo.evaluate("messages") == count  # the worker has stopped
    assert demo.text("write") == written
    assert min(demo.evaluate("Object.values(batches)")) > 2
    assert demo.write("", 10) == MODEL.sample("", 10, greedy=True)


def test_a_long_text_can_be_stopped(demo: Opened) -> None:
    """What has been read can be shaded by a unit, and is not read again."""
    text = TEXT * 100
    demo.shade("bits")
    demo.put(text)
    demo.evaluate("""() => new Promise((resolve) => {
        const box = document.getElementById("read-text");
        document.querySelector("#read-form .main").click();
        new MutationObserver((_, observer) => {
          if (box.querySelectorAll("[data-c]").length < 2100) return;
          observer.disconnect();
          document.getElementById("read-stop").click();
          resolve();
        }).observe(box, { childList: true, subtree: true });
    })""")
    read = demo.text("read")
    assert demo.inner_text("#read-status") == f"Stopped after {len(read):,} characters."
    assert 2100 <= len(read) < len(text)
    assert text.startswith(read)
    demo.shade("other 0/f 2")
    ids = ids_of(MODEL, read, start=True)
    values = MODEL.network.activations(ids[:, None], MODEL.network.initial_state(1))[0][0]["f"][1:, 0, 1]
    found = demo.spans("read")
    assert len(found) == len(read)
    for (_, shade), value in zip(found, values):
        assert shade in {f"p{round(4 * value + margin)}".replace("p0", "") for margin in (-1e-3, 1e-3)}
    assert demo.evaluate("Math.max(...Array.from(document.querySelectorAll('#read-text .line'), "
                         "(line) => line.childElementCount))") <= 2001
    demo.read("ab")
    assert demo.text("read") == "ab"


def test_a_named_unit_is_selected_first(demo: Opened, open_page: Any) -> None:
    with open_page(full_contents(MODEL, units=[named_unit(1, low=-0.1, high=-0.9, direction=-1)], reading="ab cd")) as page:
        page.finished("read")
        assert page.input_value("[name=shade]") == "0"
        ids = ids_of(MODEL, "ab cd", start=True)
        values = MODEL.network.activations(ids[:, None], MODEL.network.initial_state(1))[0][0]["cell"][1:, 0, 1]
        assert [float(re.search(r"value (-?[\d.]+),", said)[1]) for said in page.descriptions("read")] == pytest.approx(
            values, abs=6e-4)
        for (_, shade), value in zip(page.spans("read"), np.clip((values + 0.1) / -0.8, -1, 1)):
            step = round(abs(value) * 4)
            assert shade.replace("here", "").strip() == (f"{'m' if value < 0 else 'p'}{step}" if step else "")
        assert page.inner_text("#value-legend output") == \
                "0 is -0.10, the median where the feature is false; +1 is -0.90, the median where it is true"


def test_errors_of_the_functions(demo: Opened) -> None:
    message = demo.evaluate("charrnn.sample({ topK: 0 }).catch((error) => error.message)")
    assert message == "topK must be an integer above 0"
    assert len(demo.evaluate("charrnn.sample({ length: 5 })")) == 5


def test_characters_that_the_model_cannot_read(demo: Opened) -> None:
    status = demo.read("a\u0645b?")
    assert status.endswith("per character, 2 unknown characters not counted")
    assert [classes for _, classes in demo.spans("read")][1::2] == ["escape", "escape"]
    known = MODEL.score("ab").bits
    assert demo.descriptions("read")[2] == f"“b”: {known[1]:.2f} bits"
    assert demo.write("a\u0645b?", 30) == MODEL.sample("ab", 30, greedy=True)[2:]
    assert demo.inner_text("#write-status").endswith("Unknown characters left out of the beginning: 2.")
    assert demo.read("") == "0 characters"
    assert demo.read("\u0645") == "1 character, 1 unknown character not counted"


def test_unknown_characters_of_several_bytes(open_page: Any) -> None:
    with open_page(small_contents(model_of("bytes"))) as page:
        page.write("a\U0001f600b\u0645", 5)
        assert page.inner_text("#write-status").endswith("Unknown characters left out of the beginning: 2.")
        assert page.read("a\U0001f600b\u0645").endswith("per byte, 2 unknown characters not counted")


def test_invalid_fields_change_nothing(demo: Opened) -> None:
    """Neither an alternative, nor a changed unit, nor a shade uses a default in place of an invalid field."""
    text = demo.write("ab", 30)
    demo.fill_in("write", temperature=0.333)
    assert demo.evaluate("document.getElementById('write-form').checkValidity()")
    for name, value in (("length", ""), ("temperature", "11"), ("topp", "2"), ("topk", "0.5"), ("seed", "-1")):
        before = demo.input_value(f"#write-form [name={name}]")
        demo.fill_in("write", **{name: value})
        demo.hover("#write-text [data-c] >> nth=3")
        demo.click("#write-text .choices button >> nth=1")
        assert demo.evaluate("document.activeElement.name") == name
        assert demo.text("write") == text
        demo.click("#knobs-off")
        demo.loaded()
        assert demo.text("write") == text
        assert demo.is_disabled("#write-stop")
        demo.fill_in("write", **{name: before})
    demo.read("ab cd", "other 0/f 1")
    shades = demo.spans("read")
    for value in ("0", "2.5", "1000"):
        demo.shade(f"other 0/f {value}")
        assert demo.evaluate("document.activeElement.name") == "unit"
        assert demo.spans("read") == shades
        assert demo.read("abc").startswith("3 characters")  # by the surprise: the invalid field is hidden
        demo.read("ab cd", "other 0/f 1")


def test_the_status_is_updated_once_a_second(demo: Opened) -> None:
    """A screen reader speaks each change."""
    demo.shade("bits")
    demo.put(TEXT * 100)
    updates, seconds = demo.evaluate("""() => new Promise((resolve) => {
        const status = document.getElementById("read-status"), stop = document.getElementById("read-stop");
        const begin = performance.now(), updates = [];
        const observer = new MutationObserver(() => updates.push(status.textContent));
        observer.observe(status, { childList: true });
        document.querySelector("#read-form .main").click();
        new MutationObserver((_, own) => {
          if (!stop.disabled) return;
          own.disconnect();
          setTimeout(() => resolve([updates, (performance.now() - begin) / 1000]));
        }).observe(stop, { attributes: true });
    })""")
    assert updates[0] == "Reading …"
    assert updates[-1].startswith("30,100 characters, ")
    assert len(updates) <= 2 + seconds
    demo.read("ab")


def test_without_workers(open_page: Any) -> None:
    """The page is shown as without JavaScript, and says why."""
    page = model_page(full_contents(MODEL, samples=samples("first", "second")), "float32")
    with open_page(page, without_workers=True) as opened:
        assert opened.inner_text("#failure") == "The model could not be started: no workers"
        assert not opened.is_visible("#write")
        assert opened.locator("#samples pre:visible").all_inner_texts() == ["first", "second"]


def test_errors_of_the_worker(open_page: Any) -> None:
    """Each error is shown in the same line; a section says why it does not work."""
    page = model_page(small_contents(MODEL), "float32").replace('"hidden_size": ', '"hidden_size": 1')
    with open_page(page) as opened:
        opened.expect(opened.locator("#failure")).to_contain_text("The model could not be started: the model needs")
        for section in ("write", "read"):
            assert opened.finished(section) == "the model could not be started"
        opened.evaluate("worker.dispatchEvent(new ErrorEvent('error', { message: 'out of memory' }))")
        assert opened.locator("[role=alert]").all_inner_texts() == ["The model stopped: out of memory"]


# The course

def test_replay(demo: Opened) -> None:
    slider, texts = demo.locator("#replay"), ["", "\nfirst", "aa", "abc", "abc de"]
    positions = []
    assert demo.text_content("#replay-text") == texts[-1]
    slider.focus()
    demo.keyboard.press("Home")
    for number, text in enumerate(texts):
        assert demo.text_content("#replay-text") == text
        caption = demo.inner_text("#replay-caption")
        step = 2 ** (number - 1) if number else 0
        assert caption == (f"step {step}, training loss {3 / (1 + step):.3f}" if number else "step 0")
        assert slider.get_attribute("aria-valuetext") == caption
        assert demo.get_attribute("#marker", "visibility") is None
        assert demo.get_attribute("#marker", "x1") == demo.get_attribute("#marker", "x2")
        positions.append(float(demo.get_attribute("#marker", "x1")))
        demo.keyboard.press("ArrowRight")
    assert positions == pytest.approx([52 + 656 * step / 40 for step in (0, 1, 2, 4, 8)], abs=0.06)
    assert not demo.is_visible("#samples")


# For everyone

def test_the_keyboard_reaches_everything_in_order(demo: Opened) -> None:
    expected = demo.evaluate("""() => {
        globalThis.nameOf = (it) => `${it.tagName} ${it.id || it.name || it.textContent.slice(0, 20)} ${
          [...document.querySelectorAll(it.tagName)].indexOf(it)}`;
        return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
          .filter((it) => !it.disabled && it.checkVisibility()).map(nameOf);
    }""")
    demo.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    demo.evaluate("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")
    reached = []
    for _ in expected:
        demo.keyboard.press("Tab")
        name, style = demo.evaluate("""() => [nameOf(document.activeElement),
                                        getComputedStyle(document.activeElement).outlineStyle]""")
        reached.append(name)
        assert style == "solid", name
    assert reached == expected
    assert len(expected) > 20


def test_every_control_has_a_name(demo: Opened) -> None:
    demo.shade("other 0/cell 1")
    demo.hover("#write-text [data-c] >> nth=2")
    tree = demo.context.new_cdp_session(demo.page).send("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree
             if not node.get("ignored") and "role" in node]
    roles = {"button", "textbox", "spinbutton", "slider", "combobox", "link", "image", "region", "navigation",
             "DisclosureTriangle"}
    assert {role for role, _ in found} >= roles
    assert [role for role, name in found if role in roles and not name.strip()] == []
    assert {"Other characters in this place", "inside quotation marks", "position in the line"} <= {
        name for role, name in found if role == "group"}
    demo.mouse.move(0, 0)
    demo.shade("bits")


LONG = "Donaudampfschifffahrtsgesellschaft" * 8
RIGHT_TO_LEFT = "שלום עולם، مرحبا بالعالم\n" * 3 + "e" + "\u0301\u0302\u0303\u0489" * 40 + "\u202eabc\u2067def\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(open_page: Any, scheme: str) -> None:
    model = make_model(LETTERS + "שלוםעמרحبا")
    contents = full_contents(
        model, name=LONG, summary=LONG, reading=LONG + RIGHT_TO_LEFT, figures=[(LONG, [LONG]), ("a", [RIGHT_TO_LEFT])],
        samples=samples(LONG, RIGHT_TO_LEFT), temperatures=[(1.0, LONG + "\t" * 50)], settings=[(LONG, [LONG])],
        units=[named_unit(0, name=LONG), named_unit(1)])
    with open_page(contents, viewport={"width": 390, "height": 800}, device_scale_factor=2, has_touch=True,
                   color_scheme=scheme) as page:
        page.finished("read")
        written = page.write(LONG + RIGHT_TO_LEFT, 100, 1)
        assert len(written) == 100
        page.locator("details").evaluate_all("all => all.forEach((it) => { it.open = true; })")
        page.shade("other 0/cell 3")
        page.tap("#write-text [data-c] >> nth=70")
        page.expect(page.locator(".choices:visible button")).to_have_count(5)
        panel = page.locator(".choices:visible").bounding_box()
        assert panel["x"] >= 0
        assert panel["x"] + panel["width"] <= 390
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        wide = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((it) => it.checkVisibility()
            && !it.closest(".scroll table, svg, option") && it.getBoundingClientRect().right > 391)
            .map((it) => it.outerHTML.slice(0, 80))""")
        assert wide == []
        ink, paper, hot, cold = page.evaluate("""() => {
            const styles = getComputedStyle(document.body), probe = (name) => {
              const made = document.body.appendChild(document.createElement("span"));
              made.className = name;
              return getComputedStyle(made).backgroundColor;
            };
            return [styles.color, styles.backgroundColor, probe("s9"), probe("m4")];
        }""")
        assert (luminance(paper) > 0.5) == (scheme == "light")
        for ground in (paper, hot, cold):
            assert contrast(ink, ground) >= 4.5


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_arrow_keys_follow_the_direction_of_the_text(open_page: Any) -> None:
    with open_page(small_contents(make_model("שלום \n"), reading="שלום")) as page:
        page.finished("read")
        page.focus("#read-text")
        for key, character in (("ArrowLeft", "ש"), ("ArrowLeft", "ל"), ("ArrowLeft", "ו"), ("ArrowRight", "ל")):
            page.keyboard.press(key)
            assert page.text_content("#read-text .here") == character


def test_print_shows_all_samples_and_no_controls(demo: Opened) -> None:
    demo.emulate_media(media="print")
    try:
        assert demo.locator("#samples li:visible").count() == 5
        for control in ("nav", "form", "button", "#knobs", "input", "select"):
            assert demo.locator(f"{control}:visible").count() == 0
        assert demo.is_visible("#write-text")
    finally:
        demo.emulate_media(media="screen")


def test_without_javascript(open_page: Any) -> None:
    with open_page(full_contents(MODEL, samples=samples("first", "second")), java_script_enabled=False) as page:
        for section, is_shown in (("write", False), ("read", False), ("course", True), ("figures", True)):
            assert page.is_visible(f"#{section}") == is_shown
            assert page.is_visible(f"nav a[href='#{section}']") == is_shown
        assert page.locator("#samples pre:visible").all_inner_texts() == ["first", "second"]
        assert page.locator("figure svg[role=img]:visible").count() == 3
        assert not page.is_visible("#replay")
        assert page.is_visible("noscript p")
        assert page.inner_text("#figures pre >> nth=0") == "ab"


# Hostile text

def test_hostile_contents(open_page: Any) -> None:
    """Every text of a page is shown as it is, and starts no script; the rest of the page is still there."""
    characters = "".join(sorted(set(HOSTILE.encode("utf-8", "ignore").decode() + "\n ")))
    model = make_model(characters)
    contents = full_contents(
        model, name=HOSTILE, summary=HOSTILE, reading=HOSTILE, figures=[(HOSTILE, [HOSTILE])],
        settings=[(HOSTILE, [HOSTILE])], temperatures=[(1.0, "\n\n" + HOSTILE)], samples=samples(HOSTILE, "\n" + HOSTILE),
        units=[named_unit(0, name=HOSTILE)])
    shown = to_bytes(HOSTILE).decode().replace("\0", "").replace("\r", "\n")
    with open_page(contents) as page:
        page.finished("write")
        page.finished("read")
        assert page.title().startswith("</script><script>hit = 1</script><!-- ]]>")
        assert page.text_content("h1") == shown
        assert page.text_content("#figures pre") == "\n\n" + shown
        assert page.text_content("#samples li >> nth=1 >> pre") == "\n" + shown
        assert page.text_content("#knobs legend") == shown
        assert page.text_content("#figures th") == page.text_content("#figures td") == shown
        page.read(HOSTILE.replace("\ud83d", "?"))
        written = page.write(HOSTILE.replace("\ud83d", "?"), 300, 2)
        assert len(written) >= 300
        assert page.locator("img, body script:not([id]) ~ script:not([id])").count() == 0
        assert page.locator("script").count() == 4
        assert page.evaluate("charrnn.logits('\\ud800<script>').then((rows) => rows.length)") == 9
        assert page.evaluate("charrnn.sample({ prime: '</script>', length: 20, seed: 1 })").startswith("</script>")
        panel = page.evaluate("getComputedStyle(document.querySelector('.choices')).direction")
        assert panel == "ltr"


def test_a_comparison(open_page: Any) -> None:
    contents = full_contents(MODEL, name=HOSTILE)
    shown = to_bytes(HOSTILE).decode().replace("\0", "").replace("\r", "\n")
    with open_page(comparison_page([contents, contents._replace(name="other")]),
                   viewport={"width": 390, "height": 800}) as page:
        assert page.text_content("h3 >> nth=0") == shown
        assert page.locator("script, form, input, img").count() == 0
        assert page.locator("pre:visible").count() == 6
        assert page.evaluate("document.documentElement.scrollWidth") == 390


# In a notebook

def test_the_frame_of_a_notebook(browser: Any, tmp_path: Path) -> None:
    """The page works in a sandboxed frame, whose origin is opaque, and cannot reach the notebook."""
    frame = MODEL._repr_html_()
    notebook = f"<!doctype html><meta charset=utf-8><h1>Notebook</h1>{frame}"
    (tmp_path / "notebook.html").write_text(notebook, encoding="utf-8")
    opened = Opened(browser, tmp_path / "notebook.html")
    inside = opened.frame_locator("iframe")
    opened.expect(inside.locator("#write-status")).to_have_text(re.compile("^400 characters"), timeout=20_000)
    opened.expect(inside.locator("#read-status")).to_have_text(re.compile("nats"))
    document = opened.page.frames[1]
    assert document.evaluate("origin") == "null"
    assert document.evaluate("() => { try { return parent.document.title; } catch (error) { return error.name; } }") \
        == "SecurityError"
    assert np.abs(np.array(document.evaluate("charrnn.logits('abc').then((rows) => Array.from(rows[2]))"))
                  - logits_of(MODEL, "abc")[-1]).max() < 0.02
    inside.locator("nav a[href='#figures']").click()
    opened.expect(inside.locator("#figures-title")).to_be_in_viewport()
    assert document.evaluate("location.href") == "about:srcdoc"
    inside.locator("#write-form input[name=length]").fill("50")
    inside.locator("#write-form button.main").click()
    opened.expect(inside.locator("#write-status")).to_have_text(re.compile("^50 characters"))
    inside.locator("#read-form textarea").fill("abc")
    inside.locator("#read-form button.main").click()
    opened.expect(inside.locator("#read-status")).to_have_text(re.compile("^3 characters"))
    opened.requests = [url for url in opened.requests if url != "about:srcdoc"]
    opened.close()
