"""charrnn.config"""

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from charrnn.config import (
    CELL_NAMES,
    DEFAULT_MINUTES,
    EMBEDDING_SIZE,
    END,
    FORMER_SETTINGS,
    LEARNING_RATES,
    MOST_VALIDATION,
    ModelConfig,
    TextConfig,
    TrainConfig,
    check_range,
    from_dict,
    to_dict,
    validation_fraction,
)
from charrnn.errors import ConfigError
from charrnn.nn.cells import CELLS

NAN, INF = math.nan, math.inf
NOT_FINITE = (NAN, INF, -INF)
NOT_INT = (True, 2.0, NAN, INF, "2", [2])
NOT_FLOAT = (True, "0.5", [0.5], 1j)
NOT_TEXT = (3, True, b"lstm", ["lstm"], "", "LSTM")

INVALID = {
    TextConfig: {
        "encoding": (3, True, b"utf-8", ["utf-8"], "", "no-such", "rot13", "undefined", "utf-8\0", None),
        "errors": (*NOT_TEXT, "surrogateescape", None),
        "level": (*NOT_TEXT, "word", None),
        "normalize": (*NOT_TEXT, "nfc", "NFD", None),
        "lowercase": (0, 1, "yes", None),
        "min_count": (*NOT_INT, 0, -1, 2**62 + 1, 2**63, None),
        "documents": (*NOT_TEXT, "line", "Lines"),
        "separator": (3, True, b"x", ["x"], ""),
        "column": (3, True, b"x", ["x"], ""),
        "shuffle_seed": (*NOT_INT, -1, 2**62 + 1, 2**63, None),
        "group_copies": (0, 1, "yes", None),
        "glob": (3, True, b"*", "", "/*.txt", ".", "./", "a\0b", None),
    },
    ModelConfig: {
        "cell": (*NOT_TEXT, "transformer", None),
        "hidden_size": (*NOT_INT, 0, -1, 2**16 + 1, 2**63, None),
        "layers": (*NOT_INT, 0, -1, 101, 2**63, None),
        "dropout": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1, 2.0, None),
        "embedding_size": (*NOT_INT, -1, 2**16 + 1, 2**63),
        "weight_drop": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1, 2.0, None),
    },
    TrainConfig: {
        "batch_size": (*NOT_INT, 0, -1, 2**16 + 1, 2**63, None),
        "seq_len": (*NOT_INT, 0, -1, 2**20 + 1, 2**63, None),
        "stateful": (0, 1, "yes", None),
        "reset": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.1, 2, None),
        "epochs": (*NOT_FLOAT, *NOT_FINITE, 0.0, 0, -1.0),
        "steps": (*NOT_INT, 0, -1, 2**63),
        "minutes": (*NOT_FLOAT, *NOT_FINITE, 0.0, 0, -1.0),
        "optimizer": (*NOT_TEXT, "lion", None),
        "learning_rate": (*NOT_FLOAT, *NOT_FINITE, 0.0, 0, -0.1),
        "schedule": (*NOT_TEXT, "linear", None),
        "warmup": (*NOT_INT, -1, 2**63, None),
        "weight_decay": (*NOT_FLOAT, *NOT_FINITE, -0.1),
        "beta1": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1, None),
        "beta2": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1, None),
        "momentum": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1, None),
        "clip_norm": (*NOT_FLOAT, *NOT_FINITE, -0.1, None),
        "clip_value": (*NOT_FLOAT, *NOT_FINITE, -0.1, None),
        "validation": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1),
        "test": (*NOT_FLOAT, *NOT_FINITE, -0.1, 1.0, 1, None),
        "eval_every": (*NOT_INT, 0, -1, 2**63),
        "patience": (*NOT_INT, 0, -1, 2**63),
        "checkpoint_every": (*NOT_INT, 0, -1, 2**63),
        "checkpoint_minutes": (*NOT_FLOAT, *NOT_FINITE, 0.0, 0, -1.0, None),
        "recover": (0, 1, "yes", None),
        "samples": (0, 1, "yes", None),
        "sample_every": (*NOT_INT, 0, -1, 2**63),
        "keep": (*NOT_INT, -1, 2**63, None),
        "precision": (*NOT_TEXT, "float64", None),
        "seed": (*NOT_INT, -1, 2**63, None),
        "threads": (*NOT_INT, 0, -1, 2**63),
    },
}
INVALID_CASES = [(kind, name, value) for kind, fields in INVALID.items() for name, values in fields.items()
                 for value in values]

