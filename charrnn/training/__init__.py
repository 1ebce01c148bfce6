"""Training: optimizers, the run, the trainer, and what keeps a run on disk. Imports everything but ``cli``."""
