"""Blobs of this node: kept, brought from peers, made from others, pinned, swept and scrubbed."""
