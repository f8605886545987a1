"""Numbers behind the engines: SEAL's transforms, primes and errors on numpy; no cryptography."""
