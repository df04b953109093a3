"""Compiled loops. No decisions live here; there is no slow twin in Python on purpose.

A node without the kernel would pass for a good one and fall behind, so it does not start; nor does one that
was told to hash in a way that its processor cannot. Both are an ImportError with this package's name, "what is
wrong; what to do", which the command tells as a refusal.
"""

try:
    from pyrsia._native import links, merkle
except ImportError as missing:
    raise ImportError(
        "pyrsia's compiled part is missing or was built for another Python; "
        "build it with: python setup.py build_ext --inplace",
        name=__name__,
    ) from missing

if fault := merkle._fault():
    raise ImportError(fault, name=__name__)

__all__ = ["links", "merkle"]
