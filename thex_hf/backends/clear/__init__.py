"""Backend ``clear``: the slot machine on numpy, for simulation. It hides nothing."""
