"""The federated system: the client's local update, what the server sees of it, and training over rounds."""
