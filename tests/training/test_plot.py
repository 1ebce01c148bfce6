"""charrnn.training.plot, and the curves of ``Run``"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from charrnn import CharRNNError, Corpus, Run
from charrnn.training.curves import Curves, Points
from charrnn.training.plot import _spread, draw, to_bytes, to_svg

matplotlib = pytest.importorskip("matplotlib")

EMPTY = Points(np.empty(0), np.empty(0))
STEPS = np.arange(1.0, 101.0)


def curves(name: str = "notes", height: float = 1.0, **values: Any) -> Curves:
    """Return the curves of a run of 100 steps with 10 evaluations."""
    losses = height + 2 * np.exp(-STEPS / 20)
    return Curves(**{"name": name, "unit": "char", "train": Points(STEPS, losses),
                     "validation": Points(STEPS[9::10], losses[9::10] + 0.1),
                     "learning_rate": Points(STEPS, 0.01 * (1 - STEPS / 101)), "baseline": 1.3} | values)


def texts(figure: Any) -> list[str]:
    """Return the labels of the curves, from the lowest to the highest."""
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.fixture
def trained(start: Callable[..., Run], take: Callable[..., list]) -> Run:
    """Return a run without a folder, after its last step."""
    run = start(eval_every=2)
    take(run)
    return run


def test_a_figure_shows_losses_learning_rate_and_baseline() -> None:
    figure = draw([curves()])
    losses, rates = figure.axes
    assert (losses.get_ylabel(), rates.get_ylabel(), rates.get_xlabel()) == (
        "loss (nats per character)", "learning rate", "step")
    assert losses.get_xlim() == rates.get_xlim() == (0, 100)
    assert texts(figure) == ["training 1.013", "validation 1.113", "n-gram 1.300"]
    drawn = [np.asarray(line.get_xydata()).tolist() for line in losses.lines]
    assert np.column_stack(curves().validation).tolist() in drawn
    assert [line.get_linestyle() for line in losses.lines].count("--") == 1


def test_missing_curves_are_left_out() -> None:
    figure = draw([curves(learning_rate=EMPTY, validation=EMPTY, baseline=None, unit="byte")])
    (losses,) = figure.axes
    assert (losses.get_ylabel(), losses.get_xlabel()) == ("loss (nats per byte)", "step")
    assert texts(figure) == ["training 1.013"]


@pytest.mark.parametrize("count", [2, 6, 7, 30])
def test_each_of_several_runs_has_a_colour_and_a_label(count: int) -> None:
    figure = draw([curves(f"run{k}", 1 + k) for k in range(count)])
    labels = figure.axes[0].texts
    assert sorted(texts(figure)) == sorted([*(f"run{k} {1.113 + k:.3f}" for k in range(count)), "n-gram 1.300"])
    assert len({label.get_color() for label in labels}) == count + 1
    figure.draw_without_rendering()
    boxes = sorted((label.get_window_extent().y0, label.get_window_extent().y1) for label in labels)
    assert all(above[0] > below[1] - 2 for below, above in pairwise(boxes))  # pixels


def test_runs_on_two_texts_have_two_baselines() -> None:
    figure = draw([curves("a"), curves("b", 2, baseline=2.5)])
    labels = {label.get_text(): label.get_color() for label in figure.axes[0].texts}
    assert labels["n-gram 1.300"] == labels["a 1.113"] != labels["b 2.113"] == labels["n-gram 2.500"]


@pytest.mark.parametrize("name", ["$\\frac{x$", "_hidden", "a\x1b[31m\nb", "名", "x" * 250, "<b>&"])
def test_names_are_drawn_as_they_are(name: str) -> None:
    for runs in ([curves(name)], [curves(name), curves("other")]):
        figure = draw(runs)
        shown = {figure.axes[0].get_title(loc="left"), *(text.rsplit(" ", 1)[0] for text in texts(figure))}
        assert {"x" * 31 + "…" if len(name) > 32 else "a\\x1b[31m\\nb" if "\n" in name else name} & shown
        assert to_bytes(figure, "png").startswith(b"\x89PNG")
        assert "\x1b" not in to_svg(figure)


def test_the_same_figure_gives_the_same_bytes_whatever_the_settings_of_the_user() -> None:
    for kind in ("png", "svg"):
        figure = draw([curves(), curves("other", 1.5)])
        first = to_bytes(figure, kind)
        assert first == to_bytes(figure, kind)
        with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "text.usetex": True, "svg.fonttype": "none"}):
            assert first == to_bytes(draw([curves(), curves("other", 1.5)]), kind)
    assert b"<dc:date>" not in first


def test_labels_move_as_little_as_possible() -> None:
    assert _spread([1, 5, 9], 2) == [1, 5, 9]
    assert _spread([5, 5], 2) == [4, 6]
    assert _spread([1, 5, 5.5, 9], 2) == [1, 4.25, 6.25, 9]
    assert _spread([0, 0, 0, 1], 1) == [-1.25, -0.25, 0.75, 1.75]
    assert _spread([], 1) == []


def test_a_run_draws_itself(trained: Run, corpus: Corpus) -> None:
    figure = trained.plot()
    assert len(texts(figure)) == 2
    assert sum(text.startswith("n-gram ") for text in texts(trained.plot(corpus))) == 1
    assert trained._repr_svg_() == figure._repr_svg_() == pickle.loads(pickle.dumps(figure))._repr_svg_() == to_svg(figure)


def test_a_notebook_shows_the_text_of_a_run_that_has_no_curves(start: Callable[..., Run]) -> None:
    assert start()._repr_svg_() is None


def test_without_matplotlib_drawing_is_an_error_of_one_line(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CharRNNError, match="needs matplotlib, which is not installed; pip install"):
        trained.plot()
    assert trained._repr_svg_() is None
