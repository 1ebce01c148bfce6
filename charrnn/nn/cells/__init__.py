"""The recurrent cells, by the name that a config gives them."""

from __future__ import annotations

from charrnn.nn.cells.cell import Cell
from charrnn.nn.cells.gru import GRU
from charrnn.nn.cells.lstm import LSTM
from charrnn.nn.cells.rnn import RNN

CELLS: dict[str, type[Cell]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
