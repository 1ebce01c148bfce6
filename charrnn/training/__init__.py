"""Training: optimizers, the run, the trainer, and the folder of a run. Imports everything but ``cli``."""
