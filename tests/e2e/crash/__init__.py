"""Appends to the log that are killed, or whose disk says no, at a chosen system call.

operations.py   which calls change files, and the supervisor that decides about each of them
script.py       what is appended: blocks of a real ledger, computed once
appender.py     the process that appends and acknowledges
ground.py       starts appenders and gathers what they acknowledged
oracle.py       what must lie on the disk afterwards
sweep.py        every call, every fault: `python -m tests.e2e.crash.sweep`
"""
