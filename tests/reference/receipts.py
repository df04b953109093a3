"""Receipts again, the slow and obvious way: from docs/ledger.md alone, with the standard library's JSON.

The state is read as its keys are written there; nothing of the ledger's code is asked.
"""

import hashlib
import json

from pyrsia.keys import verify
from pyrsia.wire.text import b32, unb32


def plain(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rows(reveal, request):
    """Every blob that a reveal offers."""
    found = [reveal["log"]]
    for output in reveal["outputs"]:
        for which in ("raw", "canonical", "upstream"):
            file = output.get(which)
            if file:
                found.append(file)
                found.append(file["members"])
                if "metadata" in file:
                    found.append(file["metadata"])
    if reveal["outcome"] == "built":
        found.append(request["lock"])
        if request["source"].get("manifest"):
            found.append(request["source"])
    unique = []
    for one in found:
        row = [one["manifest"], one["sha256"], one["size"]]
        if row not in unique:
            unique.append(row)
    return sorted(unique)


def text(net, builder, reveal, request):
    digest = hashlib.sha256(plain(rows(reveal, request))).hexdigest()
    said = {"blobs": digest, "builder": builder, "net": net, "request": reveal["request"]}
    return b"pyrsia/receipt/v1\0" + plain(said)


def keepers(world):
    """Storage members and their domains, as the final state of a world has them."""
    found = {}
    for node in json.loads(world.db[b"members"]):
        fields = json.loads(world.db[f"member/{node}".encode()])
        if "storage" in fields["roles"]:
            found[node] = fields["domain"]
    return found


def least(world):
    epoch = json.loads(world.db[f"epoch/{int(json.loads(world.db[b'epoch'])):016}".encode()])
    f = (len(epoch["validators"]) - 1) // 3
    return min(f + 1, len(set(keepers(world).values())))


def enough(world, builder, reveal, request):
    """Whether the log takes a reveal's receipts."""
    known, domains = keepers(world), set()
    for one in reveal["receipts"]:
        if one["node"] not in known:
            return False
        said = text(world.genesis.net, builder, reveal, request)
        if not verify(unb32(one["node"]), said, bytes.fromhex(one["sig"])):
            return False
        domains.add(known[one["node"]])
    return len(domains) >= least(world)


def sign(world, holder, builder, reveal, request, net=None):
    """The receipt of a storage member (its node key) for a builder's (node key) reveal."""
    said = text(net or world.genesis.net, b32(builder.public), reveal, request)
    return {"node": b32(holder.public), "sig": holder.sign(said).hex()}


def given(*receipts):
    return sorted(receipts, key=lambda one: one["node"])
