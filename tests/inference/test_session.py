"""charrnn.inference.session"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_models import make_model

from charrnn.config import END
from charrnn.errors import ConfigError, VocabularyError
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.session import Session

MODEL = make_model()
GREEDY: dict[str, Any] = {"greedy": True}


def written(session: Session, length: int | None = 15, until: str = "") -> str:
    return "".join(session.write(length, until))


def greedy(model: LanguageModel, prime: str, length: int = 15) -> str:
    return model.sample(prime, length, greedy=True).removeprefix(prime)


@pytest.mark.parametrize("settings", [{}, {"cell": "lnlstm", "layers": 2}, {"cell": "gru", "dtype": np.float32},
                                      {"documents": "files"}, {"min_count": 2}], ids=str)
def test_the_turns_are_one_text(settings: dict[str, Any]) -> None:
    model = make_model(**settings)
    session, text = Session(model, **GREEDY), ""
    for turn in ("ab\n", "cé", "", "fade "):
        session.read(turn)
        text += turn
        answer = written(session, 5)
        assert answer == greedy(model, text, 5)
        text += answer
        if model.text_config.end is not None and len(answer) < 5:
            text = ""


def test_a_text_can_be_read_in_parts() -> None:
    parts, whole = Session(MODEL, **GREEDY), Session(MODEL, **GREEDY)
    for part in ("ab", "", "c\nd", "e" * 600):
        parts.read(part)
    whole.read("abc\nd" + "e" * 600)
    assert written(parts) == written(whole) == greedy(MODEL, "abc\nd" + "e" * 600)
    assert written(parts) == written(whole)  # and the model can write twice


def test_without_a_text_the_model_starts_as_in_sampling() -> None:
    for model in (MODEL, make_model(documents="files"), make_model("abc")):
        assert written(Session(model, **GREEDY)) == greedy(model, "")
        session = Session(model, **GREEDY)
        session.read("")
        assert written(session) == greedy(model, "")


def test_settings_are_those_of_a_sample() -> None:
    for settings in ({}, {"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.4}, {"temperature": 0}):
        session = Session(MODEL, seed=7, **settings)
        session.read("ab")
        assert "ab" + written(session, 60) == MODEL.sample("ab", 60, seed=7, **settings)
    texts = {written(Session(MODEL, seed=seed), 60) for seed in (1, 1, 2, None, None)}
    assert len(texts) == 4


def test_an_unknown_character_leaves_the_state_unchanged() -> None:
    session, other = Session(MODEL, **GREEDY), Session(MODEL, **GREEDY)
    for turn in ("ab", "cd"):
        with pytest.raises(VocabularyError):
            session.read(f"{turn}x")
        for each in (session, other):
            each.read(turn)
        with pytest.raises(VocabularyError):
            session.read("x")
        assert written(session) == written(other)


def test_texts_are_converted_as_the_model_reads_them() -> None:
    model = make_model(lowercase=True, normalize="NFC")
    session = Session(model, **GREEDY)
    session.read("ABE\u0301")
    assert written(session) == greedy(model, "abé")


def test_a_turn_ends_after_until_or_the_length() -> None:
    session = Session(MODEL, seed=1)
    session.read("ab")
    for _ in range(5):
        assert written(session, None, "a").count("a") == 1
    assert written(session, 0, "a") == ""
    assert len(written(session, 7, "aaaaaaa")) <= 7
    assert written(session, None, "\n").endswith("\n")


@pytest.mark.parametrize("documents", ["lines", "files", "paragraphs"])
def test_a_new_document_starts_after_the_end_mark(documents: str) -> None:
    model = make_model(documents=documents)
    session = Session(model, **GREEDY)
    model.network.parameters["output/b"][model.separator] += 30
    session.read("ab")
    for turn in ("ab", "cd", ""):
        end = "\n" if documents == "lines" else ""
        assert written(session) == end  # the end mark is the most likely, and only a newline is written
        model.network.parameters["output/b"][model.separator] -= 60
        session = Session(model, **GREEDY) if turn == "" else session
        session.read(turn)
        assert written(session) == greedy(model, turn)
        session = Session(model, **GREEDY)
        model.network.parameters["output/b"][model.separator] += 60
        session.read("ab")


def test_each_line_that_is_read_starts_from_the_zero_state() -> None:
    model = make_model(documents="lines")
    session = Session(model, **GREEDY)
    session.read("ab\ncd\nef")
    assert written(session) == greedy(model, "ef")
    session = Session(model, **GREEDY)
    session.read("ab\n")
    assert written(session) == greedy(model, "")


def test_the_end_mark_is_never_written_and_the_unknown_character_neither() -> None:
    model = make_model("ab", documents="files", min_count=2)
    model.network.parameters["output/b"][...] = [0, 0, 2, 9]
    session = Session(model, seed=1)
    for _ in range(30):
        assert set(written(session)) <= set("ab")
    assert END not in written(session)


def test_settings_that_cannot_be_used_are_refused() -> None:
    for settings in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}):
        with pytest.raises(ConfigError):
            Session(MODEL, **settings)
    with pytest.raises(ConfigError, match=r"^length: must be at least 0"):
        written(Session(MODEL), -1)
    with pytest.raises(ConfigError, match=r"^model: is a model of bytes"):
        Session(make_model("ab\n", level="byte"))
    with pytest.raises(TypeError, match="model must be of type LanguageModel"):
        Session("model.h5")  # type: ignore[arg-type]
