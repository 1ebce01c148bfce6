"""charrnn.cli._chart"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.cli._chart import Curve, chart

FALLING = Curve("falling", np.array([0.0, 100.0]), np.array([2.0, 1.0]))
FLAT = Curve("flat", np.array([0.0, 100.0]), np.array([1.5, 1.5]))


def test_a_chart_with_characters() -> None:
    assert chart([FALLING, FLAT], (1.0, 2.0), 32, dots=False) == [
        "2 +ooo",
        "  |   oooooo",
        "  |.........oooooo..............",
        "  |               ooooo",
        "  |                    oooooo",
        "1 +                          ooo",
        "  ++---------------------------+",
        "   0                         100",
        "   oooo falling",
        "   .... flat"]


def test_a_chart_with_dots_has_the_same_axes_and_finer_curves() -> None:
    dotted, plain = (chart([FALLING, FLAT], (1.0, 2.0), 60, dots) for dots in (True, False))
    curves = "".join(dotted)
    assert len({c for c in curves if "\u2800" < c <= "\u28ff"}) > 4
    axes = [["".join(c for c in line if c.isdigit() or c in "+|.") for line in lines[:-2]] for lines in (dotted, plain)]
    assert [line.replace(".", "") for line in axes[0]] == [line.replace(".", "") for line in axes[1]]
    assert [line.strip() for line in dotted[-2:]] == ["⠒⠒⠒⠒ falling", "⠂⠂⠂⠂ flat"]


def test_more_than_three_curves_have_letters() -> None:
    lines = chart([Curve(f"c{k}", FLAT.steps, FLAT.values - k / 10) for k in range(30)], (-2.0, 2.0), 60, dots=True)
    assert not any("\u2800" <= c <= "\u28ff" for c in "".join(lines))
    assert [line.strip() for line in lines[-30:-27]] == ["aaaa c0", "bbbb c1", "cccc c2"]
    assert lines[-1].strip() == "dddd c29"


def test_the_first_curve_covers_the_others() -> None:
    lines = chart([FLAT, FLAT], (1.0, 2.0), 40, dots=False)
    assert not any("." in line.partition("|")[2] for line in lines[:-1])


def test_values_outside_the_limits_are_left_out() -> None:
    high = Curve("high", FLAT.steps, np.array([1e6, 1.5]))
    lines = chart([high], (1.0, 1.0 + 1e-6), 40, dots=False)
    assert not any("o" in line for line in lines[:-1])


@settings(max_examples=80)
@given(data=st.data(), width=st.integers(1, 120), dots=st.booleans(), count=st.integers(1, 5))
def test_no_curve_is_too_wide(data: st.DataObject, width: int, dots: bool, count: int) -> None:
    curves = []
    for k in range(count):
        steps = sorted(data.draw(st.sets(st.integers(0, 2**62), min_size=1, max_size=5)))
        values = data.draw(st.lists(st.floats(0, 1e6), min_size=len(steps), max_size=len(steps)))
        curves.append(Curve(f"curve {k}", np.array(steps, float), np.array(values)))
    low = data.draw(st.floats(0, 1e6))
    lines = chart(curves, (low, low + data.draw(st.floats(0.02, 1e6))), width, dots)
    assert all(len(line) <= width for line in lines)
    assert len(lines) >= 8 + count


@pytest.mark.parametrize("last", [1, 2, 3, 1e15])
def test_the_axis_of_steps_has_whole_numbers(last: float) -> None:
    lines = chart([Curve("c", np.array([last]), np.array([1.5]))], (1.0, 2.0), 80, dots=False)
    labels = lines[-2].split()
    assert labels[0] == "0"
    assert len(set(labels)) == len(labels)
    assert sum(line.count("o") for line in lines[:-2]) == 1