VALID = [
    (TextConfig, "encoding", ("utf-8", "utf-16", "cp1252")), (TextConfig, "errors", ("strict", "replace", "ignore")),
    (TextConfig, "level", ("char", "byte")), (TextConfig, "normalize", ("none", "NFC", "NFKC")),
    (TextConfig, "lowercase", (True, False)), (TextConfig, "min_count", (1, 2, 2**62)),
    (TextConfig, "documents", ("lines", "paragraphs", "files", None)), (TextConfig, "separator", ("\n", " ", "---", None)),
    (TextConfig, "column", ("name", " ", "\n", None)),
    (TextConfig, "shuffle_seed", (0, 2**62)), (TextConfig, "group_copies", (True, False)),
    (TextConfig, "glob", ("*", "a/*.py", "..")),
    (ModelConfig, "hidden_size", (1, 2**16)), (ModelConfig, "layers", (1, 100)), (ModelConfig, "dropout", (0, 0.5, 0.9999)),
    (ModelConfig, "weight_drop", (0, 0.5, 0.9999)),
    (ModelConfig, "embedding_size", (0, 1, 2**16)), (ModelConfig, "cell", ("lstm", "lnlstm", "gru", "rnn")),
    (TrainConfig, "batch_size", (1, 2**16)), (TrainConfig, "seq_len", (1, 2**20)), (TrainConfig, "stateful", (True, False)),
    (TrainConfig, "epochs", (0.001, 3, 1e6, None)), (TrainConfig, "steps", (1, 2**63 - 1, None)),
    (TrainConfig, "minutes", (0.001, 3, 1e6, None)), (TrainConfig, "optimizer", ("adam", "rmsprop", "adagrad", "sgd")),
    (TrainConfig, "learning_rate", (1e-12, 1, 1e6, None)), (TrainConfig, "schedule", ("cosine", "step", "constant")),
    (TrainConfig, "warmup", (0, 2**63 - 1)), (TrainConfig, "weight_decay", (0, 10.0, None)),
    (TrainConfig, "reset", (0, 0.2, 1)),
    (TrainConfig, "momentum", (0, 0.999)), (TrainConfig, "beta1", (0, 0.999)), (TrainConfig, "beta2", (0, 0.999)),
    (TrainConfig, "clip_norm", (0, 1e9)), (TrainConfig, "clip_value", (0, 1e9)),
    (TrainConfig, "validation", (0, 0.9)), (TrainConfig, "test", (0, 0.8)), (TrainConfig, "eval_every", (1, None)),
    (TrainConfig, "checkpoint_every", (1, None)), (TrainConfig, "checkpoint_minutes", (0.001, 60)),
    (TrainConfig, "recover", (True, False)), (TrainConfig, "samples", (True, False)),
    (TrainConfig, "sample_every", (1, None)), (TrainConfig, "keep", (0, 2**63 - 1)),
    (TrainConfig, "patience", (1, None)), (TrainConfig, "seed", (0, 2**63 - 1)), (TrainConfig, "threads", (1, None)),
    (TrainConfig, "precision", ("auto", "float32", "bfloat16")),
]
VALID_CASES = [(kind, name, value) for kind, name, values in VALID for value in values]


@pytest.mark.parametrize("kind", [TextConfig, ModelConfig, TrainConfig])
def test_the_tables_contain_every_setting(kind):
    names = {item.name for item in dataclasses.fields(kind)}
    assert set(INVALID[kind]) == names
    assert {name for of, name, _ in VALID if of is kind} == names


