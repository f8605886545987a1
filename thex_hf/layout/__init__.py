"""Room ``layout``."""
