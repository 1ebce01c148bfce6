"""charrnn: character-level recurrent language models, trained on an ordinary computer.

::

    from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer, sample

    corpus = Corpus.read("corpora/shakespeare.txt")
    run = Run.start(corpus, ModelConfig(cell="lstm", hidden_size=256), TrainConfig(steps=2000, seed=1))
    for step in Trainer(run, corpus):
        print(step.number, step.loss)
    run.save("checkpoints/shakespeare.h5")
    print("".join(sample(run.model, run.vocabulary, prime="ROMEO:", length=500, temperature=0.8, seed=2)))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from charrnn.config import ModelConfig, TrainConfig
    from charrnn.errors import CharRNNError
    from charrnn.inference.evaluation import evaluate
    from charrnn.inference.sampling import sample
    from charrnn.nn.model import CharRNN
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.run import Run
    from charrnn.training.trainer import Trainer

__all__ = ["CharRNN", "CharRNNError", "Corpus", "ModelConfig", "Run", "TrainConfig", "Trainer", "Vocabulary", "evaluate",
           "sample"]

_HOMES = {"CharRNN": "nn.model", "CharRNNError": "errors", "Corpus": "text.corpus", "ModelConfig": "config",
          "Run": "training.run", "TrainConfig": "config", "Trainer": "training.trainer", "Vocabulary": "text.vocabulary",
          "evaluate": "inference.evaluation", "sample": "inference.sampling"}


def __getattr__(name: str) -> Any:
    """The public names, each loaded when it is first used, so that the command line starts at once (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
