"""Numbers on the control links: one-way messages and methods with an answer.

A number is never reused for another meaning; a peer that does not know one ignores the message.
"""

from enum import IntEnum

from pyrsia.errors import Malformed


class Kind(IntEnum):
    """One-way messages."""

    CONSENSUS = 1  # between validators: one encoded agreement message
    COSIGN = 3  # signature lines of a checkpoint
    SWIM = 5  # membership: probes and what is told with them (wire.membership)
    SHARE = 4  # between validators: entries that wait, and ids of them (wire.sharing); 2 was a single entry


class Method(IntEnum):
    """Requests."""

    SUBMIT = 1  # an entry -> empty, a refusal as JSON, or {"acknowledgement": ...} once it is final
    PING = 2  # empty -> empty
    DOCUMENT = 3  # empty -> this node's member document as JSON
    VOUCH = 4  # SHA-256 of a published file -> signatures over what its builders attest together
    RECORDS = 5  # nothing or our records -> some of the answerer's signed node records
    DIAL_BACK = 6  # ports -> whether the asker's sockets answer at the address that it was seen at
    BROADCASTS = 7  # what the asker has of each origin -> broadcasts that it lacks
    MAIL = 8  # a direct message, to be kept here or carried one hop -> a receipt, or a refusal
    PROVIDE = 9  # blobs that the asker keeps, or keeps no longer -> empty
    PROVIDERS = 10  # blobs -> who keeps them, as far as it was told
    RECEIPT = 11  # blobs of a reveal to come -> a signature that they are kept here
    DATA_LINK = 12  # what a data connection needs -> a ticket for a plain one, or empty: the answerer dials
    SUBMIT_MANY = 13  # entries as `wire.sharing.Entries` -> empty, or null or a refusal for each as JSON
    # of wire.snapshots, by nodes that are far behind and by those that began from a snapshot
    POINTS = 16  # empty -> points whose state is kept here
    ANCHOR = 17  # a point and a size -> what proves the point
    STEPS = 18  # an epoch and a size -> the ends of that epoch and of those after it
    PARTS = 19  # a point and places of its trees -> their rows
    BUNDLES = 20  # entry bundles of the log
    TILES = 21  # full tiles of the log


def nothing(method: Method, body: bytes) -> None:
    """That the empty body of a request that takes none is empty: it is part of the form, as any other is.

    Raises:
        Malformed: no honest node sends more.
    """
    if body:
        raise Malformed(f"request: {method.name} takes no body, and {len(body)} bytes came")
