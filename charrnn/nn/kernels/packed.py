"""The recurrent product: rows times packed weights, as efficient for eight streams as for hundreds.

In every call, BLAS copies both factors of a product into an order that suits its inner loop. At a time step one factor is
small, so copying takes as long as the product itself, although the weights stay the same for a whole window. Here the
weights are packed once (``pack``), in panels of a few columns that are read sequentially. ``product`` processes a panel in
tiles of up to six rows, whose sums stay in the registers of the processor (Goto and van de Geijn 2008, "Anatomy of
High-Performance Matrix Multiplication"). Numba cannot be made to keep the sums there, so the tile is written in LLVM's
intermediate language, which needs private parts of numba (``compiled.check`` tests that they work).

Products of a whole window use BLAS. With this product instead, a whole step took 45 % longer for an LSTM of 512 units with
AVX2, and 14 % (2 layers of 128 units) to 26 % (2 layers of 256) longer for small ones.
"""

from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

# A tile of six rows and a few vectors of columns, with one row of a panel and one number of the other factor, fills the
# 32 registers of 16 numbers (AVX-512), or the 16 registers of 8 numbers (AVX2).
_LANES, _VECTORS = (16, 4) if binding.get_host_cpu_features().get("avx512f") else (8, 2)
_ROWS = 6
COLUMNS = _LANES * _VECTORS
"""The number of columns of a panel."""

_NUMBER, _VECTOR, _BYTES = ir.FloatType(), ir.VectorType(ir.FloatType(), _LANES), ir.IntType(64)


def _tile_of(count):
    """Return a function tile(a, b, c) that computes c[:count] = a[:count] @ b, with b (K, COLUMNS), all float32."""

    @intrinsic
    def tile(typing, a, b, c):
        def generate(context, builder, signature, arguments):
            a, b, c = (make_array(kind)(context, builder, array) for kind, array in zip(signature.args, arguments))
            (a_row, a_column), (b_row, _), (c_row, _) = (cgutils.unpack_tuple(builder, x.strides) for x in (a, b, c))
            depth, _ = cgutils.unpack_tuple(builder, b.shape)

            def address(array, offset, kind):
                first = builder.bitcast(array.data, ir.IntType(8).as_pointer())
                return builder.bitcast(builder.gep(first, [offset]), kind.as_pointer())

            def vectors(array, row):
                return [address(array, builder.add(row, _BYTES(4 * _LANES * j)), _VECTOR) for j in range(_VECTORS)]

            sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(_VECTORS)]
                    for _ in range(count)]
            for row in sums:
                for total in row:
                    builder.store(ir.Constant(_VECTOR, None), total)
            a_rows = [builder.mul(a_row, _BYTES(m)) for m in range(count)]
            with cgutils.for_range(builder, depth, intp=_BYTES) as loop:
                weights = [builder.load(vector, align=4) for vector in vectors(b, builder.mul(loop.index, b_row))]
                for m in range(count):
                    number = builder.load(address(a, builder.add(a_rows[m], builder.mul(loop.index, a_column)), _NUMBER))
                    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.IntType(32)(0))
                    spread = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), None))
                    for total, weight in zip(sums[m], weights):
                        term = builder.fmul(spread, weight, flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
            for m in range(count):
                for total, vector in zip(sums[m], vectors(c, builder.mul(c_row, _BYTES(m)))):
                    builder.store(builder.load(total), vector, align=4)
            return context.get_dummy_value()

        return types.void(a, b, c), generate

    return tile


def _tiles():
    """Return a function tile(count, a, b, c) for any number of rows up to ``_ROWS``."""
    one, two, three, four, five, six = (_tile_of(count) for count in range(1, _ROWS + 1))

    @njit(nogil=True, error_model="numpy", inline="always")
    def tile(count, a, b, c):
        if count == 6:
            six(a, b, c)
        elif count == 5:
            five(a, b, c)
        elif count == 4:
            four(a, b, c)
        elif count == 3:
            three(a, b, c)
        elif count == 2:
            two(a, b, c)
        else:
            one(a, b, c)

    return tile


_tile = _tiles()


@njit(nogil=True, error_model="numpy")
def pack(w):
    """Return ``w`` (K, N) as panels (P, K, COLUMNS); the last panel is padded with zeros."""
    rows, columns = w.shape
    panels = np.empty((-(-columns // COLUMNS), rows, COLUMNS), np.float32)
    for p in range(len(panels)):
        first = p * COLUMNS
        width = min(COLUMNS, columns - first)
        for k in range(rows):
            for j in range(width):
                panels[p, k, j] = w[k, first + j]
            for j in range(width, COLUMNS):
                panels[p, k, j] = 0
    return panels


@njit(nogil=True, error_model="numpy")
def product(a, panels, out):
    """out <- a w, for ``a`` (M, K) and the panels of ``w`` (K, N)"""
    rows, columns = out.shape
    tiles = -(-rows // _ROWS)
    rest = np.empty((_ROWS, COLUMNS), np.float32)
    for p in range(len(panels)):
        start = p * COLUMNS
        for t in range(tiles):
            first, last = rows * t // tiles, rows * (t + 1) // tiles
            if start + COLUMNS <= columns:
                _tile(last - first, a[first:], panels[p], out[first:, start:])
            else:
                _tile(last - first, a[first:], panels[p], rest)
                for k in range(first, last):
                    for j in range(start, columns):
                        out[k, j] = rest[k - first, j - start]
