"""The Maven plug-in: source archives and git commits to jar, pom and sources jar.

coordinates.py  what an artifact is called
settings.py     the operator's Maven settings, read as data
remotes.py      files of the operator's remotes, by path and by digest
lock.py         the files of a build's repository
origins.py      whose source is built
recipe.py       what shapes the output, as a function of rules, mapping and source
plugin.py       the phases of a build, in order
runs.py         what a run of the worker may see
results.py      what the inspection said, as outputs
worker.py       what touches strangers' archives and runs mvn; only inside
poms.py         what a project file says; only inside
normalise.py    the jar normaliser; only inside
fixed.py        answers that would move
texts.py        manifests and property files in one form; only inside
"""
