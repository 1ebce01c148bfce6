"""The reference kernels agree with definitions, the compiled kernels with the reference; the choice between them."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError, ConfigError
from charrnn.nn import kernels
from charrnn.nn.cells import CELLS
from charrnn.nn.kernels import reference
from charrnn.nn.model import CharRNN
from charrnn.randomness import generator

if importlib.util.find_spec("numba"):
    from charrnn.nn.kernels import compiled, jit
    from charrnn.nn.kernels.packed import add_product, multiply, pack
    from charrnn.nn.kernels.tile import COLUMNS, ROWS
else:
    compiled = None
needs_numba = pytest.mark.skipif(compiled is None, reason="numba is not installed (pip install '.[fast]')")
both = pytest.mark.parametrize("kind", [reference, pytest.param(compiled, marks=needs_numba)],
                               ids=["reference", "compiled"])

T, B, H = 4, 5, 37  # H is odd, so that vector loops have a remainder
NO_RESETS = np.zeros((T, B), bool)


@both
@pytest.mark.parametrize("size", [3, 256, 257, 5000])
def test_add_rows_sums_rows_by_id(kind, size):
    rng = np.random.default_rng(1)
    ids, rows = rng.integers(size, size=400), rng.standard_normal((400, 6)).astype(np.float32)
    total = rng.standard_normal((size, 6)).astype(np.float32)
    expected = total.astype(np.float64)
    np.add.at(expected, ids, rows)
    kind.add_rows(total, ids.astype(np.uint16), rows)
    np.testing.assert_allclose(total, expected, atol=1e-4)


@both
def test_cross_entropy_and_its_gradient_agree_with_their_formulas(kind):
    rng = np.random.default_rng(2)
    logits, targets = 5 * rng.standard_normal((9, 70)).astype(np.float32), rng.integers(70, size=9)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    work = logits.copy()
    losses = kind.softmax_cross_entropy(work, targets, 0.5)
    np.testing.assert_allclose(losses, -np.log(p[np.arange(9), targets]), rtol=1e-5)
    np.testing.assert_allclose(work, 0.5 * (p - np.eye(70)[targets]), atol=1e-6)
    np.testing.assert_allclose(kind.softmax_cross_entropy(logits.copy(), targets), losses)


@both
def test_cross_entropy_is_accurate_for_very_large_logits(kind):
    logits = np.array([[1e4, 0, -1e4]], np.float32)
    assert kind.softmax_cross_entropy(logits.copy(), np.array([2]))[0] == pytest.approx(2e4)
    assert kind.softmax_cross_entropy(logits.copy(), np.array([0]))[0] == 0


@both
def test_nan_reaches_the_result(kind):
    logits = np.zeros((2, 8), np.float32)
    logits[1, 3] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(kind.softmax_cross_entropy(logits, np.zeros(2, int))).tolist() == [False, True]
        x, hidden = np.array([[[0, np.nan, 1, 2]]], np.float32), np.zeros((2, 1, 4), np.float32)
        kind.rnn_forward(x, kind.pack(np.zeros((4, 4), np.float32)), hidden, NO_RESETS[:1, :1])
    assert np.isnan(hidden[1]).tolist() == [[False, True, False, False]]


def window(name, scale, reset=NO_RESETS):
    """Return random arguments for a loop over a window, and the indices of the arguments that it changes."""
    rng = np.random.default_rng(3)

    def draw(*shape):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    cell = name.partition("_")[0]
    gates = {"rnn": 1, "lstm": 4, "lnlstm": 3, "gru": 3}[cell]
    x, w_h = draw(T, B, gates * H), (rng.standard_normal((H, gates * H)) / H**0.5).astype(np.float32)
    hidden, others = np.tanh(draw(T + 1, B, H)), {
        "rnn": [], "lstm": [draw(T + 1, B, H)], "gru": [draw(T, B, H)],
        "lnlstm": [draw(T + 1, B, H), draw(T, B, 4 * H), draw(T, B, 4)]}[cell]
    vectors = [draw(H)] if name == "gru_forward" else [draw(4 * H), draw(4 * H)] if cell == "lnlstm" else []
    if name.endswith("forward"):
        arguments = [x, w_h, *vectors, hidden, *others]
        return [*arguments, reset], [k for k in range(cell == "rnn", len(arguments)) if k != 1 and arguments[k].ndim > 1]
    d_last = [draw(B, H)] * len(CELLS[cell].State._fields)
    kept = {"lstm": [], "lnlstm": [*vectors, draw(4 * H), draw(4 * H)]}.get(cell, [hidden])
    arguments = [draw(T, B, H), *(array.copy() for array in d_last), w_h, *kept, *others, np.tanh(x)]
    return [*arguments, reset], [k for k in range(1, len(arguments)) if arguments[k] is not w_h]


def run(kind, name, arguments, bfloat16=False):
    """Call a loop with copies of ``arguments``, in which the weights are packed; return the copies."""
    copies = [array.copy() for array in arguments]
    w_h = next(k for k, array in enumerate(arguments) if array.shape[0] == H and array.ndim == 2)
    packed = kind.pack(copies[w_h].T if name.endswith("backward") else copies[w_h], bfloat16)
    getattr(kind, name)(*copies[:w_h], packed, *copies[w_h + 1:])
    return copies


@needs_numba
@pytest.mark.parametrize("scale", [0.1, 1, 3])
@pytest.mark.parametrize("name", [f"{cell}_{way}" for cell in CELLS for way in ("forward", "backward")])
def test_compiled_loops_agree_with_the_reference(name, scale):
    arguments, results = window(name, scale)
    ours, theirs = run(compiled, name, arguments), run(reference, name, arguments)
    for k in results:
        most = abs(theirs[k]).max()
        assert most > 0
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-4, atol=3e-6 * most, err_msg=f"argument {k}")


RESETS = {"first": np.arange(T)[:, None] == np.zeros(B), "all": ~NO_RESETS,
         "some": np.random.default_rng(7).random((T, B)) < 0.4}


@needs_numba
@pytest.mark.parametrize("reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("name", [f"{cell}_{way}" for cell in CELLS for way in ("forward", "backward")])
def test_both_kernels_start_documents_in_the_same_way(name, reset):
    arguments, results = window(name, 1, reset)
    ours, theirs = run(compiled, name, arguments), run(reference, name, arguments)
    usual = run(reference, name, [*arguments[:-1], NO_RESETS])
    for k in results:
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-4, atol=3e-6 * abs(theirs[k]).max(), err_msg=f"argument {k}")
    assert any(abs(theirs[k] - usual[k]).max() > 0.01 for k in results)
    if name.endswith("backward"):
        for d_first in (ours[1], *([ours[2]] if "lstm" in name else [])):
            assert not d_first[reset[0]].any()
            assert d_first[~reset[0]].all()


@both
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_of_nan_ends_with_its_document(kind, cell):
    arguments, _ = window(f"{cell}_forward", 1, RESETS["first"])
    for state in arguments[2:-1]:
        if state.shape == (T + 1, B, H):
            state[0] = np.nan
    results = run(kind, f"{cell}_forward", arguments)
    assert all(np.isfinite(array[1:]).all() for array in results if array.shape == (T + 1, B, H))


@pytest.mark.parametrize("cell", CELLS)
def test_the_reference_gives_the_same_result_for_few_and_many_streams(cell):
    """The result of a stream does not depend on the number of streams."""
    model = CharRNN(ModelConfig(cell, hidden_size=520), 9, generator(1, "weights"), np.float64)
    ids = generator(2, "check").integers(9, size=(9, 40))
    many, _ = model.forward(ids, model.initial_state(40))
    few, _ = model.forward(ids[:, :24], model.initial_state(24))
    np.testing.assert_allclose(few, many[:, :24], rtol=1e-10, atol=1e-12)


@needs_numba
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 64), (2, 3, 65), (6, 300, 128), (7, 128, 200), (64, 5, 63),
                                   (25, 64, 16), (3, 5000, 70)])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_product_with_packed_weights_is_correct(shape, transposed):
    rows, depth, columns = shape
    rng = np.random.default_rng(4)
    a, w = rng.standard_normal((rows, depth)), rng.standard_normal((depth, columns))
    packed = pack((np.ascontiguousarray(w.T).T if transposed else w).astype(np.float32), COLUMNS)
    around = np.full((rows + 2, columns), 7, np.float32)  # neither the row before nor the row after may change
    add_product(a.astype(np.float32), packed, around[1:-1])
    np.testing.assert_allclose(around[1:-1], 7 + a @ w, atol=1e-5 * depth)
    assert (around[[0, -1]] == 7).all()
    multiply(pack(a.T.astype(np.float32), ROWS), packed, around[1:-1])
    np.testing.assert_allclose(around[1:-1], a @ w, atol=1e-5 * depth)
    assert (around[[0, -1]] == 7).all()


@both
def test_adam_agrees_with_its_formula(kind):
    rng = np.random.default_rng(5)
    w, g, mean, square = rng.standard_normal((4, 133)).astype(np.float32)
    square = square**2
    m, s = 0.9 * mean.astype(float) + 0.1 * g, 0.99 * square.astype(float) + 0.01 * g.astype(float)**2
    expected = w - 0.02 * m / (1.5 * np.sqrt(s) + 1e-8)
    kind.adam(w, g, mean, square, 0.9, 0.99, 0.02, 1.5, 1e-8)
    for array, right in ((mean, m), (square, s), (w, expected)):
        np.testing.assert_allclose(array, right, rtol=1e-5, atol=1e-6)


@needs_numba
@pytest.mark.parametrize("embedding_size", [0, 6])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_is_the_same_with_both_kernels(cell, embedding_size, monkeypatch):
    model = CharRNN(ModelConfig(cell, hidden_size=H, layers=2, embedding_size=embedding_size), 65, generator(1, "weights"))
    ids = generator(2, "check").integers(65, size=(31, B))
    results = []
    for kind in ("reference", "compiled"):
        monkeypatch.setenv("CHARRNN_KERNELS", kind)
        loss, gradients, state = model.loss_and_gradients(ids[:-1], ids[1:], model.initial_state(B))
        results.append((loss, gradients.flat.copy(), np.concatenate([array for layer in state for array in layer])))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for one, other in zip(results[0][1:], results[1][1:]):
        # A small variance in the normalization amplifies the rounding of both kernels.
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=2e-5 if cell == "lnlstm" else 1e-6)


@pytest.mark.parametrize("kind", ["reference", pytest.param("compiled", marks=needs_numba)])
@pytest.mark.parametrize("cell", CELLS)
def test_the_result_has_the_same_bits_if_no_document_starts(cell, kind, monkeypatch):
    """This also holds after a window in which documents start."""
    monkeypatch.setenv("CHARRNN_KERNELS", kind)
    model = CharRNN(ModelConfig(cell, hidden_size=H, layers=2), 65, generator(1, "weights"))
    ids = generator(2, "check").integers(65, size=(T + 1, B))
    results = []
    for reset in (None, RESETS["some"], None, NO_RESETS):
        window = model.window(ids[:-1], ids[1:], model.initial_state(B), reset=reset)
        results.append([window.gradients.flat.tobytes(), *(array.tobytes() for layer in (*window.state, *window.d_state)
                                                           for array in layer), window.loss])
    assert results[0] == results[2] == results[3] != results[1]


def test_float64_uses_the_reference(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    assert kernels.kernels_for(np.float64) is reference


def test_kernels_can_be_preferred(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    assert kernels.kernels_for(np.float32, "reference") is reference
    assert kernels.describe_kernels(np.float32, "reference") == "reference"
    with pytest.raises(ConfigError, match="kernels: must be reference or compiled, not 'fortran'"):
        kernels.kernels_for(np.float32, "fortran")
    if compiled is not None:
        assert kernels.kernels_for(np.float32, "compiled") is compiled
        monkeypatch.setenv("CHARRNN_KERNELS", "reference")
        assert kernels.kernels_for(np.float32, "compiled") is reference
        monkeypatch.setenv("CHARRNN_KERNELS", "compiled")
        assert kernels.kernels_for(np.float32, "reference") is compiled


@needs_numba
def test_a_model_uses_its_kernels(monkeypatch):
    """The two kernels round differently."""
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    model = CharRNN(ModelConfig(hidden_size=H), 65, generator(1, "weights"))
    ids = generator(2, "check").integers(65, size=(T + 1, B))
    results = {}
    for model.kernels in (None, "compiled", "reference"):
        losses, _ = model.losses(ids[:-1], ids[1:], model.initial_state(B))
        _, gradients, _ = model.loss_and_gradients(ids[:-1], ids[1:], model.initial_state(B))
        results[model.kernels] = losses.tobytes() + gradients.flat.tobytes()
    assert results[None] == results["compiled"] != results["reference"]


def test_the_environment_variable_selects_the_kernels(monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", "reference")
    assert kernels.kernels_for(np.float32) is reference
    assert kernels.describe_kernels(np.float32) == "reference"
    monkeypatch.setenv("CHARRNN_KERNELS", "fortran")
    with pytest.raises(CharRNNError, match="must be reference or compiled"):
        kernels.kernels_for(np.float32)


@needs_numba
def test_compiled_kernels_are_used_if_numba_works(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    assert kernels.kernels_for(np.float32) is compiled
    assert kernels.describe_kernels(np.float32).startswith("compiled, numba ")


def test_without_numba_the_reference_is_used_and_compiled_is_refused(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    monkeypatch.setattr(kernels, "_numba_is_installed", lambda: False)
    assert kernels.kernels_for(np.float32) is reference
    monkeypatch.setenv("CHARRNN_KERNELS", "compiled")
    with pytest.raises(CharRNNError, match=r"numba is not installed; pip install .*fast"):
        kernels.kernels_for(np.float32)


# A numba that does not work

BROKEN = {
    "too old for NumPy": ("numba/__init__.py", 'raise ImportError("Numba needs NumPy 1.9 or less.\\nGot NumPy 2.4")',
                          r"ImportError: Numba needs NumPy 1\.9 or less\."),
    "without a private part": ("numba/__init__.py", "njit = types = None", "ModuleNotFoundError: .*"),
    "another exception": ("numba/__init__.py", "raise SystemError", "SystemError: "),
}
USE = """
import warnings
import numpy as np
from charrnn import CharRNN, ModelConfig
model, ids = CharRNN(ModelConfig(hidden_size=8), 5, np.random.default_rng(1)), np.ones((4, 3), int)
for _ in range(3):
    warnings.warn("another", UserWarning)
    model.loss_and_gradients(ids, ids, model.initial_state(3))
