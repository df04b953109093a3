"""What this node knows of packages, out of its log, and how it is asked and told.

reading.py    facts of one package or file, read from its history as it grows, and kept
"""
