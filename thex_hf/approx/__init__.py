"""Room ``approx``."""
