"""Packages as clients of this node see them: the network's, its own, and where they are taken from."""
