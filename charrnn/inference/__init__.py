"""Use a model: sampling, scoring and evaluation. Imports ``storage``, ``text`` and ``nn``."""
