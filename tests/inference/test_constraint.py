"""charrnn.inference.constraint, and the options of LanguageModel.stream that use it"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from small_models import LETTERS, make_model

from charrnn.config import END
from charrnn.errors import ConfigError, VocabularyError
from charrnn.inference import language_model
from charrnn.inference.constraint import Constraint
from charrnn.inference.expression import Expression
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.words import words_in

MODELS = {"text": make_model(dtype=np.float32), "lines": make_model(documents="lines"),
          "files": make_model(documents="files"), "slot": make_model(documents="paragraphs", min_count=2),
          "gru": make_model(cell="gru", separator="ab")}


def samples(model: LanguageModel, count: int = 12, prime: str = "", length: int | None = 20, seed: int = 1,
            **settings: Any) -> list[str]:
    """Return samples, each with its end mark."""
    return list(map("".join, zip(*model.generate(count, prime, length, seed=seed, **settings))))


def wholes(model: LanguageModel, *arguments: Any, **settings: Any) -> list[str]:
    """Return samples without their end marks, which all must have."""
    end = model.text_config.end or ""
    found = samples(model, *arguments, **settings)
    assert not end or all(sample.endswith(end) and end not in sample[:-1] for sample in found)
    return [sample.removesuffix(end) for sample in found]


# Expressions

@pytest.mark.parametrize("expression", [
    "", "a", "(ab|cd)*", "[a-c]+ ?", r"\w{3}( \w{1,4}){0,2}", ".*", "[^a]*é", "a{20}|b", "(a|aa|aaa){4}", "^b.*$",
    "(a{7})*b?"])
@pytest.mark.parametrize("name", MODELS)
def test_every_sample_matches_as_a_whole_within_the_length(name: str, expression: str) -> None:
    model = MODELS[name]
    is_text = model.text_config.end is None
    for length in (22, 21):
        for text in wholes(model, 6, length=length, match=expression):
            assert re.fullmatch(expression, text)
            assert len(text) <= length - (not is_text)
    for text in wholes(model, 2, length=None, match="(ab?|c){1,5}"):
        assert re.fullmatch("(ab?|c){1,5}", text)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"greedy": True}, {"top_k": 1}, {"top_k": 2}, {"top_p": 1e-9},
                                      {"top_p": 0.5}, {"temperature": 5.0}, {"temperature": 1e-9}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_constraint_applies_before_every_other_choice(name: str, settings: dict[str, Any]) -> None:
    texts = wholes(MODELS[name], 8, length=12, match="(fe|ea|dé?)+", **settings)
    assert all(re.fullmatch("(fe|ea|dé?)+", text) for text in texts)
    assert (len(set(texts)) == 1) == (str(settings) in ("{'temperature': 0}", "{'greedy': True}", "{'top_k': 1}",
                                                        "{'top_p': 1e-09}", "{'temperature': 1e-09}"))


def test_a_sample_of_a_text_ends_where_nothing_may_follow_and_otherwise_has_the_whole_length() -> None:
    assert set(samples(MODELS["text"], match="abc", length=50)) == {"abc"}
    assert {len(text) for text in samples(MODELS["text"], match="a[^\n]*", length=50)} == {50}
    assert {len(text) for text in samples(MODELS["text"], match="(abc)*", length=50)} == {48}  # a multiple of 3


def test_texts_of_the_exact_length_can_be_written() -> None:
    assert samples(MODELS["text"], 2, match="(abc){5}", length=15) == ["abc" * 5] * 2
    assert samples(MODELS["files"], 2, match="(abc){5}", length=16) == ["abc" * 5 + END] * 2
    assert samples(MODELS["lines"], 2, match="", length=1) == ["\n"] * 2


@pytest.mark.parametrize(("name", "length", "needed"), [("text", 14, 15), ("files", 15, 16), ("lines", 15, 16)])
def test_only_longer_texts_are_refused(name: str, length: int, needed: int) -> None:
    with pytest.raises(ConfigError, match=f"^length: .* needs {needed} more characters or more, not {length}"):
        MODELS[name].sample(match="(abc){5}", length=length)


@pytest.mark.parametrize("settings", [{"match": "x+"}, {"match": "ax?z"}, {"match": r"[^\w\W]"},
                                      {"match": "ab", "allow": "a"}, {"match": "aa", "words": ["a"]}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_constraint_that_no_text_satisfies_is_refused_at_once(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the model can write no text that"):
        MODELS[name].generate(1, "", 10, **settings)


@pytest.mark.parametrize("name", MODELS)
def test_the_prime_is_a_part_of_the_text_that_matches(name: str) -> None:
    model = MODELS[name]
    for text in wholes(model, prime="ab", match="(abc|d)+"):
        assert re.fullmatch("(abc|d)+", text)
        assert text.startswith("ab")
    for settings in ({"match": "ba*"}, {"words": ["ba"]}):
        with pytest.raises(ConfigError, match=r"^prime: 'bb' cannot be continued to a text that"):
            model.sample("bbe", 10, **settings)
    with pytest.raises(ConfigError, match=r"needs 1[12] more characters"):  # it can be continued, but not within the length
        model.sample("aa", 10, match="a{13}")
    with pytest.raises(ConfigError, match="can write no text"):
        model.sample("aab", 10, match="a*bx")
    if model.vocabulary.unknown is None:
        with pytest.raises(VocabularyError):
            model.sample("x", 10, match=".*")


# Characters

@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5, "top_k": 4}, {"top_p": 0.8}, {"greedy": True}], ids=str)
def test_all_characters_give_the_text_of_no_constraint(name: str, settings: dict[str, Any]) -> None:
    model = MODELS[name]
    free = samples(model, 4, "ab", 40, **settings)
    everything = samples(model, 4, "ab", 40, allow=LETTERS + "xyz" + LETTERS, **settings)
    for text, other in zip(free, everything):  # an unconstrained document may be cut off
        assert other == text if text.endswith(model.text_config.end or "") else other[:38] == text[:38]


@pytest.mark.parametrize("name", MODELS)
def test_only_allowed_characters_are_written(name: str) -> None:
    texts = wholes(MODELS[name], 12, prime="bf", allow="acé")
    assert all(set(text.removeprefix("bf")) <= set("acé") and text.startswith("bf") for text in texts)
    assert set().union(*texts) == set("bfacé")
    with pytest.raises(ConfigError, match="contains no character of the vocabulary"):
        MODELS[name].sample(allow="xyz")
    with pytest.raises(ConfigError, match="contains no character of the vocabulary"):
        MODELS[name].sample(allow="")


def test_the_end_mark_is_always_allowed_and_the_unknown_character_never() -> None:
    model = make_model("abc", documents="files", min_count=2)
    model.network.parameters["output/b"][...] = [0, 0, 0, 3, 20]  # a, b, c, the end mark, the unknown character
    assert set(samples(model, 30, allow="a\ufffd" + END)) <= {"a" * k + END for k in range(20)}
    assert END in "".join(samples(model, allow="a"))
    assert "\ufffd" not in "".join(samples(model, match=".*"))


# Words

@pytest.mark.parametrize("words", [["ab", "abc", "fade"], ["a'b", "c"], ["a", "a'b", "ab'c'd"],
                                   ["é", "dé\u2019f"]], ids=str)
@pytest.mark.parametrize("documents", [None, "lines", "files"])
def test_a_text_contains_only_the_words(words: list[str], documents: str | None) -> None:
    model = make_model("\n abcdefé'\u2019.", documents=documents)
    found: set[str] = set()
    for text in wholes(model, 80, length=30, temperature=10.0, words=words):
        found |= words_in(text)
    assert found == set(words)


def test_the_text_may_not_end_within_a_word() -> None:
    model = make_model("abc ")
    for length in range(1, 5):
        assert set(samples(model, 8, length=length, words=["abcabc"])) == {" " * length}
    assert "abcabc" in "".join(samples(model, length=40, words=["abcabc"]))


def test_words_are_converted_as_the_model_reads_them() -> None:
    model = make_model("ab é", lowercase=True, normalize="NFC")
    assert words_in(" ".join(samples(model, words=["AB", "E\u0301"]))) == {"ab", "é"}


# Documents that are excluded

@pytest.mark.parametrize("name", ["lines", "files", "slot", "gru"])
@pytest.mark.parametrize("settings", [{}, {"greedy": True}, {"top_k": 1}], ids=str)
def test_an_excluded_document_is_never_written(name: str, settings: dict[str, Any]) -> None:
    model = MODELS[name]
    excluded: set[str] = set()
    for seed in range(8):  # each time, exclude what the model wrote before
        texts = set(wholes(model, 3, length=6, seed=seed, match="[ab]{0,4}", exclude=excluded, **settings))
        assert not texts & excluded
        excluded |= texts
    assert len(excluded) >= 8


@pytest.mark.parametrize("name", ["lines", "files", "slot", "gru"])
def test_the_only_document_that_is_left_is_found(name: str) -> None:
    model = MODELS[name]
    every = ["", *"abc", *(a + b for a in "abc" for b in "abc")]
    for left in ("", "b", "ca"):
        excluded = [text for text in every if text != left]
        assert set(wholes(model, 3, length=3, match="[abc]{0,2}", exclude=excluded)) == {left}
    with pytest.raises(ConfigError, match=r"^exclude: every text that the model can write within length is excluded"):
        model.sample(length=3, match="[abc]{0,2}", exclude=every)
    assert set(wholes(model, 3, "c", length=2, match="[abc]{0,2}", exclude=set(every) - {"ca", "a"})) == {"ca"}


def test_a_document_may_continue_an_excluded_one_or_be_a_part_of_it() -> None:
    model = MODELS["files"]
    assert set(wholes(model, 20, match="a{0,2}", exclude=["a"])) == {"", "aa"}
    assert set(wholes(model, length=2, match="a*", exclude=["a"])) == {""}  # "aa" would be too long
    assert set(wholes(model, length=3, allow="a", exclude=["", "a"])) == {"aa"}


def test_excluded_documents_may_be_long_and_many() -> None:
    long = "ab" * 1500
    with pytest.raises(ConfigError, match="every text that the model can write within length is excluded"):
        MODELS["files"].sample(length=4000, match="(ab){1500}", exclude=[long])
    assert wholes(MODELS["files"], 1, long[:-1], 9, match="(ab){1500,1501}", exclude=[long]) == [long + "ab"]


def test_excluded_documents_are_converted_as_the_model_reads_them() -> None:
    model = make_model("ab", documents="files", lowercase=True)
    assert set(wholes(model, match="a|b", exclude=["A"])) == {"b"}


def test_documents_cannot_be_excluded_from_a_continuous_text() -> None:
    with pytest.raises(ConfigError, match="needs a model of documents"):
        MODELS["text"].sample(exclude=["a"])


# Combinations

@pytest.mark.parametrize("name", ["lines", "files", "slot", "gru"])
def test_constraints_can_be_combined(name: str) -> None:
    settings = {"match": "[a-f ]{1,9}", "words": ["ab", "b", "fade"], "allow": "abd ", "exclude": ["b", "ab"]}
    texts = set(wholes(MODELS[name], 40, length=10, **settings))
    assert len(texts) > 5
    for text in texts:
        assert re.fullmatch("[abd ]{1,9}", text)
        assert words_in(text) <= {"ab", "b"}
        assert text not in ("b", "ab")


def test_one_constraint_can_be_used_several_times() -> None:
    model = MODELS["files"]
    direct = samples(model, match="[ab]{1,4}", exclude=["a"])
    constraint = model.constraint("", 20, match="[ab]{1,4}", exclude=["a"])
    for _ in range(2):
        assert samples(model, constraint=constraint) == direct
    assert samples(model, 5, constraint=constraint) == direct[:5]
    assert samples(model, 5, constraint=constraint, first=4) == direct[4:9]


def test_a_constraint_cannot_be_combined_with_until() -> None:
    for settings in ({"match": "a+"}, {"allow": "a"}, {"words": ["a"]}):
        with pytest.raises(ConfigError, match=f"^until: cannot be combined with {next(iter(settings))}"):
            MODELS["text"].sample(until="b", **settings)


def test_a_model_of_bytes_has_no_constraints() -> None:
    model = make_model("ab\n", level="byte")
    for name, value in {"allow": "a", "match": "a", "words": ["a"], "exclude": ["a"]}.items():
        with pytest.raises(ConfigError, match=f"^{name}: needs a model of characters"):
            model.sample(**{name: value})


def test_without_constraints_nothing_is_constrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(language_model, "Constraint", fail)
    monkeypatch.setattr("charrnn.inference.sampling._draw_allowed", fail)
    for model in MODELS.values():
        assert samples(model, 2, "ab")
        assert samples(model, 2, "ab", allow=None, match=None, words=None, exclude=None)


@pytest.mark.parametrize("cell", ["lstm", "lnlstm", "gru"])
def test_compiled_kernels_and_numpy_write_the_same(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for kernels in ("auto", "reference"):
        monkeypatch.setenv("CHARRNN_KERNELS", kernels)
        model = make_model(cell=cell, dtype=np.float32, documents="files", hidden_size=24)
        texts.append(samples(model, 3, length=30, match="([abc]{2} )*", exclude=["ab "]))
    assert texts[0] == texts[1]


def test_a_model_that_computes_nan_is_refused() -> None:
    model = make_model()
    model.network.parameters["output/b"][...] = np.nan
    with pytest.raises(ValueError, match="computes NaN"):
        model.sample(length=3, match="a+")


def test_too_many_states_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.inference.constraint._MOST_STATES", 50)
    with pytest.raises(ConfigError, match="match needs more than 50 states"):
        MODELS["text"].sample(match="a{60}")
    assert MODELS["text"].sample(length=30, match="a{30}") == "a" * 30


def test_what_may_follow_depends_on_the_characters_that_are_left() -> None:
    vocabulary = MODELS["files"].vocabulary
    constraint = Constraint(vocabulary, [Expression("a(bc)*d", LETTERS)], end=END, length=8)

    def following(text: str, left: int | None) -> set[str]:
        position: Any = constraint.start
        for character in text:
            position = constraint.after(position, vocabulary.id(character))
        return {vocabulary.characters[k] for k in np.flatnonzero(constraint.allowed(position, left))}

    assert following("", None) == following("", 3) == {"a"}
    assert following("a", None) == following("a", 4) == {"b", "d"}
    assert following("a", 3) == following("a", 2) == {"d"}
    assert following("abcd", 1) == following("abcd", None) == {END}
