"""Room ``encrypted``."""
