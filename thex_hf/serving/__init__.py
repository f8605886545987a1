"""The server as a product: a model, clients' evaluation keys, and runs in progress."""
