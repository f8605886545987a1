"""Room ``backends``."""
