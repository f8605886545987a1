"""Tables of texts as files and data sets hold them: every row with its place; no torch."""
