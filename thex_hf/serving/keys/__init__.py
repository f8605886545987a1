"""Where a server keeps clients' evaluation keys: a folder, a database."""