@pytest.mark.parametrize(("kind", "name", "value"), INVALID_CASES)
def test_rejects_a_setting_out_of_range_or_of_the_wrong_type_and_names_it(kind, name, value):
    with pytest.raises(ConfigError) as caught:
        kind(**{name: value})
    assert caught.value.field == name
    assert str(caught.value) == f"{name}: {caught.value.problem}"
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("kind", "name", "value"), VALID_CASES)
def test_accepts_a_setting_at_its_limits(kind, name, value):
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize("value", [10**400, -10**400], ids=["positive", "negative"])
@pytest.mark.parametrize(("kind", "name"), [
    (ModelConfig, "hidden_size"), (ModelConfig, "dropout"), (TrainConfig, "epochs"), (TrainConfig, "learning_rate"),
    (TrainConfig, "steps"), (TrainConfig, "clip_norm"), (TrainConfig, "seed")])
def test_rejects_an_integer_too_large_for_a_float_and_names_the_setting(kind, name, value):
    with pytest.raises(ConfigError) as caught:
        kind(**{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize(("kind", "name", "value", "limit"), [
    (ModelConfig, "hidden_size", 65_537, 65_536), (ModelConfig, "layers", 101, 100),
    (TrainConfig, "seq_len", 1_048_577, 1_048_576), (TrainConfig, "batch_size", 1_234_567, 65_536)])
def test_an_error_states_the_exact_limit_and_value(kind, name, value, limit):
    with pytest.raises(ConfigError) as caught:
        kind(**{name: value})
    words = caught.value.problem.replace(",", "").split()
    assert str(limit) in words
    assert str(value) in words


@pytest.mark.parametrize("value", [1.0, 1, 1.0000001])
def test_a_fraction_must_be_below_one(value):
    with pytest.raises(ConfigError, match="must be below 1"):
        ModelConfig(dropout=value)


def test_an_integer_becomes_a_float():
    config = TrainConfig(epochs=3)
    assert type(config.epochs) is float
    assert config == TrainConfig(epochs=3.0)


@pytest.mark.parametrize("given", [
    {"epochs": 1.0, "steps": 5}, {"epochs": 1.0, "minutes": 2.0}, {"steps": 5, "minutes": 2.0},
    {"epochs": 1.0, "steps": 5, "minutes": 2.0}])
def test_only_one_length_may_be_set(given):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**given)
    assert caught.value.field in given
    assert len([name for name in given if name in str(caught.value)]) >= 2


@pytest.mark.parametrize(("given", "budget"), [
    ({}, DEFAULT_MINUTES), ({"minutes": 7}, 7.0), ({"steps": 5}, None), ({"epochs": 2}, None)])
def test_the_budget_is_minutes_or_none(given, budget):
    assert TrainConfig(**given).budget == budget


def test_patience_needs_a_validation_part():
    with pytest.raises(ConfigError, match="validation") as caught:
        TrainConfig(patience=3, validation=0)
    assert caught.value.field == "patience"
    assert TrainConfig(patience=3, validation=0.1).patience == 3


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.9, 0.2), (0.25, 0.75)])
def test_validation_and_test_must_leave_text_to_train_on(validation, test):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(validation=validation, test=test)
    assert caught.value.field == "test"


def test_each_optimizer_has_a_default_learning_rate():
    choices = {item.name: item.metadata["range"]["choices"] for item in dataclasses.fields(TrainConfig)}["optimizer"]
    assert set(LEARNING_RATES) == set(choices)
    assert all(TrainConfig(learning_rate=rate) for rate in LEARNING_RATES.values())


def test_dropout_is_off_by_default():
    assert (ModelConfig().dropout, ModelConfig().weight_drop) == (0, 0)


def test_a_file_without_a_newer_setting_describes_a_run_that_did_not_have_it():
    config = from_dict(TrainConfig, {})
    assert (config.reset, config.weight_decay, config.precision) == (0, 0, "float32")
    assert (config.beta1, config.beta2) == (0.9, 0.99)
    assert TrainConfig().reset > 0


@pytest.mark.parametrize("kind", [TextConfig, ModelConfig, TrainConfig])
def test_every_setting_has_help(kind):
    assert all(item.metadata["help"].endswith(".") for item in dataclasses.fields(kind))


@pytest.mark.parametrize("config", [TextConfig(), ModelConfig(), TrainConfig()])
def test_a_config_cannot_be_changed(config):
    for item in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, item.name, getattr(config, item.name))


