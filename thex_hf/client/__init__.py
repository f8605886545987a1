"""The client's half without torch: text to embeddings, keys, and the conversation with a server."""
