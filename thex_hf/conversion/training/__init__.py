"""Training of a conversion: batches, losses, loops, and texts that nobody wrote."""