CONFIGS = [TextConfig(), TextConfig("latin-1", "replace", "char", "NFKC", True, 3, "lines", None, None, 0, False, "*.py"),
           TextConfig(separator="\n---\n"), TextConfig(column="name"),
           ModelConfig(), ModelConfig("gru", 7, 3, 0.25, 5), TrainConfig(),
           TrainConfig(batch_size=3, steps=9, optimizer="sgd", learning_rate=0.1, validation=0, seed=2**63 - 1, threads=2),
           TrainConfig(epochs=1, stateful=False, test=0.3, patience=4)]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_can_be_restored_from_its_values(config):
    values = to_dict(config)
    assert from_dict(type(config), values) == config
    assert from_dict(type(config), json.loads(json.dumps(values))) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_a_missing_setting_takes_its_value_for_older_files(config):
    values = to_dict(config)
    for item in dataclasses.fields(config):
        rest = {name: value for name, value in values.items() if name != item.name}
        try:
            expected = dataclasses.replace(config, **{item.name: item.metadata["absent"]})
        except ConfigError:  # the default cannot be combined with the other settings
            continue
        assert from_dict(type(config), rest) == expected


def test_the_value_for_older_files_may_differ_from_the_default(monkeypatch):
    """If a new setting changes the default behaviour, older files keep the old behaviour."""
    (item,) = (item for item in dataclasses.fields(ModelConfig) if item.name == "layers")
    monkeypatch.setattr(item, "metadata", {**item.metadata, "absent": 7})
    assert from_dict(ModelConfig, {"cell": "gru"}) == ModelConfig(cell="gru", layers=7)
    assert from_dict(ModelConfig, {"layers": 2}) == ModelConfig("lstm", layers=2)
    assert ModelConfig().layers == 1
    assert ModelConfig().cell != "lstm"


@pytest.mark.parametrize("config", CONFIGS)
def test_rejects_an_unknown_setting(config):
    with pytest.raises(ValueError, match=r"^unknown setting 'attention'$"):
        from_dict(type(config), {**to_dict(config), "attention": 1})


def test_converts_a_setting_that_was_renamed_or_removed(monkeypatch):
    monkeypatch.setitem(FORMER_SETTINGS, ("TrainConfig", "bptt"), lambda value: {"seq_len": value})
    monkeypatch.setitem(FORMER_SETTINGS, ("TrainConfig", "nesterov"), lambda value: {})
    assert from_dict(TrainConfig, {"bptt": 12, "nesterov": True, "steps": 3}) == TrainConfig(
        seq_len=12, steps=3, precision="float32", reset=0, weight_decay=0, beta1=0.9, beta2=0.99)
    with pytest.raises(ConfigError, match="seq_len: must be at least 1"):
        from_dict(TrainConfig, {"bptt": 0})
    with pytest.raises(ValueError, match="unknown setting 'bptt'"):
        from_dict(ModelConfig, {"bptt": 12})


def test_stored_values_are_checked_like_arguments():
    with pytest.raises(ConfigError) as caught:
        from_dict(ModelConfig, {**to_dict(ModelConfig()), "layers": True})
    assert caught.value.field == "layers"


@pytest.mark.parametrize(("value", "kind", "limits"), [
    (0, int, {"least": 1}), (0.0, float, {"above": 0}), (1.0, float, {"below": 1}), (1.5, float, {"most": 1}),
    ("x", str, {"choices": ("y", "z")}), (None, int, {})])
def test_check_range_uses_the_given_name(value, kind, limits):
    with pytest.raises(ConfigError, match=r"^top_k: must ") as caught:
        check_range("top_k", value, kind, **limits)
    assert caught.value.field == "top_k"


@pytest.mark.parametrize("module", ["charrnn", "charrnn.config", "charrnn.errors"])
def test_a_module_can_be_imported_without_numpy(module):
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('numpy', 'h5py', 'numba', 'click')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_cell_is_a_choice_and_has_a_learning_rate():
    (cell,) = [item for item in dataclasses.fields(ModelConfig) if item.name == "cell"]
    assert set(cell.metadata["range"]["choices"]) == set(CELLS) == set(CELL_NAMES)
    assert {name: kind.LEARNING_RATE_FACTOR for name, kind in CELLS.items()} == {
        "lstm": 1.0, "lnlstm": 5 / 3, "gru": 0.5, "rnn": 0.2}


# Settings of the text

