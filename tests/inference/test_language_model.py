"""charrnn.inference.language_model"""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import LETTERS, make_model, nats_by_steps

import charrnn
from charrnn import Corpus, LanguageModel, Run, Trainer
from charrnn.config import ModelConfig, TextConfig
from charrnn.errors import CheckpointError, ConfigError, CorpusError, RunError, VocabularyError
from charrnn.nn.model import CharRNN
from charrnn.text.vocabulary import Vocabulary

MODEL = make_model()
BYTES = make_model("".join(map(chr, range(256))), level="byte")
LINES = make_model(documents="lines")


def assert_same(one: LanguageModel, other: LanguageModel) -> None:
    """Assert that two models are equal, and share no weights."""
    assert one.metadata() == other.metadata()
    assert one.vocabulary == other.vocabulary
    assert one.network.parameters.flat.tobytes() == other.network.parameters.flat.tobytes()
    assert not np.shares_memory(one.network.parameters.flat, other.network.parameters.flat)


# A model and its parts

def test_repr_is_one_line_with_the_shape() -> None:
    assert repr(MODEL) == "LanguageModel(lstm, 6 hidden units, 9 characters, 447 parameters)"
    large = LanguageModel(CharRNN(ModelConfig("gru", 1200, 2), 2), Vocabulary.of("ab"), TextConfig(level="byte"))
    assert repr(large).startswith("LanguageModel(gru, 2 layers of 1,200 hidden units, 2 bytes, 12,")


@pytest.mark.parametrize(("vocabulary", "settings", "message"), [
    ("abc", {}, "is for 9 characters, but the vocabulary has 3"), (LETTERS, {"min_count": 2}, "unknown character"),
    ("abcdefghi", {"documents": "lines"}, "end mark"),
    (LETTERS, {"documents": "files"}, "end mark")])
