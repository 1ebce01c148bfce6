"""The HTML of a page: its policy, its sections, and texts that try to leave their elements."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from small_models import make_model
from small_pages import HOSTILE, curves, full_contents, named_unit, samples, small_contents

from charrnn.errors import ConfigError, RunError
from charrnn.page.api import to_bytes
from charrnn.page.page import comparison_page, model_page

VOID = {"meta", "input", "br", "link", "img"}


class Parsed(HTMLParser):
    """A page as a browser reads it: its elements with their attributes, and the text in each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(to_bytes(page).decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))  # type: ignore[arg-type]

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] in ("li", "p", "option") and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.elements if "id" in attributes}


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def pages() -> dict[str, str]:
    return {"model": model_page(small_contents()), "run": model_page(full_contents()),
            "hostile": model_page(full_contents(name=HOSTILE, reading=HOSTILE, samples=samples(HOSTILE))),
            "comparison": comparison_page([full_contents(), small_contents()])}


@pytest.mark.parametrize("name", pages())
def test_the_policy_allows_this_style_and_this_script_alone(name: str) -> None:
    page = pages()[name]
    parsed = Parsed(page)
    (policy,) = [it["content"] for it in parsed.all("meta") if it.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    (style,) = re.findall("<style>(.*?)</style>", page, re.S)
    assert rules.pop("style-src") == f"'{digest(style)}'"
    scripts = re.findall("<script>(.*?)</script>", page, re.S)
    if name == "comparison":
        assert scripts == parsed.all("script") == []
    else:
        assert rules.pop("script-src") == f"'{digest(scripts[0])}'"
        assert rules.pop("worker-src") == "blob:"
        assert len(scripts) == 1
        assert [it.get("type") for it in parsed.all("script")] == ["application/json", "text/plain", None, "text/plain"]
        worker = re.search('<script type="text/plain" id="worker">(.*?)</script>', page, re.S)[1]  # type: ignore[index]
        assert not re.search("<!--|<script", scripts[0] + worker)  # would change how the browser finds the end
    assert rules == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.search(r"url\(|@import", style)
    for _, attributes in parsed.elements:
        assert not [it for it in attributes if it == "style" or it.startswith("on") or it in ("src", "action", "srcdoc")]
        assert attributes.get("href", "#").startswith("#")
    assert {it["href"][1:] for it in parsed.all("a")} <= parsed.ids
    used = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(used) == len(set(used))
    labelled = {attributes["aria-labelledby"] for _, attributes in parsed.elements if "aria-labelledby" in attributes}
    assert labelled <= parsed.ids
    assert parsed.all("html") == [{"lang": "en"}]
    assert page.startswith("<!doctype html>\n")


def headings(page: str) -> list[str]:
    parsed = Parsed(page)
    return [text for tag in ("h2", "h3", "summary") for text in parsed.texts.get(tag, [])]


def test_sections_without_data_are_left_out() -> None:
    everything = headings(model_page(full_contents()))
    assert everything == ["Write", "Read", "Training", "Figures", "Change units", "Samples at three temperatures",
                          "Map of the characters", "What these numbers do", "Settings"]
    for parts, missing in (
            ({"units": []}, {"Change units"}), ({"settings": []}, {"Settings"}),
            ({"curves": None}, set()), ({"samples": []}, set()), ({"temperatures": []}, {"Samples at three temperatures"}),
            ({"model": make_model("ab")}, {"Map of the characters"}),
            ({"curves": None, "samples": []}, {"Training"})):
        page = model_page(full_contents(**parts))
        assert set(everything) - set(headings(page)) == missing, parts
        parsed = Parsed(page)
        assert ("course" in parsed.ids) == ({"href": "#course"} in parsed.all("a")) == ("Training" not in missing)
    assert headings(model_page(small_contents())) == ["Write", "Read", "Figures", "Samples at three temperatures",
                                                      "Map of the characters", "What these numbers do"]


def test_the_course_shows_what_there_is() -> None:
    def drawn(**parts: Any) -> tuple[bool, bool, int]:
        page = model_page(full_contents(**parts))
        parsed = Parsed(page)
        return "marker" in parsed.ids, "replay" in parsed.ids, sum(it.get("role") == "img" for it in parsed.all("svg"))

    assert drawn() == (True, True, 3)  # losses, learning rate, map
    assert drawn(samples=[]) == (False, False, 3)
    assert drawn(curves=None) == (False, True, 1)
    no_rates = curves()._replace(learning_rate=curves().learning_rate._replace(steps=np.empty(0), values=np.empty(0)))
    assert drawn(curves=no_rates) == (True, True, 2)
    late = samples("a", "b")[1]._replace(step=10**6)  # after the last loss
    assert 'data-x="708' in model_page(full_contents(samples=[late]))


def test_samples_and_their_steps() -> None:
    page = model_page(full_contents(samples=samples("first", "\n\nsecond", " third ")))
    assert re.findall('<p class="when">(.*?)</p><pre dir="auto">\n(.*?)</pre>', page, re.S) == [
        ("step 0", "first"), ("step 1, training loss 1.500", "\n\nsecond"), ("step 2, training loss 1.000", " third ")]
    assert ('id="replay" min="0" max="2" value="2"') in page
    page = model_page(small_contents(reading="\n a"))
    assert re.findall('<textarea name="string".*?>\n(.*?)</textarea>', page, re.S) == ["\n a"]


def test_units() -> None:
    page = model_page(full_contents(make_model(layers=2), units=[
        named_unit(3, low=-0.001, high=12.3, score=0.9876),
        named_unit(0, "position", kind="r", score=0.7, direction=-1, layer=1)]))
    assert "layer 1, unit 4 (AUC 0.988; untrained network 0.900)<br>median of its cell c: 12.30 where this is true" in page
    assert "layer 2, unit 1 (r = -0.70; untrained network 0.90)<br>median of its cell c: -0.50 where this is small" in page
    assert re.findall('<option value="[01]".*?>(.*?)</option>', page) == ["inside quotation marks", "position"]
    assert re.findall('<input type="range" min="-4" max="4" step="0.1" value="(.*?)"', page) == ["2", "-2"]
    assert '<option value="0" selected>' in page
    assert '<option value="1/o">layer 2, output gate o</option>' in page
    page = model_page(small_contents(make_model(cell="gru")))
    assert re.findall(r'<option value="0/(\w+)">(.*?)</option>', page) == [
        ("hidden", "output h"), ("r", "reset gate r"), ("z", "update gate z"), ("n", "candidate n")]
    assert 'name="unit" value="1" min="1" max="6"' in page


def test_the_data() -> None:
    contents = full_contents()
    page = model_page(contents, "float32")
    data = json.loads(re.search('<script type="application/json" id="data">(.*?)</script>', page)[1])  # type: ignore[index]
    assert data["units"] == [
        {name: getattr(unit, name) for name in ("layer", "part", "unit", "name", "kind", "low", "high")}
        for unit in contents.units]
    assert data["model"]["vocabulary"] == contents.model.vocabulary.codepoints.tolist()
    assert data["dtype"] == "float32"
    weights = re.search('id="weights">(.*?)</script>', page)[1]  # type: ignore[index]
    flat = contents.model.network.parameters.flat
    assert np.array_equal(np.frombuffer(base64.b64decode(weights), "<f4"), flat.astype("<f4"))
    half = re.search('id="weights">(.*?)</script>', model_page(contents))[1]  # type: ignore[index]
    assert np.array_equal(np.frombuffer(base64.b64decode(half), "<f2"), flat.astype("<f2"))
    assert page.index('id="weights"') > page.index('id="figures"')


def test_hostile_texts_stay_texts() -> None:
    """The page has the same elements as one with harmless texts, and contains the texts as they are."""
    def built(text: str) -> str:
        return model_page(full_contents(
            name=text, summary=text, reading="\n" + text, figures=[(text, [text])], settings=[(text, [text])],
            temperatures=[(1.0, "\n" + text)], samples=samples(text, "\n" + text),
            units=[named_unit(0, name=text)], curves=curves()))

    harmless, hostile = Parsed(built("x")), Parsed(built(HOSTILE))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    shown = to_bytes(HOSTILE).decode()
    assert hostile.texts["title"] == hostile.texts["h1"] == hostile.texts["legend"] == [shown]
    assert hostile.texts["th"] == hostile.texts["td"] == [shown, shown]
    assert hostile.texts["pre"] == ["", "\n" + shown, "\n\n" + shown, "\n\n" + shown]
    assert hostile.texts["textarea"] == ["", "\n\n" + shown]
    vocabulary = make_model("".join(sorted(set("</script><!--]]>&\"'\0\u2028\u202e\x7f"))))
    page = model_page(small_contents(vocabulary))
    assert [tag for tag, _ in Parsed(page).elements if tag == "script"] == ["script"] * 4
    assert "\0" not in page
    assert "U+202E" in Parsed(page).texts["text"]


def test_a_comparison() -> None:
    model = make_model()
    runs = [full_contents(model, name="one", figures=[("text", ["a", "b"]), ("only one", ["1"])], settings=[
        ("cell", ["lstm"]), ("seed", ["1"])]),
            full_contents(model, name="two", figures=[("text", ["c"])], settings=[("cell", ["lstm"]), ("seed", ["2"])])]
    page = comparison_page(runs)
    parsed = Parsed(page)
    assert parsed.texts["title"] == ["Comparison of one, two"]
    assert parsed.texts["th"] == ["", "one", "two", "text", "only one", "", "one", "two", "seed"]
    assert parsed.texts["td"] == ["a b", "c", "1", "", "1", "2"]
    assert len(parsed.all("polyline")) == 3
    assert parsed.texts["h3"] == ["Settings that differ", "one", "two"]
    assert len(parsed.texts["pre"]) == 6
    assert len(page) < 20_000
    alone = comparison_page([small_contents(), small_contents()])
    assert headings(alone) == ["Figures", "Samples", "demo", "demo"]
    with pytest.raises(RunError, match="cannot be compared"):
        comparison_page([full_contents(curves=curves(unit="byte")), full_contents()])


def test_models_without_a_page() -> None:
    model = make_model()
    model.network.parameters.flat[0] = 1e6
    with pytest.raises(ConfigError, match="float16 cannot hold the weights"):
        model_page(small_contents(model))
    assert model_page(small_contents(model), "float32")
    with pytest.raises(ConfigError, match="must be one of float16, float32"):
        model_page(small_contents(), "float64")
