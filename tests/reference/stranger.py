"""A second verifier of the log, of proof files and of history files, written from docs/log.md alone.

It imports nothing of pyrsia, and nothing else of ours, so that the page stays sufficient for a newcomer: whoever
changes a format changes the page and this file. tests/unit/verify/test_stranger.py holds it against our own
verifier. What it leaves out is what the page leaves to others: whether the builders that a proof names may and did
build what they say ("What `pyrsia verify` checks", 5 to 10).

Quoted words below are headings of the page. Everything that does not hold raises `Refused` and nothing else.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from itertools import pairwise

from blake3 import blake3
from nacl.exceptions import BadSignatureError
from nacl.exceptions import ValueError as NaclValueError
from nacl.signing import VerifyKey

LARGEST = (1 << 53) - 1
LOG, COSIGN = 1, 4  # types of keys
OFFERED = ("REPRODUCED", "EQUIVALENT", "WITNESSED")


class Refused(Exception):
    """Something does not hold; the text says what."""


def need(holds, why):
    if not holds:
        raise Refused(why)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# -- "Bytes" --


def unb64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("no base64") from None
    need(base64.b64encode(raw).decode() == text, "base64 in another form")
    return raw


def unhex(text):
    """Every hash and key here has 32 bytes."""
    need(isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text), "no 32 bytes in hex")
    return bytes.fromhex(text)


def base32(raw):
    return base64.b32encode(raw).decode().rstrip("=").lower()


def number(text):
    need(re.fullmatch("0|[1-9][0-9]{0,15}", text) and int(text) <= LARGEST, "no decimal number")
    return int(text)


def utf8(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("no UTF-8") from None


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def canonical(text):
    """The value of canonical JSON."""
    try:
        value = json.loads(text)
        check_json(value, 8)
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        again.encode("utf-8")
    except (ValueError, RecursionError):
        raise Refused("no JSON") from None
    need(again == text, "JSON in another form")
    return value


def check_json(value, deep):
    """What canonical JSON has no words for; `deep` more objects and lists may open."""
    if isinstance(value, dict | list):
        need(deep > 0, "JSON too deep")
        need(isinstance(value, list) or all(name.isascii() for name in value), "a name that is not ASCII")
        for item in value.values() if isinstance(value, dict) else value:
            check_json(item, deep - 1)
    elif is_int(value):
        need(0 <= value <= LARGEST, "a number out of range")
    else:
        need(isinstance(value, str | bool), "null or a fraction")


def fields(value, *names, optional=()):
    """`value`, an object with exactly these fields."""
    need(isinstance(value, dict) and set(names) <= set(value) <= {*names, *optional}, f"fields are {names}")
    return value


def listed(value, most):
    need(isinstance(value, list) and len(value) <= most, f"no list of at most {most}")
    return value


# -- "Tree" --


def leaf_hash(leaf):
    return sha(b"\x00", leaf)


def tree_root(hashes):
    """RFC 6962, 2.1, from leaf hashes."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha()
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return sha(b"\x01", tree_root(hashes[:k]), tree_root(hashes[k:]))


def check_inclusion(leaf, index, head, proof):
    """RFC 9162, 2.1.3.2."""
    need(is_int(index) and 0 <= index < head.size, "an index outside the log")
    need(all(len(one) == 32 for one in proof), "a hash of another length")
    fn, sn, root = index, head.size - 1, leaf_hash(leaf)
    for sibling in proof:
        need(sn > 0, "an inclusion proof that is too long")
        if fn & 1 or fn == sn:
            root = sha(b"\x01", sibling, root)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = sha(b"\x01", root, sibling)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and root == head.root, f"leaf {index} is not in the log")


# -- "Checkpoints", and 1 and 2 of "A verifier of your own" --


@dataclass(frozen=True)
class Trust:
    """A network: its genesis, origin, quorum, and (name, key id) -> (type, public key) of its validators."""

    genesis: bytes
    origin: str
    q: int
    keys: dict