from charrnn.nn.kernels import describe_kernels
print(describe_kernels("float32"))
"""


@pytest.mark.parametrize(("name", "content", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_numba_that_does_not_work_is_reported_once_and_the_reference_is_used(name, content, reason, tmp_path):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(content)
    environment = {key: value for key, value in os.environ.items() if key != "CHARRNN_KERNELS"}
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-W", "always", "-c", USE], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "reference\n"), done.stderr
    warnings = [line for line in done.stderr.splitlines() if "RuntimeWarning: " in line]
    assert len(warnings) == 1
    assert re.search(rf"RuntimeWarning: numba \S+ does not work here \({reason}\); using the reference kernels, which are "
                     r"slower \(pip install '\.\[fast\]' installs a tested version\)$", warnings[0])
    command = [sys.executable, "-m", "charrnn", "train", "--steps", "1", "--hidden-size", "8", "--quiet"]
    (tmp_path / "run").mkdir()
    done = subprocess.run([*command, "--name", "a"], env=environment, capture_output=True, text=True, cwd=tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"Warning: numba \S+ does not work here \({reason}\); .*\n", done.stderr)
    environment["CHARRNN_KERNELS"] = "compiled"
    done = subprocess.run([*command, "--name", "b"], env=environment, capture_output=True, text=True, cwd=tmp_path / "run")
    assert done.returncode == 1
    assert re.fullmatch(rf"Error: CHARRNN_KERNELS=compiled is set, but numba \S+ does not work here \({reason}\); "
                        r"pip install '\.\[fast\]' installs a tested version\n", done.stderr)


@needs_numba
def test_a_product_that_is_compiled_incorrectly_is_detected(monkeypatch):
    monkeypatch.setattr(compiled, "_three_rows", lambda a, panel, out: out.fill(1))
    with pytest.raises(ArithmeticError, match="a compiled product is wrong"):
        compiled.check()


@needs_numba
def test_the_cache_of_every_kernel_depends_on_the_products():
    cached = [function for function in vars(compiled).values()
              if type(getattr(function, "_cache", None)).__name__ == "FunctionCache"]
    assert len(cached) == 15
    assert all(function.py_func.__qualname__.endswith(f"_{jit.VERSION}") for function in cached)


@needs_numba
def test_cached_kernels_are_compiled_again_when_the_packed_product_changes(tmp_path):
    """Numba does not detect the change, because the functions of packed.py are compiled into those of compiled.py."""
    package = Path(charrnn.__file__).parent
    shutil.copytree(package, tmp_path / "charrnn", ignore=shutil.ignore_patterns("__pycache__"))
    program = """
