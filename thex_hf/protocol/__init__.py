"""Room ``protocol``."""
