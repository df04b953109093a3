"""Membership, peer exchange, broadcast and peer scores: pure cores, to come.

Until then a node dials the addresses that it is given, and consensus takes its members from the log
(never from gossip).
"""
