"""Numbers on the control links: one-way messages and methods with an answer.

A number is never reused for another meaning; a peer that does not know one ignores the message.
"""

from enum import IntEnum


class Kind(IntEnum):
    """One-way messages."""

    CONSENSUS = 1  # between validators: one encoded agreement message
    ENTRY = 2  # an authored entry on its way to every validator's mempool
    COSIGN = 3  # signature lines of a checkpoint
    SHARE = 4  # between validators: entries that wait, and ids of them (wire.sharing)


class Method(IntEnum):
    """Requests."""

    SUBMIT = 1  # an entry -> empty, or a refusal as JSON
    PING = 2  # empty -> empty
