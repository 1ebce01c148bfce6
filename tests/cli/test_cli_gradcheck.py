"""charrnn gradcheck"""

from __future__ import annotations

from typing import Any

import pytest
from command_line import Cli


def test_gradcheck_shows_a_table_and_exits_with_0(cli: Cli) -> None:
    answer = cli("gradcheck", "--hidden-size", 4, "--layers", 1, "--dropout", 0.5, "--embedding-size", 2, "--seed", 3)
    assert (answer.code, answer.err) == (0, "")
    for text in ("rnn", "lstm", "lnlstm", "gru", "layer0/w_h", "output/b", "embedding/w", "state/layer0/cell",
                 "layer0/gain"):
        assert text in answer.out
    assert "FAIL" not in answer.out
    checked = answer.out.count(" ok\n")
    assert answer.out.splitlines()[-1].startswith(f"{checked} of {checked} gradients agree")


def test_gradcheck_exits_with_1_if_a_gradient_is_wrong(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.nn.cells.rnn import RNN

    backward = RNN.backward

    def wrong(self: Any, d_hidden: Any, d_state: Any, work: Any, gradients: Any) -> Any:
        answer = backward(self, d_hidden, d_state, work, gradients)
        gradients["layer0/w_h"][0, 0] += 1e-5
        return answer

    monkeypatch.setattr(RNN, "backward", wrong)
    answer = cli("gradcheck", "--cell", "rnn", "--hidden-size", 2, "--layers", 1)
    assert answer.code == 1
    assert [line.split()[0] for line in answer.out.splitlines() if line.endswith("FAIL")] == ["layer0/w_h"]
    assert cli("gradcheck", "--cell", "lstm", "--hidden-size", 2, "--layers", 1).code == 0
