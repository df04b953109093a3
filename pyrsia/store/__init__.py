"""What a node keeps: RocksDB for facts, files for bytes, votes.wal for what it signed.

layout  families and keys      rocks  batches, group commit, errors with a name
blobs   immutable files        votes  the vote record        lock  one process, one network a folder
"""
