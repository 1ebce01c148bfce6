"""Text -> ids -> windows: files, decoding, vocabulary, token files, the corpus and its split. Imports ``storage``."""
