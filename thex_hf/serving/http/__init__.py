"""The HTTP service: carries bytes between clients and the workers, and reads none of them."""
