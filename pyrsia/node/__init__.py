"""The running node: shells that wire the pure cores to disk, network, sandbox and people.

house.py      what lies in the data directory, opened and closed
clock.py      Unix time, as an argument
kinds.py      numbers of messages and methods on control links
archive.py    the log on disk: delivery in one batch, tiles, proofs
agreement.py  runs Simplex or the follower over links and votes.wal
delivery.py   final blocks written, synced, acknowledged
cosigning.py  checkpoints signed and collected
submission.py entries on their way to the log, acknowledged after finality
workshop.py   sandbox, index client and plug-in of this machine
builder.py    what a drawn builder does, from lock to reveal
requests.py   what it takes to ask for a package and its closure
catalog.py    what package clients see
supply.py     where registries take packages from: the log, this node's shelf, upstream
upstream/     what upstream has, unverified
proofs.py     the proof file of an artifact
admin.py      what people and scripts ask and tell a node
shelf.py      blobs with their manifests, given to peers and brought from them
arriving.py   downloads that clients read while they run
worker.py     the process of a worker; workers.py keeps so many of them
diary.py      what the node writes for its operator
service.py    wires, starts and stops all of it
"""
