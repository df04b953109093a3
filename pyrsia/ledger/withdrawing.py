"""`artifact.withdraw` in a maintainer's name: a key of the enacted mapping says that bytes are no longer offered.

Any member may carry the words to the log; the authority is the signature in the body.

Source: docs/ledger.md, "Status".
"""

from typing import Any, Final

from pyrsia.ledger import standing
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.wire import canonical, purl

DOMAIN: Final = b"pyrsia/withdraw/v1\0"


def signed_text(net: str, body: dict[str, Any]) -> bytes:
    """What the maintainer's key signs: which bytes, of which release, in which network, and why."""
    said = {"net": net, "purl": body["purl"], "reason": body["reason"], "sha256": body["sha256"]}
    return DOMAIN + canonical.encode(said)


def withdraw(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """These bytes are published under this purl, and a maintainer of the package wants them gone."""
    body = entry.body
    package = str(purl.parse(body["purl"]).versionless)
    mapping = ctx.view.get(f"mapping/{package}")
    if mapping is None:
        raise NotApplied("this package has no mapping, so it has no maintainer keys", later=True)
    if body["key"] not in mapping["keys"]:
        raise NotApplied("its key is not one of the package's maintainer keys")
    standing.check_withdraw(ctx.view, body)
    text = signed_text(entry.net, body)
    if not ctx.holds(bytes.fromhex(body["key"]), text, bytes.fromhex(body["sig"])):
        raise NotApplied("the maintainer key's signature does not hold")
    standing.withdraw(ctx.view, body, leaf)
