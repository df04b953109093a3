"""Our logs before checkers that others wrote.

logs.py          logs of chosen sizes, and a node's own, exported as `pyrsia log export` does
checklog/        a small Go program on golang.org/x/mod (sumdb/note, sumdb/tlog): what Go's module mirror rests on
checkers.py      finds, builds and runs that program and Tessera's fsck
run.py           every size and some tampering: `python -m tests.interop.run`, `make evidence WHAT=interop`
test_go.py       a small part of it where Go and its modules are at hand; never asks the network
"""
