"""Room ``conversion``."""
