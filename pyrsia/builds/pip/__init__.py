"""The pip plug-in: Python packages from an index, a repository or a given source to a wheel.

config.py      the user's pip configuration
index.py       which index is asked, and what of its answers is kept
folder.py      `file:` indexes
cache.py       fetched files by digest
bringing.py    a build tool by its digest, from peers or the index
refusals.py    what a person is told
simple.py      what a project page says
origins.py     where a request's source comes from
places.py      which environment builds it
choosing.py    which releases a request leads to
gather.py      what is known of sources and tools
generator.py   which program packed upstream's wheel
resolve.py     which versions are chosen
lock.py        the wheels of a build environment
target.py      the interpreter that a request builds for
host.py        the interpreter that runs us
planning.py    which requests a want becomes
plugin.py      the phases of a build, in order
hooks.py       hooks of backends, run in the sandbox
toolbox.py     build tools, laid out once for each set
inspecting.py  what is said about a built wheel
worker.py      what touches strangers' archives; only inside
hook.py        one PEP 517 hook; only inside
"""
