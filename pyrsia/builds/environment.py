"""The fingerprint of an environment: what may shape the bytes of a pure package besides its inputs.

`host:<64 hex>` names an interpreter and its compressor on one kind of machine. It is allowed for pure
packages only, and only where the network lists it. Facts come in as arguments; nothing is read here.

Source: docs/builds-pip.md, "The recipe"; docs/builds-how.md, "Why it is done so".
"""

import hashlib
from collections.abc import Mapping

from pyrsia.wire import canonical


def fingerprint(facts: Mapping[str, str]) -> str:
    """`host:` and the SHA-256 of the canonical JSON of `facts`."""
    return "host:" + hashlib.sha256(b"pyrsia/environment/v1\0" + canonical.encode(dict(facts))).hexdigest()
