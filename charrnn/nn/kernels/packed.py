"""Products with a packed factor, in float32 or bfloat16, as efficient for eight rows as for hundreds.

BLAS packs both factors in every call. At a time step one factor is small, so packing takes as long as the product, although
the weights stay the same for a whole window. Here the weights are packed once (``pack``), in panels of a few columns that
are read sequentially. ``add_product`` processes a panel in tiles of up to six rows, whose sums stay in registers (Goto and
van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"), and prefetches the next panel.

In float32, products of a whole window use BLAS. With packed products, a whole step took 45 % longer for an LSTM of 512
units with AVX2, and 14 % (2 layers of 128 units) to 26 % (2 layers of 256) longer for small ones. In bfloat16, ``multiply``
computes them.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from charrnn.nn.kernels.tile import COLUMNS, LINE, PREFETCHED, ROWS, pair, tile

_DEPTH = 2**18 // (4 * COLUMNS)
"""Rows of a panel that are processed at a time; two such parts fit into an L2 cache of 512 KB."""

_SHARES = 16
"""At most this many tiles prefetch the next panel."""

_compile = njit(nogil=True, error_model="numpy")
_inline = njit(nogil=True, error_model="numpy", inline="always")


@_compile
def _empty(shape, like):
    """Return an array of the dtype of ``like``, aligned to a cache line."""
    count = shape[0] * shape[1] * shape[2]
    memory = np.empty(count + LINE // 4, like.dtype)
    first = (-memory.ctypes.data) % LINE // 4
    return memory[first:first + count].reshape(shape)


@_inline
def _copy_row(w, k, first, panel_row):
    """panel_row <- w[k, first:], padded with zeros"""
    row = w[k, first:first + len(panel_row)]
    for j in range(len(row)):
        panel_row[j] = row[j]
    panel_row[len(row):] = 0


@_inline
def _copy_pairs(w, k, first, panel_row):
    """panel_row <- pairs of w[k, first:] and w[k + 1, first:], padded with zeros"""
    low = w[k, first:first + len(panel_row)]
    if k + 1 < len(w):
        high = w[k + 1, first:first + len(panel_row)]
        for j in range(len(low)):
            panel_row[j] = pair(low[j], high[j])
    else:
        for j in range(len(low)):
            panel_row[j] = pair(low[j], np.float32(0))
    panel_row[len(low):] = 0


@_inline
def _is_by_rows(w):
    """Return whether the numbers of a row are neighbours in memory; ``w`` is read in its own order."""
    return w.strides[1] <= w.strides[0]


@_compile
def pack(w, width):
    """Return ``w`` (K, N) as panels (P, K, ``width``); the last panel is padded with zeros."""
    rows, columns = w.shape
    panels = _empty((-(-columns // width), rows, width), np.empty(0, np.float32))
    if _is_by_rows(w):
        for k in range(rows):
            for p in range(len(panels)):
                _copy_row(w, k, p * width, panels[p, k])
    else:
        for p in range(len(panels)):
            for k in range(rows):
                _copy_row(w, k, p * width, panels[p, k])
    return panels


@_compile
def pack_pairs(w, width):
    """Return ``w`` (K, N) as panels (P, (K + 1) // 2, ``width``) of pairs of bfloat16 numbers, padded with zeros."""
    rows, columns = w.shape
    panels = _empty((-(-columns // width), (rows + 1) // 2, width), np.empty(0, np.uint32))
    if _is_by_rows(w):
        for k in range(0, rows, 2):
            for p in range(len(panels)):
                _copy_pairs(w, k, p * width, panels[p, k // 2])
    else:
        for p in range(len(panels)):
            for k in range(0, rows, 2):
                _copy_pairs(w, k, p * width, panels[p, k // 2])
    return panels


@_compile
def _pairs(a):
    """Return the rows of ``a`` (M, K) as pairs of bfloat16 numbers (M, (K + 1) // 2)."""
    rows, columns = a.shape
    pairs = np.empty((rows, (columns + 1) // 2), np.uint32)
    for m in range(rows):
        for k in range(columns // 2):
            pairs[m, k] = pair(a[m, 2 * k], a[m, 2 * k + 1])
        if columns % 2:
            pairs[m, columns // 2] = pair(a[m, columns - 1], np.float32(0))
    return pairs


def _like(a, panels):
    """Return ``a`` in the form of ``panels``: as float32 numbers, or as pairs."""


@overload(_like)
def _like_either(a, panels):
    return (lambda a, panels: _pairs(a)) if panels.dtype == types.uint32 else (lambda a, panels: a)


@_inline
def _add_tile(count, a, row, column, panel, out, first, start, ahead, step, rest):
    """out[first:first + count, start:start + COLUMNS] += a panel"""
    columns = out.shape[1]
    target = out[first:, start:]
    if start + COLUMNS > columns:
        target = rest[0:, 0:]  # a slice, because numba wants one type of array
        for k in range(count):
            for j in range(start, columns):
                rest[k, j - start] = out[first + k, j]
    tile(count, a, row, column, panel, target, ahead, step)
    if start + COLUMNS > columns:
        for k in range(count):
            for j in range(start, columns):
                out[first + k, j] = rest[k, j - start]


@_compile
def add_product(a, panels, out):
    """out <- out + a w, for ``a`` (M, K) in C order, the panels of ``w`` (K, N) and ``out`` (M, N)"""
    factor = _like(a, panels)
    rows, depth = factor.shape
    tiles = -(-rows // ROWS)
    panel_bytes, shares = 4 * depth * COLUMNS, min(tiles, _SHARES)
    step = min(PREFETCHED, 4 * COLUMNS // shares)
    rest = np.zeros((ROWS, COLUMNS), np.float32)
    for first_k in range(0, depth, _DEPTH):
        last_k = min(depth, first_k + _DEPTH)
        for p in range(len(panels)):
            first, ahead = 0, panel_bytes
            for t in range(tiles):  # the first tiles prefetch their shares of the next panel
                count = rows // tiles + (t < rows % tiles)
                _add_tile(count, factor[first:, first_k:], 4 * depth, 4, panels[p, first_k:last_k], out, first, p * COLUMNS,
                          ahead, step, rest)
                first += count
                ahead = ahead + step * (last_k - first_k) if t + 1 < shares else panel_bytes


@_compile
def multiply(left, panels, out):
    """out <- a w, for the panels of ``w`` (K, N); ``left`` is the transposed ``a`` in panels of ``ROWS`` columns"""
    groups, depth, _ = left.shape
    panel_bytes, shares = 4 * depth * COLUMNS, min(groups, _SHARES)
    step = min(PREFETCHED, 4 * COLUMNS // shares)
    rest = np.zeros((ROWS, COLUMNS), np.float32)
    out[...] = 0
    for first_k in range(0, depth, _DEPTH):
        last_k = min(depth, first_k + _DEPTH)
        for p in range(len(panels)):
            for t in range(groups):
                first = t * ROWS
                ahead = panel_bytes + step * (last_k - first_k) * (t if t < shares else 0)
                _add_tile(min(ROWS, len(out) - first), left[t, first_k:], 4, 4 * ROWS, panels[p, first_k:last_k], out,
                          first, p * COLUMNS, ahead, step, rest)
