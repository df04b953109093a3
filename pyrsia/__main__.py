"""`python -m pyrsia` is the `pyrsia` command."""

from pyrsia.cli import main

main()
