"""The running node: shells that wire the pure cores to disk, network, sandbox and people.

kinds.py      numbers of messages and methods on control links
archive.py    the log on disk: delivery in one batch, tiles, proofs
agreement.py  runs Simplex or the follower over links and votes.wal
cosigning.py  checkpoints signed and collected
submission.py entries on their way to the log, acknowledged after finality
builder.py    what a drawn builder does, from lock to reveal
requests.py   what it takes to ask for a package and its closure
catalog.py    what package clients see
proofs.py     the proof file of an artifact
admin.py      what people and scripts ask and tell a node
service.py    starts and stops all of it
"""
