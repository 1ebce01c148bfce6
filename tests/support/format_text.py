"""The text of the files ``format2-*.h5``; see ``scripts/make_format_files``."""

TEXT = "a cat sat on the mat at noon.\nthe fat café cat sat on a hat.\n" * 12
