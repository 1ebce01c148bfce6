"""charrnn.page.features, compared with definitions that read the text up to a character and no further."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.page.features import features

PROSE = """“Come in (and be [really] quiet),” said Anna. See https://example.org/a?b=1 or <b>this</b> page.
	She had 27 MAPS AND 140 charts of the river. Was it
  “too late”?

Nobody knew. "We go," said OLD Ben {aloud}, "at 10!" The boat (blue (or green)) left.
Δεν είναι (ακόμη) εδώ. „Gut“, sagte er. « Bon », dit-elle.

"""
PLAY = """ANNA:
Is the kettle on? I am cold:
very cold.

Old Ben:
It is not on. Nobody filled it.

"""
CHAT = """Anna: is it ready?
Ben: not yet
Anna: say when: we wait
"""
CODE = '''# The "first" comment, isn't it
def area(width, height=2):
    """Return the area.

    It's a "number" # not a comment
    """
    name = 'it\\'s' + "a # b"  # the name
    if width:
        return width * height
    return ''

'''
BRACES = """// a "comment"
int main() {
  /* two
     lines */
  char *s = "a \\" // b"; // see http://example.org
  return f('"', s);
}
"""
TUNE = """X:1
T:The Old Kettle
K:D
A2B c2d|(3efg a2|B2 c2:|

"""


def values_of(text: str, **settings: Any) -> dict[str, np.ndarray]:
    return {feature.name: feature.values for feature in features(text, **settings)}


def line(read: str) -> str:
    """Return the last line of a text, without its newline; "" after a newline."""
    return read.rpartition("\n")[2]


def block(read: str) -> str:
    """Return what was read since the last blank line."""
    return re.split(r"\n[ \t]*\n|\A[ \t]*\n", read)[-1]


def word(read: str) -> str:
    match = re.search(r"[^\W\d_]+\Z", read)
    return match[0] if match else ""


def is_open(read: str) -> bool:
    state = False
    for before, mark in zip("\n" + block(read), block(read)):
        if mark == '"':
            state = before.isspace() or not (state or before in ".,!?")
        elif mark in "„«" or (mark == "“" and not state):
            state = True
        elif mark in "“”»":
            state = False
    return state


def depth(pairs: str) -> Callable[[str], int]:
    def of(read: str) -> int:
        now = 0
        for character in block(read):
            if character in pairs:
                now = max(0, now + (1 if pairs.index(character) % 2 == 0 else -1))
        return now
    return of


def first_of_block(read: str) -> bool:
    return "\n" not in block(read) and not is_blank(read)


def is_blank(read: str) -> bool:
    return read.endswith("\n") and not block(read)


def run_of_capitals(read: str) -> bool:
    return sum(c.isupper() for c in re.split("[a-zα-ωάέήίόύώ\n]", read)[-1]) >= 3


DEFINITIONS: dict[str, Callable[[str], float]] = {
    "inside quotation marks": is_open,
    "in the first line after a blank line": first_of_block,
    "inside round brackets": lambda read: depth("()")(read) > 0,
    "inside square brackets": lambda read: depth("[]")(read) > 0,
    "inside curly brackets": lambda read: depth("{}")(read) > 0,
    "depth of nested brackets": depth("()[]{}"),
    "inside a tag": lambda read: "<" in re.split(">", block(read))[-1],
    "inside a URL": lambda read: re.search(r"https?://[^\s<>\"')\]}]*$", read) is not None,
    "indentation of the line": lambda read: len(line(read)) - len(line(read).lstrip(" \t")),
    "inside the indentation": lambda read: line(read) != "" and not line(read).strip(" \t"),
    "position in the line": lambda read: len(line(read)),
    "characters since the last blank line": lambda read: len(block(read)),
    "lines since the last blank line": lambda read: block(read).count("\n"),
    "position in the sentence": lambda read: len(re.split(r"[.!?]", block(read))[-1]),
    "in capital letters": run_of_capitals,
    "in Latin script": lambda read: bool(re.search(r"[A-Za-z][^α-ωά-ώΑ-Ω]*$", read[-200:])),
    "in the first word of a line": lambda read: bool(re.fullmatch(r"[\W\d_]*[^\W\d_]+", line(read))),
    "letters so far in the word": lambda read: len(word(read)),
    "in a capitalized word": lambda read: word(read)[:1].isupper(),
    "after a capital letter": lambda read: read[-2:-1].isupper(),
    "a newline": lambda read: read[-1] == "\n",
    "a letter": lambda read: read[-1].isalpha(),
    "a capital letter": lambda read: read[-1].isupper(),
    "a vowel": lambda read: read[-1] in "AEIOUaeiou",
    "a digit": lambda read: read[-1].isdigit(),
    "a punctuation mark": lambda read: read[-1] in ".,:;!?'\"()[]{}“”„«»/-&#*@_%\\",
    "a space": lambda read: read[-1] in " \t",
}


def check(text: str, definitions: dict[str, Callable[[str], float]]) -> None:
    found = values_of(text)
    for name, define in definitions.items():
        expected = np.array([define(text[:k + 1]) for k in range(len(text))], float)
        wrong = np.flatnonzero(found[name] != expected)
        assert not len(wrong), f"{name}: {text[:wrong[0] + 1][-60:]!r} is {found[name][wrong[0]]}"


@pytest.mark.parametrize("name", DEFINITIONS)
def test_prose_agrees_with_the_definitions(name: str) -> None:
    text = "\n" + PROSE * 40
    found = values_of(text)[name]
    assert found.shape == (len(text),)
    end = 1 + 3 * len(PROSE)  # the definitions are slow
    expected = [float(DEFINITIONS[name](text[:k + 1])) for k in range(end)]
    wrong = np.flatnonzero(found[:end] != expected)
    assert not len(wrong), f"{text[:wrong[0] + 1][-60:]!r} is {found[wrong[0]]}"


def marked(text: str, name: str, **settings: Any) -> str:
    """Return one period of a repeated text in which every character without the feature is replaced by a dot."""
    count = -(-1200 // len(text)) * 4
    values = values_of(text * count, **settings)[name]
    start = len(text) * (count // 2)
    return "".join(c if value or c == "\n" else "." for c, value in zip(text, values[start:].tolist()))


def test_speakers_of_a_play() -> None:
    assert marked(PLAY, "inside a speaker's name").split("\n")[:6] == [
        "ANNA.", "............................", "..........", "", "Old Ben.", "..............................."]


def test_speakers_of_a_conversation_have_no_blank_lines() -> None:
    assert marked(CHAT, "inside a speaker's name").split("\n") == [
        "Anna..............", "Ben.........", "Anna...................", ""]


@pytest.mark.parametrize("text", [PROSE, CODE, TUNE, BRACES])
def test_other_texts_have_no_speakers(text: str) -> None:
    assert "inside a speaker's name" not in values_of(text * 24)


def test_comments_and_strings_of_python() -> None:
    lines = CODE.split("\n")
    comments = marked(CODE, "inside a comment").split("\n")
    assert comments[0] == lines[0]
    assert comments[6] == lines[6][:lines[6].index("# the")].translate({ord(c): "." for c in lines[6]}) + "# the name"
    assert not set("".join(comments[1:6] + comments[7:])) - {"."}
    strings = marked(CODE, "inside a string").split("\n")
    assert strings[2] == '...."."Return the area.'
    assert strings[4:6] == [lines[4], '    ""'.ljust(7, ".")]
    assert strings[6] == "...........'it\\'s....\"a # b............."
    assert strings[9] == "...........'."
    assert not set("".join([strings[0], strings[1], *strings[7:9]])) - {"."}
    assert marked(CODE, "inside a string of several lines").split("\n")[6] == "." * len(lines[6])


def test_comments_and_strings_of_a_language_with_braces() -> None:
    lines = BRACES.split("\n")
    assert marked(BRACES, "inside a comment").split("\n")[:5] == [
        "./" + lines[0][2:], "............", "...* two", "     lines *.", "." * 26 + "/ see http://example.org"]
    assert marked(BRACES, "inside a string").split("\n")[4:6] == [
        '............"a \\" // b'.ljust(len(lines[4]), "."), "...........'\"......"]


def test_headers_and_bars_of_a_tune() -> None:
    assert marked(TUNE, "inside a header line (X:, T:, K:)").split("\n")[:4] == [".:1", ".:The Old Kettle", ".:D", "." * 24]
    found = values_of(TUNE * 40)
    music = (TUNE * 40).index("A2B")
    assert found["position in the bar"][music:music + 10].tolist() == [1, 2, 3, 4, 5, 6, 7, 0, 1, 2]
    assert "inside round brackets" not in found  # "(3" opens a triplet that nothing closes


def test_german_marks_that_point_inwards() -> None:
    assert marked("Sie sagte »gut« und ging.\nEr »auch«.\n\n", "inside quotation marks").split("\n")[:2] == [
        "..........»gut...........", "...»auch.."]


def test_an_unbalanced_mark_does_not_change_the_next_paragraph() -> None:
    text = 'He said "go and went.\n\nThen he said "no" again.\n\n'
    assert marked(text, "inside quotation marks").split("\n")[2] == '............."no........'


def test_marks_that_close_nothing_do_not_count() -> None:
    assert marked('I went," he said "no" now.\n\n', "inside quotation marks").strip() == '................."no......'
    assert marked("a) b (c) (d) (e) (f)\n\n", "inside round brackets").split("\n")[0] == ".....(c..(d..(e..(f."


def test_bytes() -> None:
    text = ("né Zoë\nça va\n" * 100).encode().decode("latin-1")
    found = values_of(text, of_bytes=True)
    np.testing.assert_array_equal(found["second or later byte of a character"], [0x80 <= ord(c) < 0xC0 for c in text])
    np.testing.assert_array_equal(found["a letter"], [c.isalpha() or ord(c) > 127 for c in text])
    np.testing.assert_array_equal(found["a capital letter"], [c == "Z" for c in text])  # 0xC3 is not the letter "Ã"
    assert "second or later byte of a character" not in values_of(text)


@pytest.mark.parametrize("text", ["", "a", "\n", "x" * 5000, "\x00\ud800" * 300, "word " * 3])
def test_a_text_without_examples_has_no_features(text: str) -> None:
    assert values_of(text).keys() <= {"a letter"}


def test_both_halves_need_examples() -> None:
    quoted, plain = 'She said "yes, of course" to him.\n' * 50, "He said nothing at all to his friend.\n" * 50
    assert "inside quotation marks" in values_of(quoted + quoted)
    assert "inside quotation marks" not in values_of(quoted + plain)
    assert "inside quotation marks" not in values_of(plain + quoted)
    assert "inside quotation marks" not in values_of(plain + plain)
    assert "inside quotation marks" not in values_of(plain + 'He said "' + "no " * 500 + '"\n' + plain)


def test_a_feature_that_is_nearly_always_true_is_not_offered() -> None:
    assert "a letter" not in values_of(("x" * 200 + " ") * 24)
    assert "a letter" in values_of(("x" * 200 + "   ") * 40)


def test_features_come_in_the_order_of_their_ranks() -> None:
    found = features(PROSE * 24)
    assert [feature.rank for feature in found] == sorted(feature.rank for feature in found)
    assert {feature.values.dtype.name for feature in found} == {"bool", "float32"}
    assert all(feature.is_number == (feature.values.dtype == np.float32) for feature in found)
    assert len({feature.name for feature in found}) == len(found)


@given(st.data())
@settings(max_examples=40)
def test_a_feature_does_not_depend_on_what_follows(data: st.DataObject) -> None:
    """The kind of the text is judged as a whole, so the beginning and the whole are of one kind."""
    text = data.draw(st.sampled_from([PROSE, PLAY, CODE, BRACES, TUNE])) * 20
    end = data.draw(st.integers(len(text) // 2, len(text)))
    whole, beginning = values_of(text), values_of(text[:end])
    for name in whole.keys() & beginning.keys():
        np.testing.assert_array_equal(beginning[name], whole[name][:end], name)