import numpy as np
from charrnn.nn.kernels import compiled
one = np.ones((1, 1), np.float32)
print(compiled.__file__, compiled.pack(one)[0, 0, 0])
"""
    packed = tmp_path / "charrnn" / "nn" / "kernels" / "packed.py"
    environment = {**os.environ, "NUMBA_CACHE_DIR": ""}

    def first_number():
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True,
                              cwd=tmp_path)
        file, number = done.stdout.split()
        assert Path(file).parent == packed.parent
        return float(number)

    assert [first_number(), first_number()] == [1, 1]
    source = packed.read_text(encoding="utf-8")
    changed = source.replace("panel_row[j] = row[j]", "panel_row[j] = 2 * row[j]")
    assert changed != source
    packed.write_text(changed, encoding="utf-8")
    assert first_number() == 2


@needs_numba
@pytest.mark.parametrize("config", [{"cell": "rnn"}, {"cell": "gru", "layers": 2, "dropout": 0.5, "embedding_size": 3},
                                    {"cell": "lstm", "weight_drop": 0.5, "embedding_size": 3},
                                    {"cell": "lnlstm", "layers": 2, "weight_drop": 0.5}],
                         ids=lambda config: config["cell"])
def test_nothing_is_compiled_while_the_steps_are_timed(config):
    program = f"""
from numba.core.registry import CPUDispatcher
from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer
from charrnn.nn import kernels
from charrnn.nn.kernels import compiled

kernels._kernels_with_bfloat16 = lambda: ("compiled",)

def signatures():
    return {{name: function.signatures for name, function in vars(compiled).items() if isinstance(function, CPUDispatcher)}}

corpus = Corpus.from_text("the quick brown fox jumps over the lazy dog" * 20)
for precision in ("float32", "bfloat16"):
    run = Run.start(corpus, ModelConfig(hidden_size=37, **{config}), TrainConfig(
        steps=4, batch_size=3, seq_len=8, threads=2, precision=precision))
    trainer = Trainer(run, corpus)
    before = signatures()
    assert any(before.values())
    assert any([step.validation_loss for step in trainer])
    assert signatures() == before, precision
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                            env={**os.environ, "CHARRNN_KERNELS": "compiled"})
    assert result.returncode == 0, result.stderr
