"""BFV by SEAL: exact arithmetic modulo a prime on encrypted slots, for the preparation."""
