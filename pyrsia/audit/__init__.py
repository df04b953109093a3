"""Tools for people who trust nobody: they read a log from outside, as files, over HTTP or from a stopped node.

Decisions are pure and live in `pyrsia.log` and `pyrsia.ledger`; here bytes are fetched, work is spread over
the cores, progress is told, and what was verified is remembered.
"""
