"""Products of numbers rounded to bfloat16: the rounding, the compiled kernels against the reference, and a whole window.

Without AVX512-BF16, the compiled products are done with float32 multiplications, in the same code but for one instruction.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kernels import NO_RESETS, RESETS, B, T, compiled, needs_numba, run, window

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.nn import kernels
from charrnn.nn.cells import CELLS
from charrnn.nn.kernels import has_bfloat16, reference, resolve_precision
from charrnn.nn.model import CharRNN
from charrnn.randomness import generator

if compiled is not None:
    from charrnn.nn.kernels.packed import add_product, pack_pairs
    from charrnn.nn.kernels.tile import COLUMNS, HAS_BFLOAT16
else:
    HAS_BFLOAT16 = False

SPECIAL = np.array([0, -0.0, 1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-23, -1 - 2**-8, 3.3895e38, 3.4028e38, -3.4028e38,
                    np.inf, -np.inf, np.nan, 2**-126, 1e-40, 2**-133, 2**-134, 2**-149], np.float32)
LOOPS = [f"{cell}_{way}" for cell in CELLS for way in ("forward", "backward")]


@pytest.fixture
def supported(monkeypatch):
    """Simulate a processor with bfloat16, for both kernels."""
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ("reference", "compiled"))


@pytest.fixture
def unsupported(monkeypatch):
    """Simulate a processor without bfloat16."""
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ())


def nearest(number):
    """Return a float32 number rounded to 8 significant bits, computed with float64 numbers."""
    number = float(number)
    if not np.isfinite(number) or number == 0:
        return number
    quantum = 2.0 ** (max(np.frexp(number)[1], -125) - 8)
    result = np.rint(number / quantum) * quantum  # rint: ties to even
    return np.copysign(np.inf, number) if abs(result) >= 2.0**128 else result


@given(st.integers(0, 2**32 - 1))
def test_every_number_is_rounded_to_the_nearest(bits):
    number = np.array([bits], np.uint32).view(np.float32)
    np.testing.assert_equal(reference.rounded(number)[0], np.float32(nearest(number[0])))


def test_special_numbers_are_rounded_to_the_nearest():
    rounded = reference.rounded(SPECIAL)
    np.testing.assert_array_equal(rounded, np.array([nearest(x) for x in SPECIAL], np.float32))
    np.testing.assert_array_equal(np.signbit(rounded), np.signbit(SPECIAL))
    assert (rounded[3], rounded[4], rounded[8]) == (1, 1 + 2**-6, np.inf)  # ties to even; beyond the largest number


def test_nan_stays_nan_whatever_its_bits_are():
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000], np.uint32)
    assert np.isnan(reference.rounded(bits.view(np.float32))).all()
    if compiled is not None:
        pairs = pack_pairs(np.repeat(bits.view(np.float32), 2)[:, None], COLUMNS)[0, :, 0]
        assert np.isnan((pairs << 16).view(np.float32)).all()
        assert np.isnan((pairs & 0xFFFF0000).view(np.float32)).all()


def test_an_array_in_any_order_is_rounded_as_a_copy():
    array = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    before = array.copy()
    rounded = reference.rounded(array.T[::2])
    assert rounded.shape == (4, 5)
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(rounded, reference.rounded(array).T[::2])


@needs_numba
@pytest.mark.parametrize("depth", [1, 2, 17, 18])
def test_packed_pairs_contain_the_rounded_numbers(depth):
    w = np.resize(SPECIAL, (depth, 2 * COLUMNS + 3))
    pairs = pack_pairs(w, COLUMNS)
    assert pairs.shape == (3, (depth + 1) // 2, COLUMNS)
    assert pairs.ctypes.data % 64 == 0
    wide = np.moveaxis(pairs, 0, 1).reshape(-1, 3 * COLUMNS)
    numbers = np.stack([wide << 16, wide & 0xFFFF0000], axis=1).reshape(-1, 3 * COLUMNS).view(np.float32)
    np.testing.assert_array_equal(numbers[:depth, :w.shape[1]], reference.rounded(w))
    assert not numbers[depth:].any()
    assert not numbers[:, w.shape[1]:].any()


@needs_numba
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 64), (2, 3, 65), (6, 300, 128), (7, 129, 200), (200, 64, 63),
                                   (3, 9000, 70)])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_agree_with_the_reference(shape, transposed):
    rows, depth, columns = shape
    rng = np.random.default_rng(4)
    a, w = rng.standard_normal((rows, depth)).astype(np.float32), rng.standard_normal((depth, columns)).astype(np.float32)
    if transposed:
        a, w = np.ascontiguousarray(a.T).T, np.ascontiguousarray(w.T).T
    expected = np.empty((rows, columns), np.float32)
    reference.matmul(a, w, expected, bfloat16=True)
    exact = reference.rounded(a).astype(float) @ reference.rounded(w).astype(float)
    around = np.full((rows + 2, columns), 7, np.float32)  # neither the row before nor the row after may change
    compiled.matmul(a, w, around[1:-1], bfloat16=True)
    for result in (expected, around[1:-1]):
        np.testing.assert_allclose(result, exact, atol=1e-5 * depth**0.5)
    assert (around[[0, -1]] == 7).all()
    add_product(np.ascontiguousarray(a), compiled.pack(w, bfloat16=True), around[1:-1])
    np.testing.assert_allclose(around[1:-1], 2 * exact, atol=3e-5 * depth**0.5)
    assert (around[[0, -1]] == 7).all()


@needs_numba
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4028e38, 1e-40], ids=str)
@pytest.mark.parametrize("k", [0, 1, 6])
def test_special_numbers_spread_as_in_the_reference(value, k):
    a, w = np.ones((4, 7), np.float32), np.ones((7, 5), np.float32)
    a[2, k], w[k, 3] = value, 2
    ours, theirs = np.empty((2, 4, 5), np.float32)
    with np.errstate(invalid="ignore"):
        compiled.matmul(a, w, ours, bfloat16=True)
        reference.matmul(a, w, theirs, bfloat16=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert np.isfinite(ours[[0, 1, 3]]).all()


@needs_numba
@pytest.mark.parametrize("reset", [NO_RESETS, RESETS["some"]], ids=["whole", "reset"])
@pytest.mark.parametrize("name", LOOPS)
def test_loops_agree_with_the_reference(name, reset):
    arguments, results = window(name, 1, reset)
    ours, theirs = (run(kind, name, arguments, bfloat16=True) for kind in (compiled, reference))
    usual = run(reference, name, arguments)
    differs = False
    for k in results:
        most = abs(theirs[k]).max()
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-2, atol=1e-2 * most, err_msg=f"argument {k}")
        error, rounding = float(np.mean(abs(ours[k] - theirs[k]))), float(np.mean(abs(usual[k] - theirs[k])))
        assert error <= 0.05 * rounding  # both kernels round in the same places
        differs |= rounding > 0
    assert differs


@needs_numba
def test_the_instruction_of_the_processor_is_used(monkeypatch):
    if not HAS_BFLOAT16:
        pytest.skip("this processor has no AVX512-BF16")
    from numba import jit

    multiply = jit(compiled._multiply.py_func, **compiled._multiply.targetoptions)  # numba cannot show cached code
    monkeypatch.setattr(compiled, "_multiply", multiply)
    compiled.matmul(*np.ones((3, 8, 8), np.float32), bfloat16=True)
    assert any("vdpbf16ps" in assembly for assembly in multiply.inspect_asm().values())


def one_window(model, streams=B, **settings):
    """Return the loss and the gradient of a window, with the settings of ``model`` changed."""
    for name, value in settings.items():
        setattr(model, name, value)
    ids = generator(2, "check").integers(65, size=(T + 1, streams))
    loss, gradients, _ = model.loss_and_gradients(ids[:-1], ids[1:], model.initial_state(streams))
    return loss, gradients.flat.copy()


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("kind", ["reference", pytest.param("compiled", marks=needs_numba)])
@pytest.mark.parametrize("streams", [1, 7, 200])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_of_a_window_is_nearly_that_in_float32(cell, layers, streams, kind, monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", kind)
    model = CharRNN(ModelConfig(cell, 37, layers), 65, generator(1, "weights"))
    loss, gradient = one_window(model, streams)
    rounded_loss, rounded_gradient = one_window(model, streams, bfloat16=True)
    assert rounded_loss == pytest.approx(loss, rel=1e-3)
    error = np.linalg.norm(rounded_gradient - gradient) / np.linalg.norm(gradient)
    assert 1e-5 < error < 0.02
    again = one_window(model, streams)
    assert again[0] == rounded_loss
    assert again[1].tobytes() == rounded_gradient.tobytes()


@needs_numba
@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("embedding_size", [0, 6])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_is_nearly_the_same_with_both_kernels(cell, embedding_size, monkeypatch):
    """They round in the same places: their difference is far smaller than that to float32."""
    model = CharRNN(ModelConfig(cell, 37, 2, embedding_size=embedding_size), 65, generator(1, "weights"))
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    _, exact = one_window(model, kernels="reference")
    theirs, ours = (one_window(model, kernels=kind, bfloat16=True)[1] for kind in ("reference", "compiled"))
    assert np.linalg.norm(ours - theirs) < 0.3 * np.linalg.norm(theirs - exact)


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("kind", ["reference", pytest.param("compiled", marks=needs_numba)])
def test_losses_logits_and_activations_are_never_rounded(kind, monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", kind)
    model = CharRNN(ModelConfig("lstm", 37, 2), 65, generator(1, "weights"))
    ids = generator(2, "check").integers(65, size=(T + 1, B))
    results = []
    for model.bfloat16 in (False, True):
        one_window(model)
        losses, _ = model.losses(ids[:-1], ids[1:], model.initial_state(B))
        logits, _ = model.forward(ids, model.initial_state(B))
        layers, _ = model.activations(ids, model.initial_state(B))
        results.append([losses.tobytes(), logits.tobytes(),
                        *(array.tobytes() for layer in layers for array in layer.values())])
    assert results[0] == results[1]


@pytest.mark.usefixtures("unsupported")
@pytest.mark.parametrize("kind", ["reference", pytest.param("compiled", marks=needs_numba)])
def test_without_bfloat16_a_window_has_the_bits_of_float32(kind, monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", kind)
    model = CharRNN(ModelConfig("gru", 37), 65, generator(1, "weights"))
    expected, result = one_window(model), one_window(model, bfloat16=True)
    assert (expected[0], expected[1].tobytes()) == (result[0], result[1].tobytes())


def test_a_replica_computes_like_its_model():
    model = CharRNN(ModelConfig("rnn", 4), 5)
    model.kernels, model.bfloat16 = "reference", True
    twin = model.replica()
    assert (twin.kernels, twin.bfloat16) == ("reference", True)


@pytest.mark.parametrize(("precision", "dtype", "kind", "resolved"), [
    ("auto", "float32", "compiled", "bfloat16"), ("auto", "float64", "compiled", "float32"),
    ("auto", "float32", "reference", "float32"), ("float32", "float32", "compiled", "float32"),
    ("bfloat16", "float32", "compiled", "bfloat16"), ("bfloat16", "float64", "compiled", None),
    ("bfloat16", "float32", "reference", None)])
def test_the_precision_depends_on_the_kernels_and_the_dtype(precision, dtype, kind, resolved, monkeypatch):
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ("compiled",))
    if resolved is None:
        with pytest.raises(ConfigError, match=r"^precision: cannot be bfloat16 here: .* AVX512-BF16; use auto$"):
            resolve_precision(precision, dtype, kind)
    else:
        assert resolve_precision(precision, dtype, kind) == resolved


def test_the_reference_has_no_bfloat16(monkeypatch):
    """It rounds, which takes additional time."""
    monkeypatch.setenv("CHARRNN_KERNELS", "reference")
    assert not has_bfloat16("reference")
    assert not has_bfloat16("compiled")
