"""The kernels that have more than one way of doing a thing."""

import numpy as np
import pytest

from charrnn.kernels import reference


@pytest.mark.parametrize("size", [3, 256, 257, 5000])
def test_rows_are_summed_by_id(size):
    rng = np.random.default_rng(1)
    ids, rows = rng.integers(size, size=400), rng.standard_normal((400, 6))
    total = rng.standard_normal((size, 6))
    expected = total.copy()
    np.add.at(expected, ids, rows)
    reference.add_rows(total, ids.astype(np.uint16), rows)
    np.testing.assert_allclose(total, expected, atol=1e-12)


def test_cross_entropy_and_its_gradient():
    rng = np.random.default_rng(2)
    logits, targets = rng.standard_normal((9, 4)), rng.integers(4, size=9)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    work = logits.copy()
    losses = reference.softmax_cross_entropy(work, targets, 0.5)
    np.testing.assert_allclose(losses, -np.log(p[np.arange(9), targets]))
    np.testing.assert_allclose(work, 0.5 * (p - np.eye(4)[targets]), atol=1e-15)


def test_cross_entropy_neither_overflows_nor_loses_what_is_unlikely():
    logits = np.array([[1e4, 0, -1e4]], np.float32)
    assert reference.softmax_cross_entropy(logits.copy(), np.array([2]))[0] == pytest.approx(2e4)
    assert reference.softmax_cross_entropy(logits.copy(), np.array([0]))[0] == 0
