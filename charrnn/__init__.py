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
    from charrnn.corpus import Corpus
    from charrnn.errors import CharRNNError
    from charrnn.evaluation import evaluate
    from charrnn.model import CharRNN
    from charrnn.run import Run
    from charrnn.sampler import sample
    from charrnn.trainer import Trainer
    from charrnn.vocabulary import Vocabulary

__all__ = ["CharRNN", "CharRNNError", "Corpus", "ModelConfig", "Run", "TrainConfig", "Trainer", "Vocabulary", "evaluate",
           "sample"]

_HOMES = {"CharRNN": "model", "CharRNNError": "errors", "Corpus": "corpus", "ModelConfig": "config", "Run": "run",
          "TrainConfig": "config", "Trainer": "trainer", "Vocabulary": "vocabulary", "evaluate": "evaluation",
          "sample": "sampler"}


def __getattr__(name: str) -> Any:
    """The public names, each loaded when it is first used, so that the command line starts at once (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
