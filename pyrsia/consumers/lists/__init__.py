"""Files that list packages, read as data and never run: requirements*.txt, uv.lock, pom.xml, conan.lock.

Each reader says of every line what it names, and of those that name no exact version why. Nothing is resolved.

rows.py          one line of a list, and how a list is opened
requirements.py  pip's
uv.py            uv's lock
conan.py         Conan's lock
pom.py           Maven's project file
"""
