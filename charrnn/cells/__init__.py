"""The recurrent cells, by the name that a config gives them."""

from __future__ import annotations

from charrnn.cells.cell import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.rnn import RNN

CELLS: dict[str, type[Cell]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