def test_rejects_parts_that_do_not_match(vocabulary: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModel(MODEL.network, Vocabulary.of(vocabulary), TextConfig(**settings))


def test_rejects_the_unknown_character_without_its_setting() -> None:
    slot = make_model(min_count=2)
    with pytest.raises(ValueError, match="unknown character"):
        LanguageModel(slot.network, slot.vocabulary)


# Sampling

def test_a_sample_is_the_prime_and_a_thousand_characters() -> None:
    text = MODEL.sample("fade", seed=1)
    assert text.startswith("fade")
    assert len(text) == 1004
    assert text == MODEL.sample("fade", seed=1) == "".join(MODEL.stream("fade", 1000, seed=1))
    assert text != MODEL.sample("fade", seed=2)
    assert MODEL.sample(length=50) != MODEL.sample(length=50)


def test_a_stream_yields_characters_without_end() -> None:
    stream = MODEL.stream("ab", seed=4)
    text = "".join(next(stream) for _ in range(2000))
    assert text == MODEL.sample("ab", 1998, seed=4)


def test_greedy_takes_the_most_likely_character_of_each_step() -> None:
    text = MODEL.sample(length=30, greedy=True)
    for end in range(len(text)):
        nats = {character: MODEL.score(text[:end] + character).nats[-1] for character in LETTERS}
        assert text[end] == min(nats, key=nats.__getitem__)


def test_applies_the_text_settings_to_the_prime_and_to_until() -> None:
    model = make_model(lowercase=True, normalize="NFC")
    assert model.sample("CAFE\u0301", 0) == "café"
    assert model.sample("a", 500, until="A", seed=3).endswith("a")
    assert len(model.sample("a", 500, until="A", seed=3)) < 501


def test_a_model_of_lines_generates_one_line() -> None:
    text = LINES.sample("ab", seed=1)
    assert text.startswith("ab")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert LINES.sample("ab\n", seed=1) == text
    assert LINES.sample("", 40, until="", greedy=True) == LINES.sample("\n", 40, greedy=True)
    assert LINES.sample("ab", until="", seed=1) == text
    assert LINES.sample("ab", until=text[2:4], seed=1) == text[:4]
    with pytest.raises(ConfigError, match="several lines"):
        LINES.stream("a\nb")


def test_a_model_of_bytes_generates_text() -> None:
    assert BYTES.sample("é😀", 0) == "é😀"
    text = BYTES.sample("é", 300, seed=1)
    assert text[0] == "é"
    assert "\ufffd" in text
    assert text == "".join(BYTES.stream("é", 300, seed=1))
    raw = "".join(turn[0] for turn in BYTES.generate(1, "é", 300, seed=1))
    assert raw.encode("latin-1").decode("utf-8", "replace") == text


def test_invalid_utf_8_becomes_replacement_characters_at_the_end_too() -> None:
    model = copy.deepcopy(BYTES)
    model.network.parameters["output/b"][0xC3] = 1000
    assert model.sample("a", 3) == "a\ufffd\ufffd\ufffd"


def test_generates_several_samples_in_parallel() -> None:
    columns = list(zip(*MODEL.generate(3, "ab", 20, seed=5)))
    assert "".join(columns[0]) == MODEL.sample("ab", 20, seed=5)
    assert len({"".join(column) for column in columns}) == 3


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_k": 0}, {"top_p": 2}, {"length": -1}, {"seed": -1}])
def test_rejects_a_setting_out_of_range_before_the_first_character(settings: dict[str, Any]) -> None:
    (name,) = settings
    for call in (MODEL.stream, MODEL.sample, BYTES.stream):
        with pytest.raises(ConfigError) as caught:
            call(**settings)
        assert caught.value.field == name


def test_rejects_an_unknown_character_in_the_prime_and_never_generates_the_unknown_one() -> None:
    with pytest.raises(VocabularyError, match="'x'"):
        MODEL.stream("x")
    slot = make_model(min_count=2)
    slot.network.parameters["output/b"][slot.vocabulary.unknown] = 50
    text = slot.sample("x", 200, seed=1)
    assert text[0] == "x"
    assert "\ufffd" not in text


# Evaluation

@pytest.mark.parametrize("model", [MODEL, LINES, make_model(min_count=2), make_model(dtype=np.float32)],
                         ids=["text", "lines", "slot", "float32"])
def test_an_evaluation_predicts_all_characters_except_the_first(model: LanguageModel, tmp_path: Path) -> None:
    text = "fade a cab\nbad é\nabba\n" if model is LINES else "fade a cab\nbad é"
    ids = model.vocabulary.encode("\n" + text if model is LINES else text)
    nats = nats_by_steps(model, ids[1:], before=int(ids[0]))
    result = model.evaluate(text)
    assert result.nats == pytest.approx(np.mean(nats), rel=1e-5)
    assert result.characters == len(nats)
    assert result.perplexity == pytest.approx(math.exp(result.nats))
    assert result.bits == pytest.approx(result.nats / math.log(2))
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    assert model.evaluate(path) == result
    assert model.evaluate(ids).nats == pytest.approx(result.nats, rel=1e-6)
    assert model.evaluate(ids).characters == len(nats)


def test_an_evaluation_uses_the_vocabulary_and_the_text_settings_of_the_model(tmp_path: Path) -> None:
    assert MODEL.evaluate("fed").nats == pytest.approx(MODEL.evaluate(MODEL.vocabulary.encode("fed")).nats)
    with pytest.raises(VocabularyError, match=r"'x' .* at position 2 "):
        MODEL.evaluate("abx")
    model = make_model(lowercase=True)
    assert model.evaluate("Fade") == model.evaluate("fade")
    assert BYTES.evaluate("é").characters == 1
    slot = make_model(min_count=2)
    assert slot.evaluate("axb") == slot.evaluate(slot.vocabulary.encode("axb"))


def test_a_string_is_text_and_never_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fade").write_text("a" * 100)
    assert len(MODEL.score("fade")) == 4
    assert MODEL.evaluate("fade").characters == 3
    assert MODEL.evaluate(Path("fade")).characters == 99


def test_rejects_a_text_of_fewer_than_two_characters(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="empty"):
        MODEL.evaluate("")
    for text in ("a", np.zeros(1, int), np.zeros(0, int)):
        with pytest.raises(ValueError, match="at least 2 characters"):
            MODEL.evaluate(text)
    with pytest.raises(CorpusError, match="missing"):
        MODEL.evaluate(tmp_path / "missing")


def test_evaluates_a_text_in_cold_windows(tmp_path: Path) -> None:
    text = "fade a cab\nbad éa"
    ids = MODEL.vocabulary.encode(text)
    nats = [loss for first in (0, 5, 10) for loss in nats_by_steps(MODEL, ids[first + 1:first + 6], before=int(ids[first]))]
    result = MODEL.evaluate(text, window=5)
    assert result.nats == pytest.approx(np.mean(nats))
    assert (result.characters, result.how) == (15, "cold windows of 5")
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    assert MODEL.evaluate(path, window=5) == result == MODEL.evaluate(ids, window=5)
    assert LINES.evaluate(text, window=5).nats != MODEL.evaluate(text, window=5).nats
    with pytest.raises(ConfigError, match=r"^window: cannot be combined with streams"):
        MODEL.evaluate(text, streams=1, window=5)


@pytest.mark.parametrize("settings", [{"hidden_size": 7}, {"cell": "gru"}, {"layers": 2}, {"embedding_size": 4}])
def test_does_not_copy_the_weights_of_a_model_of_another_shape(settings: dict[str, Any]) -> None:
    model = make_model()
    before = model.network.parameters.flat.copy()
    with pytest.raises(ValueError, match=r"^the weights of LanguageModel\(.*\) do not fit into LanguageModel\("):
        model.take_weights(make_model(**settings))
    assert np.array_equal(model.network.parameters.flat, before)


# Files and copies

@pytest.mark.parametrize("model", [
    make_model(dtype=np.float32),
    make_model("ab\n", "gru", layers=2, embedding_size=3, min_count=2, documents="lines"), BYTES],
    ids=["float32", "lines", "bytes"])
def test_a_model_can_be_saved_pickled_and_copied(model: LanguageModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.h5")
    assert_same(charrnn.load(tmp_path / "model.h5"), model)
    assert_same(charrnn.load(str(tmp_path / "model.h5")), model)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert_same(pickle.loads(pickle.dumps(model, protocol)), model)
    assert_same(copy.deepcopy(model), model)
    sample = model.sample(length=50, seed=1)
    assert charrnn.load(tmp_path / "model.h5").sample(length=50, seed=1) == sample


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float16_halves_the_file_and_changes_scores_little(dtype: Any, tmp_path: Path) -> None:
    model = make_model(hidden_size=64, dtype=dtype)
    model.save(tmp_path / "full.h5", dtype="float32")
    model.save(tmp_path / "half.h5", dtype="float16")
    sizes = [(tmp_path / name).stat().st_size for name in ("half.h5", "full.h5")]
    assert 0.45 < sizes[0] / sizes[1] < 0.6
    half = charrnn.load(tmp_path / "half.h5")
    assert half.network.dtype == np.float32
    weights = model.network.parameters.flat.astype(np.float16).astype(np.float32)
    assert np.array_equal(half.network.parameters.flat, weights)
    np.testing.assert_allclose(half.score("fade").nats, model.score("fade").nats, rtol=0.05)
    assert model.network.dtype == dtype


def test_saves_a_model_in_the_given_dtype(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    for dtype in ("float32", "float64"):
        make_model(dtype=np.float64).save(path, dtype=dtype)
        assert charrnn.load(path).network.dtype == dtype
    with pytest.raises(ConfigError, match="dtype: must be one of float16, float32, float64, not 'int8'"):
        MODEL.save(path, dtype="int8")


def test_does_not_save_weights_that_the_dtype_cannot_hold(tmp_path: Path) -> None:
    model = make_model()
    for weight, dtype in ((1e5, "float16"), (1e39, "float32")):
        model.network.parameters["output/b"][0] = weight
        with pytest.raises(ConfigError, match=f"dtype: {dtype} cannot hold"):
            model.save(tmp_path / "model.h5", dtype=dtype)
    assert not (tmp_path / "model.h5").exists()


def test_loads_a_folder_a_checkpoint_and_a_model(start: Callable[..., Run], take: Callable, tmp_path: Path) -> None:
    run = start(steps=2)
    run.save(tmp_path / "last.h5")
    first = copy.deepcopy(run.model)
    assert_same(charrnn.load(tmp_path), first)
    take(run, 1)
    run.save(tmp_path / "best.h5")
    assert_same(charrnn.load(tmp_path), run.model)
    assert_same(charrnn.load(tmp_path / "last.h5"), first)
    run.model.save(tmp_path / "model.h5")
    assert_same(charrnn.load(tmp_path / "model.h5"), run.model)
    with pytest.raises(CheckpointError, match="only a model"):
        Run.load(tmp_path / "model.h5")


def test_rejects_a_file_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        charrnn.load(tmp_path / "missing")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(CheckpointError, match="not a checkpoint or model file"):
        charrnn.load(tmp_path / "text.h5")


# Threads

def test_two_threads_can_use_a_model_during_its_training(start: Callable[..., Run], corpus: Corpus) -> None:
    """Results are finite while the weights change, and equal those of one thread between two rounds of training."""
    run = start(steps=60, hidden_size=16, validation=0.2)
    trainer, model, other = Trainer(run, corpus), run.model, make_model()
    sentence = "the quick brown fox, " * 5
    use = [lambda of: of.score(sentence).nats.tolist(), lambda of: of.evaluate(sentence).nats,
           lambda of: [score.total for score in of.score([sentence, "a", sentence[3:]])],
           lambda of: of.sample("the ", 20, seed=3)]
    fade = make_model()
    expected = (fade.score("fade" * 60).nats.tolist(), fade.sample("fade", 60, seed=1), fade.evaluate("fade" * 40).nats)
    problems: list[Any] = []
    alone: list[Any] = []
    trained = threading.Event()

    def work() -> None:
        try:
            while not trained.is_set():
                found = (other.score("fade" * 60).nats.tolist(), other.sample("fade", 60, seed=1),
                         other.evaluate("fade" * 40).nats)
                if found != expected:
                    problems.append("the other model")
                for call in use:
                    result = call(model)
                    if not isinstance(result, str) and not np.isfinite(result).all():
                        problems.append(result)
        except Exception as error:
            problems.append(error)

    def take_steps() -> None:
        try:
            for _ in range(20):
                trainer.step()
        finally:
            trained.set()

    def compare() -> None:
        try:
            for _ in range(2):
                problems.extend("between rounds" for call, result in zip(use, alone) if call(model) != result)
        except Exception as error:
            problems.append(error)

    for _ in range(3):
        trained.clear()
        in_threads(work, take_steps)
        alone = [call(copy.deepcopy(model)) for call in use]
        in_threads(compare, lambda: None)
    assert not problems
    single = start(steps=60, hidden_size=16, validation=0.2)
    list(Trainer(single, corpus))
    assert run.to_bytes() == single.to_bytes()


def in_threads(work: Callable[[], Any], meanwhile: Callable[[], Any]) -> None:
    """Call ``work`` in two threads, and ``meanwhile`` in this one."""
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        for thread in threads:
            thread.join()
