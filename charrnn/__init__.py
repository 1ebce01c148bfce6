"""charrnn: character-level recurrent language models, trained on an ordinary computer.

::

    import charrnn

    run = charrnn.train("notes.txt", minutes=2)
    print(run.best.sample("The ", length=500, temperature=0.8, seed=2))
    model = charrnn.load("checkpoints/notes-lnlstm-416")
    print(model.score("To be, or not to be").nats)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from charrnn.config import ModelConfig, TextConfig, TrainConfig
    from charrnn.errors import CharRNNError
    from charrnn.inference.evaluation import Evaluation
    from charrnn.inference.language_model import LanguageModel, load
    from charrnn.inference.scoring import Score
    from charrnn.nn.model import CharRNN
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.api import resume, train
    from charrnn.training.run import Run
    from charrnn.training.trainer import Trainer

__all__ = ["CharRNN", "CharRNNError", "Corpus", "Evaluation", "LanguageModel", "ModelConfig", "Run", "Score", "TextConfig",
           "TrainConfig", "Trainer", "Vocabulary", "load", "resume", "train"]

_HOMES = {"CharRNN": "nn.model", "CharRNNError": "errors", "Corpus": "text.corpus", "Evaluation": "inference.evaluation",
          "LanguageModel": "inference.language_model", "ModelConfig": "config", "Run": "training.run",
          "Score": "inference.scoring", "TextConfig": "config", "TrainConfig": "config", "Trainer": "training.trainer",
          "Vocabulary": "text.vocabulary", "load": "inference.language_model", "resume": "training.api",
          "train": "training.api"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts quickly (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
