"""The mesh of one node: what it does with its links beside agreeing on the log.

parts.py  the parts, wired: who answers which method and takes which message

Each other module here is one `Part`: a thin shell around a pure core of `pyrsia.mesh` or `pyrsia.transfer`.

Source: docs/mesh.md.
"""
