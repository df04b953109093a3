"""Receipts: storage members sign that they keep every blob of a reveal, before the log may name them.

Decides which blobs a reveal must have receipts for, how many receipts of whom, and what is signed. One signature covers
all blobs of one builder's reveal of one request in one network: a reveal of 24 files names 70 of them, and a signature
for each would not fit into an entry. Each blob is signed with the manifest under which peers ask for it: bytes that
nobody can ask for would be withheld all the same.

How storage members come by the bytes is `node.mesh.receipting`'s business, how a builder chooses whom to ask
`node.builds.receipts`'s.

Source: docs/ledger.md, "Receipts"; docs/adr/0058.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pyrsia.ledger import roster
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.state import View
from pyrsia.wire import canonical
from pyrsia.wire.text import unb32

DOMAIN: Final = b"pyrsia/receipt/v1\0"
ROLE: Final = "storage"
CODE: Final = "receipts-missing"  # of the refusal: its author may ask storage members again, and come back
_PACKED: Final = ("canonical", "raw", "upstream")
_BESIDE: Final = ("members", "metadata")

Kept = tuple[str, str, int]  # manifest and SHA-256 in hex, size


def blobs(reveal: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[Kept, ...]:
    """Every blob that this reveal offers, sorted, none twice.

    A failure offers its log alone. What was built is worth something only with what it was made from: the request's
    lock, and its source if that was given along. (A source from a registry is no blob of this network's; and who could
    not get the source must be able to say so.)

    Args:
        reveal, request: bodies of the `build.reveal` and of its `build.request`.
    """
    named = [reveal["log"]]
    for output in reveal["outputs"]:
        for file in (output[name] for name in _PACKED if name in output):
            named += [file, *(file[name] for name in _BESIDE if name in file)]
    if reveal["outcome"] == "built":
        named.append(request["lock"])
        if "manifest" in request["source"]:
            named.append(request["source"])
    return listed((one["manifest"], one["sha256"], one["size"]) for one in named)


def listed(kept: Iterable[Kept]) -> tuple[Kept, ...]:
    """The list as it is signed: sorted, none twice."""
    return tuple(sorted(set(kept)))


def signed_text(net: str, request: str, builder: str, kept: Iterable[Kept]) -> bytes:
    """What a storage member's node key signs.

    Args:
        net: the chain id as in every entry, so that a receipt counts in one network.
        request: id of the request, in hex.
        builder: node id text of the reveal's author: nobody else's reveal takes it.
        kept: the blobs that are on its disk.
    """
    rows: list[canonical.Json] = [list(row) for row in listed(kept)]
    digest = hashlib.sha256(canonical.encode(rows)).hexdigest()
    return DOMAIN + canonical.encode({"blobs": digest, "builder": builder, "net": net, "request": request})


def domains(view: View) -> dict[str, str]:
    """The failure domain of each storage member now, by node id text."""
    return {one.text: one.domain for one in roster.members(view) if ROLE in one.roles}


def needed(keepers: Mapping[str, str], f: int) -> int:
    """How many failure domains must have signed: one more than may be lost, or all that there are.

    Args:
        keepers: as `domains` gives them.
        f: how many validators of the epoch may be faulty.
    """
    return min(f + 1, len(set(keepers.values())))


def check(ctx: Context, builder: str, reveal: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Whether a reveal has its receipts. The signatures, dear to check, come last.

    Raises:
        NotApplied: it lacks some, or has one that is none; the sentence says whose.
    """
    keepers = domains(ctx.view)
    given = {one["node"]: one["sig"] for one in reveal["receipts"]}
    for node in given:
        if node not in keepers:
            raise NotApplied(f"it has a receipt of {node[:8]}, which is no storage member", code=CODE)
    least = needed(keepers, ctx.epoch.f)
    signed = len({keepers[node] for node in given})
    if signed < least:
        raise NotApplied(
            f"it has receipts of storage members in {signed} failure domains, {least} are needed", code=CODE
        )
    if not given:
        return
    text = signed_text(ctx.genesis.net, reveal["request"], builder, blobs(reveal, request))
    for node, signature in given.items():
        if not ctx.holds(unb32(node), text, bytes.fromhex(signature)):
            raise NotApplied(
                f"the receipt of {node[:8]} does not hold for the blobs of this reveal", code=CODE
            )