@dataclass(frozen=True)
class Head:
    """A trusted checkpoint: q validators cosigned it, at least one honest one no earlier than `time_s`."""

    size: int
    root: bytes
    time_s: int


def trust(genesis, sha256):
    """The network of a trust file whose SHA-256 (hex) is known from elsewhere."""
    need(sha(genesis).hex() == sha256, "another trust file")
    document = fields(canonical(utf8(genesis)), "body", "type", "v")
    need(document["type"] == "network.genesis" and document["v"] == 1, "no genesis")
    origin = f"{document['body']['name']}/{base32(blake3(genesis).digest())[:16]}"
    validators = [one for one in document["body"]["members"] if "validator" in one["roles"]]
    keys = {}
    for one in validators:
        for kind, public in ((LOG, unhex(one["log"])), (COSIGN, unhex(one["cosign"]))):
            name = origin if kind == LOG else f"{origin}/{base32(public)[:16]}"
            keys[name, key_id(name, kind, public)] = kind, public
    n = len(validators)
    need(n and len({public for _, public in keys.values()}) == 2 * n, "no validators, or a key twice")
    return Trust(genesis, origin, n - (n - 1) // 3, keys)


def key_id(name, kind, public):
    return sha(name.encode(), b"\n", bytes([kind]), public)[:4]


def read_note(network, data):
    """The head that a note is trusted for."""
    need(len(data) <= 65_536, "a note that is too long")
    text, empty, below = utf8(data).rpartition("\n\n")
    lines = below.split("\n")
    need(empty and lines.pop() == "" and 0 < len(lines) <= 256, "no signed note")
    told = text.split("\n")
    need(len(told) == 3 and told[0] == network.origin, "not three lines, or another log")
    size, root = number(told[1]), unb64(told[2])
    need(len(root) == 32, "a root of another length")
    signed = signatures(network, text.encode() + b"\n", lines)
    times = sorted((time for kind, time in signed.values() if kind == COSIGN), reverse=True)
    need(len(times) < len(signed), "the log did not sign")
    need(len(times) >= network.q, f"{len(times)} cosignatures, {network.q} are needed")
    return Head(size, root, times[network.q - 1])


def signatures(network, text, lines):
    """Public key of a validator -> (type, time) of its line. Lines of others mean nothing."""
    found = {}
    for line in lines:
        parts = re.fullmatch(r"\u2014 ([^\s+\x00-\x1f\x7f]+) (\S+)", line)
        need(parts and len(parts[1].encode()) <= 255, "a malformed signature line")
        blob = unb64(parts[2])
        need(len(blob) > 4, "a line without a signature")
        if (parts[1], blob[:4]) in network.keys:
            kind, public = network.keys[parts[1], blob[:4]]
            need(public not in found, "a key that signs twice")
            found[public] = kind, signed_at(text, kind, public, blob[4:])
    return found


def signed_at(text, kind, public, blob):
    """The time of a cosignature that holds; 0 of a signature of the log."""
    need(len(blob) == (64 if kind == LOG else 72), "a signature of another length")
    time = int.from_bytes(blob[:-64], "big")
    need(time < 1 << 63, "a time out of range")
    message = text if kind == LOG else b"cosignature/v1\ntime %d\n" % time + text
    try:
        VerifyKey(public).verify(message, blob[-64:])
    except (BadSignatureError, NaclValueError):
        raise Refused("a signature that does not hold") from None
    return time


# -- "Tiles": a whole log --


def check_log(network, files):
    """The head and the leaves of a whole log; `files`: path below /log/ -> bytes."""

    def read(path):
        need(path in files, f"{path} is missing")
        return files[path]

    head = read_note(network, read("checkpoint"))
    leaves = []
    for n, width in tiles(head.size):
        leaves += entries(read(tile_path("entries", n, width)), width)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    need(tree_root(hashes) == head.root, "the leaves have another root")
    check_tiles(read, hashes)
    need(leaves and leaves[0] == network.genesis == read("genesis"), "the log of another genesis")
    kinds = [fields_of(leaf)["type"] for leaf in leaves]
    need(head.size < 2 or kinds[-1] == "block.seal", "the last leaf is no seal")
    return head, leaves


def fields_of(leaf):
    need(len(leaf) <= 60_000, "a leaf that is too long")
    return canonical(utf8(leaf))


def tiles(count):
    """(N, width) of the tiles that hold `count` hashes."""
    return [(n, min(256, count - 256 * n)) for n in range(-(-count // 256))]


def tile_path(level, n, width):
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03d}")
    return f"tile/{level}/{'/'.join(groups)}" + ("" if width == 256 else f".p/{width}")


def entries(bundle, width):
    found, at = [], 0
    for _ in range(width):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        need(start <= at <= len(bundle), "a bundle that ends early")
        found.append(bundle[start:at])
    need(at == len(bundle), "a bundle that goes on")
    return found


def check_tiles(read, hashes):
    """Each tile of each level is what lies below it."""
    level = 0
    while hashes:
        for n, width in tiles(len(hashes)):
            below = b"".join(hashes[256 * n : 256 * n + width])
            need(read(tile_path(level, n, width)) == below, f"tile {n} of level {level} is another one")
        hashes = [tree_root(hashes[256 * n : 256 * (n + 1)]) for n in range(len(hashes) // 256)]
        level += 1


# -- "Verifiable index" --


def bit(key, depth):
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def check_path(root, key, value, path):
    """That `key` has `value`; with None, that it is absent."""
    fields(path, "steps", optional=("other",))
    steps = [(step[0], unhex(step[1])) for step in map(two, listed(path["steps"], 256))]
    depths = [depth for depth, _ in steps]
    need(all(is_int(depth) and 0 <= depth < 256 for depth in depths), "a depth out of range")
    need(depths == sorted(set(depths), reverse=True), "depths that do not fall")
    need(value is None or "other" not in path, "another pair in a path of presence")
    if value is None and "other" not in path:
        need(not steps and root == sha(), "absent from a tree that is not empty")
        return
    start = key
    if value is None:
        start, value = map(unhex, two(path["other"]))
        need(start != key, "the absent key is there")
        need(all(bit(start, depth) == bit(key, depth) for depth in depths), "a search ends elsewhere")
    made = sha(start, value)
    for depth, other in steps:
        made = sha(bytes([depth]), *((other, made) if bit(start, depth) else (made, other)))
    need(made == root, "a path to another root")


def two(value):
    need(len(listed(value, 2)) == 2, "no list of two")
    return value


def check_row(row, head):
    """(index, leaf) of a row: "Proof file"."""
    fields(row, "index", "leaf", "proof")
    need(isinstance(row["leaf"], str), "a leaf that is no text")
    leaf = row["leaf"].encode()
    check_inclusion(leaf, row["index"], head, [unhex(one) for one in listed(row["proof"], 64)])
    return row["index"], fields_of(leaf)


def check_seal(row, head):
    """The body of the newest seal."""
    index, leaf = check_row(row, head)
    need(head.size >= 2 and index == head.size - 1 and leaf["type"] == "block.seal", "not the newest seal")
    return leaf["body"]


# -- "Proof file" --


def check_proof(network, raw, file):
    """(head, body of the artifact.add, its status) that a proof file proves of `file`, the bytes."""
    need(len(raw) <= 262_144, "a proof file that is too long")
    top, empty, note = raw.partition(b"\n\n")
    first, *lines = utf8(top).split("\n")
    need(empty and first == "c2sp.org/tlog-proof@v1" and len(lines) >= 2, "no proof file")
    need(lines[0].startswith("extra ") and lines[1].startswith("index "), "no extra or no index")
    head = read_note(network, note)
    blob = unb64(lines[0][6:])
    need(len(blob) <= 192 * 1024, "an extra that is too long")
    extra = fields(canonical(utf8(blob)), "leaves", "now", "v")
    need(is_int(extra["v"]) and extra["v"] == 1, "another version")
    leaves = check_leaves(extra["leaves"], head)
    index, body = one_of("artifact.add", leaves)
    own = next(row for row in extra["leaves"] if row["index"] == index)
    need(index == number(lines[1][6:]), "a proof of another leaf")
    check_inclusion(own["leaf"].encode(), index, head, [unb64(one) for one in lines[2:]])
    need(sha(file).hex() == body["sha256"], "another file")
    return head, body, check_now(extra["now"], leaves, body, head)


def check_leaves(rows, head):
    leaves = [check_row(row, head) for row in listed(rows, 400)]
    need(all(a[0] < b[0] for a, b in pairwise(leaves)), "leaves out of order")
    return leaves


def one_of(kind, leaves):
    """(index, body) of the only leaf of a type."""
    found = [(index, leaf["body"]) for index, leaf in leaves if leaf["type"] == kind]
    need(len(found) == 1, f"not one {kind}")
    return found[0]


def check_now(now, leaves, artifact, head):
    """The present status of the artifact, which must be offered, with the members that were part of its build."""
    state = check_state(now, head)
    one_of("build.verdict", leaves)
    _, request = one_of("build.request", leaves)
    draws = [leaf["body"] for _, leaf in leaves if leaf["type"] == "build.draw"]
    draws = [draw for draw in draws if draw["request"] == artifact["request"]]
    need(draws, "no draw")
    for node in (*draws[-1]["builders"], request["requester"]):
        need(state.get(f"member/{node}") is not None, f"no record of {node}")
    status = state.get(f"status/{artifact['sha256']}")
    need(status is not None, "no status")
    need(status["status"] in OFFERED, f"the status is {status['status']}")
    return status


def check_state(now, head):
    """State key -> its value as of the newest seal, None where it has none."""
    fields(now, "seal", "values")
    root = unhex(check_seal(now["seal"], head)["state_root"])
    state = {}
    for row in listed(now["values"], 202):
        key, value = fields(row, "key", "path", optional=("value",))["key"], row.get("value")
        need(isinstance(key, str) and isinstance(value, str | None), "a key or value that is no text")
        need(key not in state, "a key twice")
        hashed = None if value is None else sha(value.encode())
        check_path(root, sha(b"pyrsia/state/v1\n", key.encode()), hashed, row["path"])
        state[key] = None if value is None else canonical(value)
    return state


# -- "History file" --


def check_history(network, raw, about):
    """(head, [(leaf index, leaf)]) of a history file; `about`: {"purl": ...} or {"digest": ...}, as asked for."""
    first, *lines = utf8(raw).split("\n")
    need(first == "pyrsia/history/v1" and len(lines) >= 2 and lines.pop() == "", "no history file")
    top = fields(canonical(lines.pop(0)), "about", "checkpoint", "path", "seal")
    need(top["about"] == about, "the history of another")
    need(isinstance(top["checkpoint"], str), "a note that is no text")
    head = read_note(network, top["checkpoint"].encode())
    root = unhex(check_seal(top["seal"], head)["index_root"])
    found = [
        (number(index), leaf.encode())
        for index, _, leaf in (line.partition(" ") for line in listed(lines, 20_000))
    ]
    order = [-1, *(index for index, _ in found), head.size - 1]
    need(order == sorted(set(order)), "leaves out of order")
    check_path(root, index_key(about), history_value(found), top["path"])
    return head, found


def index_key(about):
    if "purl" in about:
        return sha(b"pyrsia/pkg/v1\n", about["purl"].encode())
    return sha(b"pyrsia/digest/v1\n", unhex(about["digest"]))


def history_value(found):
    """The value of a history in the index; None of one without leaves."""
    if not found:
        return None
    rows = [leaf_hash(index.to_bytes(8, "big") + leaf_hash(leaf)) for index, leaf in found]
    return sha(len(rows).to_bytes(8, "big"), tree_root(rows))
