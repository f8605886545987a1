"""Room ``modeling``."""
