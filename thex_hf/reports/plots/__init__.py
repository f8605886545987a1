"""Figures of what a model costs, how levels are spent, and what a conversion changed.

Each kind has a record, a function that reads it, and one that draws it. Needs matplotlib, which is
imported when the first figure is drawn: ``pip install 'thex_hf[plots]'``.
"""

KINDS = ("cost", "levels", "stages", "protocols", "scores", "norms")
"""Names of the figures."""
