"""The charts: coordinates inside the picture, round ticks, and a map of the characters."""

from __future__ import annotations

import re

import numpy as np
import pytest
from small_models import make_model
from small_pages import curves

from charrnn.page import charts
from charrnn.page.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, character_map, loss_chart, rate_chart
from charrnn.training.curves import Points

NOTHING = Points(np.empty(0), np.empty(0))


def points_of(text: str) -> np.ndarray:
    return np.array([[float(number) for number in pair.split(",")] for pair in text.split(" ")])


def check(chart: Chart) -> None:
    """Assert that everything is inside the area of the curves, and that the ticks are round and at their values."""
    for line in chart.lines:
        x, y = points_of(line.points).T
        assert LEFT <= x.min() <= x.max() <= WIDTH - RIGHT
        assert TOP <= y.min() <= y.max() <= chart.height - BOTTOM
    for ticks, low, high in ((chart.x_ticks, LEFT, WIDTH - RIGHT), (chart.y_ticks, TOP, chart.height - BOTTOM)):
        assert all(low <= position <= high for position, _ in ticks)
        numbers = [float(text.replace(",", "")) for _, text in ticks]
        assert 1 <= len(numbers) <= 8
        assert numbers == sorted(set(numbers))
        if len(numbers) > 1:
            steps = np.diff(numbers)
            assert np.allclose(steps, steps[0], rtol=1e-6)
            assert f"{steps[0]:.3e}"[:5] in ("1.000", "2.000", "5.000")
            positions = np.diff([position for position, _ in ticks])
            assert np.allclose(positions, positions[0], atol=0.21)


