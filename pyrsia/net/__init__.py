"""Trio shells over ZeroMQ: sockets, links between nodes, chunks. What to do is decided elsewhere.

zsock.py     one ZeroMQ socket used from many trio tasks
curve.py     transport keys made from the node key
zap.py       who may connect at all: bans by transport key
sockets.py   the context and its sockets, each with its bounds
outbox.py    what waits to be sent to one peer, and in which order it goes
peers.py     what is known of each node, and which connection is its link
greeting.py  who may be whom
faults.py    what garbage costs
requests.py  our questions and their answers, theirs and ours; who gets BUSY
traffic.py   what crosses a greeted link
targets.py   who is dialled, and for how long
dialling.py  the end that dials, and dials again
door.py      the end that is dialled
cutting.py   ends one connection of others at the kernel's end
hoarding.py  connections that send without an end
loitering.py connections that become nobody's
names.py     nodes and numeric addresses from DNS
beacon.py    datagrams on the cable
bootstrap.py records of nodes by HTTP
links.py     the face of control links; when a silent one is dead
data.py      chunks fetched, on sockets of their own; the face of data links
serving.py   the giving half of data links

Source: docs/network.md.
"""
