"""Files that list packages, read as data and never run.

Each reader says of every line what it names, and of those that name no exact version why. Nothing is resolved.

rows.py          one line of a list, and how a list is opened
requirements.py  pip's requirements*.txt
tables.py        packages as tables of TOML, with their lines
uv.py            uv.lock
pylock.py        pylock.toml, which Python's tools share
poetry.py        poetry.lock
pdm.py           pdm.lock
pipfile.py       Pipfile.lock
conan.py         Conan's lock
conan1.py        the same of Conan 1
pom.py           Maven's project file
gradle.py        Gradle's lock
"""
