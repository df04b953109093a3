"""Trio shells over ZeroMQ: sockets, links between nodes, chunks. What to do is decided elsewhere.

zsock.py    one ZeroMQ socket used from many trio tasks
curve.py    transport keys made from the node key
zap.py      who may connect at all: bans by transport key
links.py    one control link per pair of nodes: messages, requests, who is there
data.py     chunks fetched, on sockets of their own; the face of data links
serving.py  the giving half of data links

Source: peer-to-peer.md B.1, B.6, B.9, B.10.
"""