LOSSES = {
    "one point": [2.0], "one step": [2.0, 2.0], "constant": [1.5] * 50, "zero": [0.0] * 10, "two": [3.0, 1.0],
    "falling": (1 + 2 / np.arange(1, 300)).tolist(), "rising": np.linspace(0, 9, 200).tolist(),
    "a spike": [1.0] * 90 + [1e6] + [1.0] * 9, "tiny": (1e-9 * np.arange(30)).tolist(), "huge": [1e6] * 5 + [999_999.0],
    "a low start": [0.1] + [3.0] * 99,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_chart_of_any_losses(name: str) -> None:
    values = np.array(LOSSES[name])
    for steps in (np.arange(len(values)) + 1.0, np.arange(len(values)) * 1000.0, np.arange(len(values)) * 1.0):
        for baseline in (None, 2.0):
            points = Points(steps, values)
            for run in (curves(train=points, validation=NOTHING, baseline=baseline),
                        curves(train=points, validation=points, baseline=baseline, learning_rate=points)):
                check(loss_chart([run]))
                check(rate_chart(run))
            check(loss_chart([run, run, curves()]))


def test_the_lines_of_one_run() -> None:
    chart = loss_chart([curves()])
    assert [(line.classes, line.label) for line in chart.lines] == [
        ("c0", "validation, lowest 1.650 at step 40"), ("c1 faint", "training, lowest 1.550 at step 40"),
        ("dashed", "n-gram baseline 2.000")]
    assert chart.y_name == "nats per character"
    assert loss_chart([curves(unit="byte")]).y_name == "nats per byte"
    (_, train, baseline) = (points_of(line.points) for line in chart.lines)
    assert len(train) == 40
    assert np.allclose(train[:, 0], LEFT + (WIDTH - LEFT - RIGHT) * np.arange(1, 41) / 40, atol=0.051)
    assert baseline[0, 0] == LEFT
    assert baseline[1, 0] == WIDTH - RIGHT
    assert baseline[0, 1] == baseline[1, 1] == dict(map(reversed, chart.y_ticks))["2"]
    assert (np.diff(train[3:, 1]) > 0).all()
    assert chart.x(20) == (LEFT + WIDTH - RIGHT) / 2
    assert [line.label for line in loss_chart([curves(baseline=None, validation=NOTHING)]).lines] == [
        "training, lowest 1.550 at step 40"]
    assert [(line.classes, line.label) for line in rate_chart(curves()).lines] == [("c2", "learning rate")]


def test_the_lines_of_several_runs() -> None:
    names = [f"run {k}" for k in range(8)]
    chart = loss_chart([curves(name=name) for name in names])
    assert [line.classes for line in chart.lines] == ["c0", "c1", "c2", "c3", "c4", "c5", "c0", "c1", "dashed"]
    assert [line.label for line in chart.lines[:-1]] == [f"{name}, lowest 1.650 at step 40" for name in names]
    for baselines, is_drawn in (((2.0, 2.0), True), ((2.0, None), True), ((2.0, 2.1), False), ((None, None), False)):
        chart = loss_chart([curves(baseline=baseline) for baseline in baselines])
        assert any(line.classes == "dashed" for line in chart.lines) == is_drawn


def test_the_axis_shows_all_baselines_of_several_runs() -> None:
    chart = loss_chart([curves(baseline=0.5), curves(baseline=4.0)])
    numbers = [float(text) for _, text in chart.y_ticks]
    assert min(numbers) <= 1 < 3 < max(numbers)


def test_a_long_run_is_thinned() -> None:
    steps = np.arange(1.0, 12_346)
    values = np.linspace(3, 1, len(steps))
    (line,) = loss_chart([curves(train=Points(steps, values), validation=NOTHING, baseline=None)]).lines
    found = points_of(line.points)
    assert 300 <= len(found) <= 400
    assert found[-1, 0] == WIDTH - RIGHT
    assert (np.diff(found[:, 0]) > 0).all()
    assert line.label == "training, lowest 1.000 at step 12,345"
    assert len(line.points) < 6000
    few = Points(steps[:400], values[:400])
    assert len(points_of(loss_chart([curves(train=few, validation=NOTHING)]).lines[0].points)) == 400


def test_steps_are_whole_numbers() -> None:
    for count in (1, 2, 3, 7, 1000):
        chart = loss_chart([curves(train=Points(np.arange(count) + 1.0, np.ones(count)), validation=NOTHING)])
        assert all(re.fullmatch(r"[\d,]+", text) for _, text in chart.x_ticks)


def test_a_map_of_the_characters() -> None:
    """Its axes are the principal components: its distances are those of the rows, if these have two dimensions."""
    model = make_model("\n\t abcé\u0301\x07")
    rows = model.network.parameters["layer0/w_x"]
    rows[...] = 0
    rows[:, [2, 5]] = np.random.default_rng(1).normal(size=(len(rows), 2)) * [1, 0.3]
    found = character_map(model)
    assert [character.text for character in found] == ["U+0007", "tab", "⏎", "space", "a", "b", "c", "é", "\u0301"]
    places = np.array([[character.x, character.y] for character in found])
    assert places.min(axis=0).tolist() == [20, 20]
    assert places.max(axis=0).tolist() == [700, 700]
    centred = rows[:, [2, 5]] - rows[:, [2, 5]].mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    for place, axis in zip(places.T, axes.T[::-1]):
        assert abs(np.corrcoef(place, centred @ axis)[0, 1]) > 0.9999


def test_a_map_of_embeddings_and_of_unknown_characters() -> None:
    model = make_model("abc", embedding_size=4, min_count=2)
    before = character_map(model)
    assert [character.text for character in before] == ["a", "b", "c", "unknown"]
    model.network.parameters["layer0/w_x"][...] = 0
    assert character_map(model) == before
    model.network.parameters["embedding/w"][0] = 9
    assert character_map(model) != before
    same = make_model("abc")
    same.network.parameters["layer0/w_x"][...] = 1
    assert {(character.x, character.y) for character in character_map(same)} == {(20, 20)}
    of_bytes = make_model("a\xc3\xa9", level="byte")
    assert [character.text for character in character_map(of_bytes)] == ["a", "0xa9", "0xc3"]


def test_vocabularies_without_a_map() -> None:
    assert character_map(make_model("ab")) == []
    assert character_map(make_model("".join(map(chr, range(0x4e00, 0x4e00 + charts.MOST_CHARACTERS + 1))))) == []
    assert len(character_map(make_model("".join(map(chr, range(0x4e00, 0x4e00 + charts.MOST_CHARACTERS)))))) == 200
    assert character_map(make_model("abc", embedding_size=1)) == []
    assert character_map(make_model("abc", cell="rnn", hidden_size=1)) == []
