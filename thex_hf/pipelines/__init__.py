"""Room ``pipelines``."""
