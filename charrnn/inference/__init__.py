"""What a model is used for: sampling, scoring and evaluation. Imports ``text`` and ``nn``."""