@pytest.mark.parametrize(("name", "known"), [("UTF8", "utf-8"), ("latin-1", "iso8859-1"), ("UTF_16", "utf-16")])
def test_an_encoding_is_stored_under_one_name(name, known):
    assert TextConfig(encoding=name) == TextConfig(encoding=known)
    assert TextConfig(encoding=name).encoding == known


@pytest.mark.parametrize("given", [{"encoding": "latin-1"}, {"errors": "ignore"}, {"normalize": "NFC"},
                                   {"lowercase": True}, {"column": "name"}])
def test_settings_that_apply_to_characters_cannot_be_combined_with_bytes(given):
    with pytest.raises(ConfigError, match="cannot be combined with level='byte'") as caught:
        TextConfig(level="byte", **given)
    assert caught.value.field in given
    assert TextConfig(level="byte", encoding="UTF8", min_count=2, documents="lines")


@pytest.mark.parametrize(("given", "field", "other"), [
    ({"documents": "lines", "separator": "x"}, "separator", "documents"),
    ({"documents": "files", "column": "x"}, "column", "documents"),
    ({"separator": "x", "column": "x"}, "column", "separator"),
    ({"documents": "files", "separator": "x", "column": "x"}, "separator", "documents")], ids=str)
def test_documents_can_be_defined_in_one_way_only(given, field, other):
    with pytest.raises(ConfigError, match=f"cannot be combined with {other}; leave out one of them") as caught:
        TextConfig(**given)
    assert caught.value.field == field


@pytest.mark.parametrize(("given", "unit", "end"), [
    ({}, None, None), ({"documents": "lines"}, "line", "\n"), ({"documents": "paragraphs"}, "paragraph", END),
    ({"documents": "files"}, "file", END), ({"separator": "\n"}, "document", END), ({"column": "lines"}, "document", END)],
    ids=str)
def test_documents_other_than_lines_end_with_a_mark_that_no_text_contains(given, unit, end):
    config = TextConfig(**given)
    assert (config.unit, config.end) == (unit, end)
    assert 0xD800 <= ord(END) < 0xE000


# Settings of older files

@pytest.mark.parametrize("before", [{}, {"reset_at_files": False}, {"reset_at_files": True}], ids=str)
def test_lines_of_older_files_become_documents_whose_copies_are_not_grouped(before):
    assert from_dict(TextConfig, {"lines": True, **before}) == TextConfig(documents="lines", group_copies=False)
    assert from_dict(TextConfig, {"lines": False, **before}) == TextConfig()
    assert from_dict(TextConfig, {"lines": True, "shuffle_seed": 5, "min_count": 2, **before}) == TextConfig(
        documents="lines", shuffle_seed=5, min_count=2, group_copies=False)
    assert TextConfig().group_copies


# Defaults that depend on the text

@pytest.mark.parametrize(("size", "embedding"), [(1, 0), (1000, 0), (1001, EMBEDDING_SIZE), (10**6, EMBEDDING_SIZE)])
def test_large_vocabularies_have_an_embedding_by_default(size, embedding):
    assert ModelConfig().for_vocabulary(size) == ModelConfig(embedding_size=embedding)
    for given in (0, 7):
        assert ModelConfig(embedding_size=given).for_vocabulary(size).embedding_size == given


@pytest.mark.parametrize(("characters", "distinct", "fraction"), [
    (1, 1, 0.1), (0, 0, 0.1), (10**7, 1000, 0.1), (10**8, 9, 0.01), (10**7, 10**4, 0.01), (10**6, 10**4, 0.1)])
def test_the_validation_fraction_is_smaller_for_long_texts_and_for_many_distinct_characters(characters, distinct, fraction):
    assert validation_fraction(None, characters, distinct) == pytest.approx(fraction)
    assert validation_fraction(0.3, characters, distinct) == 0.3
    assert validation_fraction(0.0, characters, distinct) == 0.0
    assert validation_fraction(None, characters, distinct) * characters <= MOST_VALIDATION


def test_the_default_validation_fraction_counts_as_a_tenth():
    assert TrainConfig(patience=1).validation is None
    with pytest.raises(ConfigError) as caught:
        TrainConfig(test=0.9)
    assert caught.value.field == "test"
    assert TrainConfig(test=0.89)
