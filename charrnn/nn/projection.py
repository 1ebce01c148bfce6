"""The product of inputs and a matrix, for ids, one-hot rows and dense inputs, forward and backward.

T time steps, B streams, D inputs, N outputs. A one-hot row times a matrix is a row of the matrix, so ids (T, B) select
rows of ``w`` (D, N). Inputs (T, B, D), one-hot or dense, are multiplied by ``w``, in one product for the whole window.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from charrnn.nn.kernels import reference

Matmul = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""matmul(a, b, out): out <- a b"""


def rows(array: np.ndarray) -> np.ndarray:
    """Return a view of (T, B, N) as (T*B, N)."""
    return array.reshape(-1, array.shape[-1])


def project(inputs: np.ndarray, w: np.ndarray, b: np.ndarray | None, out: np.ndarray,
            matmul: Matmul = reference.matmul) -> np.ndarray:
    """Write ``inputs`` times ``w``, plus ``b`` (N,) unless it is None, into ``out`` (T, B, N); return ``out``."""
    if inputs.ndim == 2:
        if b is not None and inputs.size > len(w):  # b is added to the smaller array, w or out
            w, b = w + b, None
        np.take(w, inputs, axis=0, out=out, mode="clip")
    else:
        matmul(rows(inputs), w, rows(out))
    if b is not None:
        out += b
    return out


def project_back(inputs: np.ndarray, d_out: np.ndarray, w: np.ndarray, d_w: np.ndarray, kernels: ModuleType,
                 needs_d_inputs: bool, matmul: Matmul = reference.matmul) -> np.ndarray | None:
    """Write the gradient of ``w`` into ``d_w``, from the gradient ``d_out`` (T, B, N) of the product.

    Returns the gradient of ``inputs`` (T, B, D) if it is needed, else None. Ids have no gradient.
    """
    if inputs.ndim == 2:
        d_w[...] = 0
        kernels.add_rows(d_w, inputs.reshape(-1), rows(d_out))
        return None
    matmul(rows(inputs).T, rows(d_out), d_w)
    if not needs_d_inputs:
        return None
    d_inputs = np.empty(inputs.shape, d_out.dtype)
    matmul(rows(d_out), w.T, rows(d_inputs))
    return d_inputs
