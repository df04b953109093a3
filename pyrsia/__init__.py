"""Pyrsia: a decentralised network of verified packages.

wire       bytes <-> frozen messages          net     trio shells over ZeroMQ
log        the RFC 6962 tree and its proofs   store   RocksDB, blob files, votes.wal
ledger     entries and replicated state       serve   HTTP: packages, log, API
consensus  Simplex agreement                  node    wires everything
transfer   manifests and the swarm            verify  offline verification
builds     sandbox, recipes, comparison       cli     what people type
"""

__version__ = "0.1.0"
