"""Further processes on the node's address: they send files, the node decides.

A worker hands each request to the node over a private Unix socket and its answer back to the client. Where the answer
is a file, the node names the file instead of sending it (`X-Accel-Redirect`), and the worker sends it. A worker holds
no key, no token and no rule, and can name no file itself.

accel.py    which files may be named, and how; both sides
answers.py  the node's answers out of bytes
forward.py  the ASGI application of a worker

The process is node/worker.py, what starts and ends it node/workers.py.
"""
