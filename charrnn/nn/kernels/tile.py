"""The innermost loop of a product: a tile, c += a b, whose sums stay in the registers of the processor.

Numba does not keep the sums in registers, so this module generates LLVM IR, with private parts of numba
(``compiled.check`` tests that they work).

``a`` and ``b`` contain float32 numbers, or pairs of bfloat16 numbers in uint32: the elements k = 2j (low 16 bits) and
k = 2j + 1 (high 16 bits) of a row of ``a`` or of a column of ``b``. A pair is multiplied by a pair and both products are
added to a float32 sum. AVX512-BF16 has an instruction for this, which treats denormal inputs and results as zero.
Elsewhere, two float32 multiplications do the same, more slowly; only tests use them. docs/kernels.md contains a drawing.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic
from numba.np.arrayobj import make_array


def _features():
    """Return the names of the features of this processor. LLVM does not know those of every processor."""
    if config.CPU_FEATURES is not None:
        return {name.removeprefix("+") for name in config.CPU_FEATURES.split(",")}
    try:
        return {name for name, is_there in binding.get_host_cpu_features().items() if is_there}
    except RuntimeError:
        return set()


_FEATURES = _features()

HAS_BFLOAT16 = "avx512bf16" in _FEATURES
"""Whether the processor multiplies pairs of bfloat16 numbers."""

# The sums of a tile of six rows, one row of a panel and one number of the other factor use nearly all vector registers: 32
# with AVX-512, 16 with AVX2.
_LANES, _VECTORS = (16, 4) if "avx512f" in _FEATURES else (8, 2)
ROWS = 6
"""The largest number of rows of a tile."""
COLUMNS = _LANES * _VECTORS
"""The number of columns of a tile."""
LINE = 64
"""Bytes of a cache line."""
PREFETCHED = LINE * _VECTORS // 4
"""The largest ``step`` of a tile, in bytes: a half (AVX2) or a quarter (AVX-512) of a row of a panel."""

_FLOATS, _WORDS = ir.VectorType(ir.FloatType(), _LANES), ir.VectorType(ir.IntType(32), _LANES)
_BYTE, _INT, _SIZE = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_ADDRESS = _BYTE.as_pointer()
_CONTRACT = ("contract",)

if HAS_BFLOAT16:
    binding.initialize_native_asmparser()


def _add_products(builder, total, a, b):
    """Return total + a b, for vectors of float32 numbers."""
    return builder.fadd(total, builder.fmul(a, b, flags=_CONTRACT), flags=_CONTRACT)


def _add_products_of_pairs(builder, total, a, b):
    """Return total + a_high b_high + a_low b_low, for vectors of pairs (Intel SDM, VDPBF16PS)."""
    if HAS_BFLOAT16:
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _WORDS, _WORDS])
        return builder.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, a, b], side_effect=False)
    for part in (_high, _low):
        total = _add_products(builder, total, part(builder, a), part(builder, b))
    return total


def _high(builder, pairs):
    return builder.bitcast(builder.and_(pairs, ir.Constant(_WORDS, [0xFFFF0000] * _LANES)), _FLOATS)


def _low(builder, pairs):
    return builder.bitcast(builder.shl(pairs, ir.Constant(_WORDS, [16] * _LANES)), _FLOATS)


def _tile_of(count):
    """Return a function tile(a, row, column, b, c, ahead, step) that adds a[:count] b to c[:count].

    a[m, k] is ``m * row + k * column`` bytes after the first element of ``a``. ``b`` (K, COLUMNS) and ``c``
    (count, COLUMNS) may be parts of larger arrays. Row k of ``b`` prefetches the address ``b + ahead + k * step``.
    """

    parts = {1: 4, 2: 2}.get(count, 1)  # independent sums hide the latency of an addition

    @intrinsic
    def tile(typing, a, row, column, b, c, ahead, step):
        if b.dtype == types.uint32:
            element, vector, add = _INT, _WORDS, _add_products_of_pairs
        else:
            element, vector, add = ir.FloatType(), _FLOATS, _add_products

        def generate(context, builder, signature, arguments):
            a, row, column, b, c, ahead, step = arguments
            a, b, c = (make_array(signature.args[k])(context, builder, array) for k, array in ((0, a), (3, b), (4, c)))
            depth, _ = cgutils.unpack_tuple(builder, b.shape)
            (b_row, _), (c_row, _) = (cgutils.unpack_tuple(builder, array.strides) for array in (b, c))
            fetch = builder.module.declare_intrinsic("llvm.prefetch.p0", (), ir.FunctionType(
                ir.VoidType(), [_ADDRESS, _INT, _INT, _INT]))

            def address(array, offset, kind):
                return builder.bitcast(builder.gep(builder.bitcast(array.data, _ADDRESS), [offset]), kind.as_pointer())

            def vectors(array, offset, kind):
                return [address(array, builder.add(offset, _SIZE(4 * _LANES * j)), kind) for j in range(_VECTORS)]

            c_rows = [vectors(c, builder.mul(c_row, _SIZE(m)), _FLOATS) for m in range(count)]
            sums = [[cgutils.alloca_once_value(builder, builder.load(place, align=4)) for place in places]
                    for places in c_rows]
            more = [[[cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, None)) for _ in places] for places in c_rows]
                    for _ in range(parts - 1)]
            all_sums = [sums, *more]
            a_rows = [builder.mul(row, _SIZE(m)) for m in range(count)]

            def add_row(k, sums):
                weights = [builder.load(place, align=4) for place in vectors(b, builder.mul(k, b_row), vector)]
                for m in range(count):
                    number = builder.load(address(a, builder.add(a_rows[m], builder.mul(k, column)), element))
                    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _INT(0))
                    spread = builder.shuffle_vector(one, one, ir.Constant(_WORDS, None))
                    for total, weight in zip(sums[m], weights):
                        builder.store(add(builder, builder.load(total), spread, weight), total)

            at_once = max(2, parts)  # more would spill registers
            whole = builder.and_(depth, _SIZE(-at_once))
            with cgutils.for_range_slice(builder, _SIZE(0), whole, _SIZE(at_once), _SIZE) as (k, _):
                place = builder.add(ahead, builder.mul(k, step))
                for line in range(at_once * PREFETCHED // LINE if count > 1 else 0):  # hardware prefetching is enough
                    here = address(b, builder.add(place, _SIZE(LINE * line)), _BYTE)
                    builder.call(fetch, [here, _INT(0), _INT(3), _INT(1)])
                for i in range(at_once):
                    add_row(builder.add(k, _SIZE(i)), all_sums[i % parts])
            for i in range(at_once - 1):
                k = builder.add(whole, _SIZE(i))
                with builder.if_then(builder.icmp_signed("<", k, depth)):
                    add_row(k, sums)
            for totals, places, *others in zip(sums, c_rows, *more):
                for total, place, *rest in zip(totals, places, *others):
                    result = builder.load(total)
                    for part in rest:
                        result = builder.fadd(result, builder.load(part))
                    builder.store(result, place, align=4)
            return context.get_dummy_value()

        return types.void(a, types.intp, types.intp, b, c, types.intp, types.intp), generate

    return tile


def _tiles():
    """Return a function tile(count, a, row, column, b, c, ahead, step) for any number of rows up to ``ROWS``."""
    one, two, three, four, five, six = (_tile_of(count) for count in range(1, ROWS + 1))

    @njit(nogil=True, error_model="numpy", inline="always")
    def tile(count, a, row, column, b, c, ahead, step):
        if count == 6:
            six(a, row, column, b, c, ahead, step)
        elif count == 5:
            five(a, row, column, b, c, ahead, step)
        elif count == 4:
            four(a, row, column, b, c, ahead, step)
        elif count == 3:
            three(a, row, column, b, c, ahead, step)
        elif count == 2:
            two(a, row, column, b, c, ahead, step)
        else:
            one(a, row, column, b, c, ahead, step)

    return tile


tile = _tiles()
tile_of_three_rows = _tile_of(3)


@intrinsic
def pair(typing, low, high):
    """Return two float32 numbers as a pair of bfloat16 numbers, each rounded to the nearest, ties to even."""

    def generate(context, builder, signature, arguments):
        low, high = (_rounded(builder, number) for number in arguments)
        return builder.or_(builder.lshr(low, _INT(16)), builder.and_(high, _INT(0xFFFF0000)))

    return types.uint32(types.float32, types.float32), generate


def _rounded(builder, number):
    """Return the bits of a float32 number after rounding; only the upper half of them is meaningful. NaN stays NaN."""
    bits = builder.bitcast(number, _INT)
    is_odd = builder.and_(builder.lshr(bits, _INT(16)), _INT(1))
    nearest = builder.add(builder.add(bits, _INT(0x7FFF)), is_odd)
    is_nan = builder.fcmp_unordered("uno", number, number)
    return builder.select(is_nan, builder.or_(bits, _INT(0x00400000)), nearest)
