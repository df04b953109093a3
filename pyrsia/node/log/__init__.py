"""The log on disk: entries on their way to it, what delivery writes, and what readers of it are given."""
