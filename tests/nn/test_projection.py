"""The product of inputs and a matrix, compared with its definition in float64."""

import importlib.util

import numpy as np
import pytest

from charrnn.nn.kernels import reference
from charrnn.nn.projection import project, project_back, rows

KERNELS = [reference]
if importlib.util.find_spec("numba"):
    from charrnn.nn.kernels import compiled

    KERNELS.append(compiled)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 1, 64), (3, 2, 65), (300, 6, 128), (513, 7, 200), (1250, 128, 512),
                                   (40, 300, 900)])
def test_products_of_a_whole_window_equal_those_in_float64(shape, bias, kernels):
    depth, size, columns = shape
    rng = np.random.default_rng(5)
    inputs, d_out = (rng.standard_normal((depth, 1, side)).astype(np.float32) for side in (size, columns))
    w, b = rng.standard_normal((size, columns)).astype(np.float32), rng.standard_normal(columns).astype(np.float32)
    out, d_w = np.full((depth, 1, columns), np.nan, np.float32), np.full_like(w, np.nan)
    assert project(inputs, w, b if bias else None, out) is out
    back = project_back(inputs, d_out, w, d_w, kernels, True)
    wide, d_wide = rows(inputs).astype(np.float64), rows(d_out).astype(np.float64)
    np.testing.assert_allclose(rows(out), wide @ w + (b if bias else 0), rtol=1e-4, atol=1e-5 * size**0.5)
    np.testing.assert_allclose(d_w, wide.T @ d_wide, rtol=1e-4, atol=1e-5 * depth**0.5)
    np.testing.assert_allclose(rows(back), d_wide @ w.T, rtol=1e-4, atol=1e-5 * columns**0.5)
    assert project_back(inputs, d_out, w, d_w, kernels, False) is None


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 40])
def test_ids_give_the_same_result_as_one_hot_rows(steps, bias, kernels):
    """There can be fewer ids than rows of the matrix, or more."""
    rng = np.random.default_rng(6)
    ids = rng.integers(20, size=(steps, 2))
    one_hot = np.eye(20, dtype=np.float32)[ids]
    w, b = rng.standard_normal((20, 6)).astype(np.float32), rng.standard_normal(6).astype(np.float32)
    d_out = rng.standard_normal((steps, 2, 6)).astype(np.float32)
    results = []
    for inputs in (ids, one_hot):
        out, d_w = np.full((steps, 2, 6), np.nan, np.float32), np.full_like(w, np.nan)
        project(inputs, w, b if bias else None, out)
        back = project_back(inputs, d_out, w, d_w, kernels, True)
        results.append((out, d_w))
        assert (back is None) == (inputs is ids)
    for by_id, by_row in zip(*results):
        np.testing.assert_allclose(by_id, by_row, rtol=1e-4, atol=1e-6)
