"""charrnn.errors"""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import CheckpointError, ConfigError, printable
from charrnn.training.run import Run


def test_what_is_not_printable_is_written_as_escapes() -> None:
    assert printable("naïve 文字\t\x1b[2J\r\n\u202e\udc80") == "naïve 文字\\t\\x1b[2J\\r\\n\\u202e\\udc80"


def test_a_message_is_one_line_whatever_it_names(tmp_path: Path) -> None:
    assert str(ConfigError("a\nb", "is not known")) == "a\\nb: is not known"
    (tmp_path / "a\nb\x1b.h5").write_text("")
    with pytest.raises(CheckpointError) as error:
        Run.load(tmp_path / "a\nb\x1b.h5")
    assert str(error.value) == (f"{tmp_path}/a\\nb\\x1b.h5: not a valid checkpoint: invalid footer: the file is truncated, "
                                f"modified or not a checkpoint")
