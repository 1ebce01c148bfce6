"""The HTML page that contains a model and runs it. Imports everything but ``cli``."""
