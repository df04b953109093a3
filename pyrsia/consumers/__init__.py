"""People's own clients: the configuration that points them at a node, the files they enforce, what they installed."""
