"""Offline verification: a file, its proof file and a pinned genesis in; a finding or a refusal out.

pins.py      which networks a user believes, and the newest head seen of each
evidence.py  reads the proof file: every leaf it carries is in the log that a quorum cosigned
artifact.py  judges the file: source, builders, verdict, name
wheel.py     the one bounded look into a file: its METADATA
"""
