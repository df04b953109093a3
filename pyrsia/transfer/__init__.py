"""How files cross the network, with no I/O in it.

manifest.py  what a file is: its chunks and its hashes
swarm.py     which chunk to ask of whom, and when to ask again: over sources, roster, owing, picking and effects
sharing.py   who else fetches a file
uploads.py   what waits to be given, and whose turn it is
buckets.py   how many bytes may pass
"""
