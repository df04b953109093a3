"""What people type. Each command lives in a module of its own and is imported only when it runs."""

from pyrsia.cli.main import main

__all__ = ["main"]
