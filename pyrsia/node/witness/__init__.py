"""Signatures on checkpoints: ours, those of other people's logs, and those of witnesses on our own."""
