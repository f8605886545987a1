"""The command ``thex-hf``: one module for each subcommand."""
