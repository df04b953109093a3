"""Nodes that are far behind: snapshots given and taken, and the log below them."""
