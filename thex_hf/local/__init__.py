"""Both roles on one machine: the client, and a server in the same process."""
