"""Bytes to frozen messages and back, with strict decoders. Pure; the rules are in DESIGN 4 and consensus.md B.2."""
