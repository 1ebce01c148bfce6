"""The HTML page that contains a model, runs it and explains it. Imports everything but ``cli``."""
