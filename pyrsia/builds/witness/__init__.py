"""Witnessing: several operators fetch what upstream publishes, each by its own way, and say what bytes they saw.

plugin     the six verbs             lock       what was seen, one line a file
origins    where a package's files are: indexes, Maven repositories, image registries
registry   pulls from an image registry               recipes    a recipe and its packages from a Conan remote
"""
