"""charrnn.training.samples"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import Corpus, Run, Trainer
from charrnn.training import samples as samples_module
from charrnn.training.events import Sampled
from charrnn.training.samples import SampleFile, is_sampled, read_samples, sample_of, write

Start = Callable[..., Run]


def steps(planned: int, every: int | None = None) -> list[int]:
    """Return the steps after which a run writes samples, with its end."""
    return sorted({step for step in range(planned) if is_sampled(step, planned, every)} | {planned})


@pytest.mark.parametrize(("planned", "every", "expected"), [
    (1, None, [0, 1]), (10, None, [0, 1, 2, 4, 8, 10]), (16, None, [0, 1, 2, 4, 8, 16]), (10, 4, [0, 4, 8, 10]),
    (10, 50, [0, 10]), (3, 1, [0, 1, 2, 3])])
def test_samples_are_written_after_powers_of_two_or_at_an_interval(planned: int, every: int | None, expected: list[int]
                                                                   ) -> None:
    assert steps(planned, every) == expected


@pytest.mark.parametrize("planned", [2**17 - 1, 2**17, 2**17 + 1, 2**18, 2**20 + 1])
def test_there_are_at_most_twenty_samples_by_default(planned: int) -> None:
    found = steps(planned)
    assert 19 <= len(found) <= 20
    assert found[0] == 0
    powers = [step for step in found[1:-1] if step & (step - 1) == 0]
    assert all(second == 2 * first for first, second in pairwise(powers))
    assert 2 * powers[-1] >= planned


def test_a_sample_is_what_the_model_writes_after_that_step(start: Start, corpus: Corpus, tmp_path: Path) -> None:
    run = start(steps=5, seed=7)
    file = SampleFile(tmp_path / "samples.jsonl", 0, None)
    samples = [file.add(run)]
    losses, texts = [None], [run.model.sample(length=samples_module.LENGTH, seed=7)]
    for _ in Trainer(run, corpus):
        samples.append(file.add(run))
        losses.append(run.smoothed_loss)
        texts.append(run.model.sample(length=samples_module.LENGTH, seed=7))
    assert [sample and sample.step for sample in samples] == [0, 1, 2, None, 4, 5]
    written = [sample for sample in samples if sample is not None]
    assert [sample.text for sample in written] == [texts[sample.step] for sample in written]
    assert [sample.loss for sample in written] == [
        None if sample.step == 0 else pytest.approx(losses[sample.step], abs=1e-6) for sample in written]
    assert {(sample.prime, sample.seed, len(sample.text)) for sample in written} == {("", 7, samples_module.LENGTH)}
    assert all(sample.loss is None or sample.loss == round(sample.loss, 6) for sample in written)
    assert len(set(texts)) > 1
    file.flush()
    assert read_samples(file.path) == written
    lines = [json.loads(line) for line in file.path.read_text(encoding="utf-8").splitlines()]
    assert [list(line) for line in lines] == [["step", "text", "loss", "prime", "seed"]] * 5
    assert file.add(run) is None, "the end was already written"


def test_text_of_any_script_is_readable_in_the_file(start: Start, tmp_path: Path) -> None:
    text = Corpus.from_text("چراغ راه \u2028 شب 灯 \x85" * 40)
    file = SampleFile(tmp_path / "samples.jsonl", 0, None)
    sample = file.add(start(text))
    file.flush()
    assert read_samples(file.path) == [sample]
    assert "چ" in file.path.read_text(encoding="utf-8")


def test_a_model_of_lines_writes_lines(start: Start) -> None:
    words = "".join(f"{word} {word}\n" for word in ("red", "green", "blue", "grey") * 40)
    text = Corpus.from_text(words, documents="lines")
    text_of_lines = write(start(text).model, 300, seed=3)
    assert text_of_lines.endswith("\n")
    assert len(text_of_lines) >= 300
    lines = text_of_lines.splitlines()
    assert len(set(lines)) == len(lines) > 1, "each line has a seed of its own"
    cut = [write(start(text).model, 1, seed) for seed in range(5)]
    assert all(line.endswith("\n") for line in cut), "a line that is too long ends with a line break too"


def test_a_model_of_bytes_writes_text(start: Start) -> None:
    assert set(sample_of(start(Corpus.from_text("äö" * 200, level="byte"))).text) <= set("äö\ufffd")


def test_weights_that_are_not_finite_give_an_empty_sample(start: Start) -> None:
    run = start()
    run.model.network.parameters["output/b"][...] = np.nan
    assert sample_of(run).text == ""


def test_samples_can_be_turned_off(start: Start, tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples.jsonl", 0, None)
    assert file.add(start(samples=False)) is None


GOOD = [{"step": step, "text": "a\nb", "loss": 1.5 if step else None, "prime": "", "seed": 1} for step in (0, 1, 2)]
BAD: dict[str, Any] = {
    "a text": b"{", "a list": b"[]\n", "a number": b"1\n", "not UTF-8": b"\xff\n", "deep": b"[" * 100_000 + b"\n",
    "another type": json.dumps({**GOOD[2], "step": "2"}).encode() + b"\n",
    "a missing value": b'{"step": 2}\n', "one more value": json.dumps({**GOOD[2], "more": 1}).encode() + b"\n",
    "a surrogate": json.dumps({**GOOD[2], "text": "\ud800"}).encode() + b"\n",
    "not a number": json.dumps({**GOOD[2], "loss": float("nan")}).encode() + b"\n",
    "true": json.dumps({**GOOD[2], "seed": True}).encode() + b"\n",
    "a step twice": json.dumps(GOOD[1]).encode() + b"\n", "incomplete": json.dumps(GOOD[2]).encode()}


@pytest.mark.parametrize("kind", BAD)
def test_invalid_lines_end_the_samples_and_are_removed(start: Start, corpus: Corpus, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "samples.jsonl"
    good = "".join(json.dumps(sample) + "\n" for sample in GOOD[:2]).encode()
    path.write_bytes(good + BAD[kind])
    assert [sample.step for sample in read_samples(path)] == [0, 1]
    run = start(steps=2)
    for _ in Trainer(run, corpus):
        pass
    file = SampleFile(path, 2, path)
    file.add(run)
    file.flush()
    assert path.read_bytes().startswith(good)
    assert [sample.step for sample in read_samples(path)] == [0, 1, 2]


def test_samples_of_later_steps_are_removed_when_a_run_is_resumed(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in GOOD))
    SampleFile(path, 1, path).flush()
    assert [sample.step for sample in read_samples(path)] == [0, 1]
    SampleFile(tmp_path / "new.jsonl", 0, path).flush()
    assert [sample.step for sample in read_samples(tmp_path / "new.jsonl")] == [0]
    assert read_samples(tmp_path / "missing.jsonl") == []
    (tmp_path / "endless.jsonl").symlink_to("/dev/zero")
    assert read_samples(tmp_path / "endless.jsonl") == []


def test_training_reports_samples_and_resuming_writes_none_twice(notes: Path, small: dict[str, Any]) -> None:
    events: list[Any] = []
    run = charrnn.train("notes.txt", name="a", steps=4, on_event=events.append, **small)
    samples = [event.sample for event in events if isinstance(event, Sampled)]
    assert [sample.step for sample in samples] == [0, 1, 2, 4]
    assert read_samples(run.folder / "samples.jsonl") == samples
    charrnn.resume("a", steps=9)
    assert [sample.step for sample in read_samples(run.folder / "samples.jsonl")] == [0, 1, 2, 4, 8, 9]


@pytest.fixture
def small() -> dict[str, Any]:
    return {"hidden_size": 8, "batch_size": 4, "seq_len": 16, "threads": 1}
