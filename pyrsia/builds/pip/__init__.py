"""The pip plug-in: pure-Python packages from an index's source archive to a wheel.

config.py     the user's pip configuration
index.py      which index is asked, and what of its answers is kept
addresses.py  where a fetch may go
web.py        one fetch over HTTP: redirects, repeats, credentials, bounds
transport.py  the HTTP clients: certificates, proxies, netrc
folder.py     `file:` indexes
cache.py      fetched files by digest
refusals.py   what a person is told when an index fails
simple.py     what a project page says
gather.py     what is known of sources and tools
resolve.py    which versions are chosen
lock.py       the wheels of a build environment
target.py     the interpreter that a request builds for
host.py       the interpreter that runs us
plugin.py     the phases of a build, in order
inside.py     runs the worker in the sandbox
worker.py     what touches strangers' archives; only inside
hook.py       one PEP 517 hook; only inside
"""
