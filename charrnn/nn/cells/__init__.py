"""The recurrent cells, named as in ``config.CELL_NAMES``: ``cells/lstm.py`` contains the cell "lstm"."""

from __future__ import annotations

import importlib

from charrnn.config import CELL_NAMES
from charrnn.errors import check_type
from charrnn.nn.cells.cell import Cell


def _cell_class(name: str) -> type[Cell]:
    """Return the subclass of Cell that the module ``name`` defines."""
    module = importlib.import_module(f"{__name__}.{name}")
    (cell_class,) = (value for value in vars(module).values()
                     if isinstance(value, type) and issubclass(value, Cell) and value.__module__ == module.__name__)
    return cell_class


CELLS: dict[str, type[Cell]] = {name: _cell_class(name) for name in CELL_NAMES}


def register(name: str, cell_class: type[Cell]) -> None:
    """Add a cell at run time, so that ``ModelConfig(name)`` is valid. Raises ValueError if the name is in use."""
    check_type("cell_class", cell_class, type)
    if name in CELLS:
        raise ValueError(f"a cell named {name!r} already exists")
    CELLS[name] = cell_class
    CELL_NAMES.append(name)


def unregister(name: str) -> None:
    """Remove a cell that was added with ``register``. Raises KeyError if there is no cell of this name."""
    del CELLS[name]
    CELL_NAMES.remove(name)
