"""Compiled loops. No decisions live here; there is no slow twin in Python on purpose.

A node without the kernel would pass for a good one and fall behind, so it does not start.
"""

try:
    from pyrsia._native import merkle
except ImportError as missing:
    raise ImportError(
        "pyrsia's compiled part is missing or was built for another Python; "
        "build it with: python setup.py build_ext --inplace"
    ) from missing

__all__ = ["merkle"]
