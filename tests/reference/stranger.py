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
FIN, EPOCH_END, TAIL = 3, 1, 2
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
class Validator:
    """Public keys, and what nobody here needs."""

    node: bytes
    vote: bytes
    log: bytes
    cosign: bytes
    chain_end: bytes


@dataclass(frozen=True)
class Trust:
    """A network: its genesis and origin, its validators in each known epoch, and the (size, root) that ended one."""

    genesis: bytes
    origin: str
    reigns: tuple
    ends: tuple = ()

    @property
    def chain_id(self):
        return blake3(self.genesis).digest()


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
    members = [one for one in document["body"]["members"] if "validator" in one["roles"]]
    validators = [
        Validator(
            unbase32(one["node"]), *(unhex(one[name]) for name in ("vote", "log", "cosign", "chain_end"))
        )
        for one in members
    ]
    signing = {key for one in validators for key in (one.log, one.cosign)}
    need(validators and len(signing) == 2 * len(validators), "no validators, or a key twice")
    return Trust(genesis, origin, (tuple(sorted(validators, key=lambda one: one.vote)),))


def unbase32(text):
    need(isinstance(text, str) and re.fullmatch("[a-z2-7]{52}", text), "no node id")
    return base64.b32decode(text.upper() + "====")


def quorum(validators):
    return len(validators) - (len(validators) - 1) // 3


def keys_of(network, validators):
    """(name, key id) -> (type, public key) of these validators."""
    keys = {}
    for one in validators:
        for kind, public in ((LOG, one.log), (COSIGN, one.cosign)):
            name = network.origin if kind == LOG else f"{network.origin}/{base32(public)[:16]}"
            keys[name, key_id(name, kind, public)] = kind, public
    return keys


# -- "Epochs" --


def follow(network, steps):
    """The network with all its epochs; `steps`: epoch -> bytes of the step that ends it, or nothing."""
    while step := steps(len(network.ends)):
        network = take(network, step)
    return network


def take(network, data):
    """The network one epoch later."""
    reader = Reader(data)
    count = reader.number(2)
    need(0 < count <= 100, "no validators, or too many")
    validators = tuple(Validator(*(reader.take(32) for _ in range(5))) for _ in range(count))
    votes = [one.vote for one in validators]
    need(votes == sorted(set(votes)), "validators are not sorted by vote key")
    seal = reader.take(reader.number(2))
    path = [reader.take(32) for _ in range(reader.number(1))]
    need(len(seal) <= 1024 and len(path) <= 64, "a seal or a path that is too long")
    said, signed = reader.cert(len(network.reigns[-1]))
    headers = [reader.header() for _ in range(reader.number(2))]
    need(headers and not reader.rest(), "no headers, or bytes behind them")
    check_headers(network, headers, said, members(validators))
    check_votes(network, said, signed)
    end = headers[-1]
    check_end(seal, path, end)
    need(not network.ends or end["tree_size"] > network.ends[-1][0], "an epoch that ends before it begins")
    return Trust(
        network.genesis,
        network.origin,
        (*network.reigns, validators),
        (*network.ends, (end["tree_size"], end["tree_root"])),
    )


def check_end(seal, path, end):
    """The last leaf of the log at the end says what the block says."""
    head = Head(end["tree_size"], end["tree_root"], 0)
    check_inclusion(seal, head.size - 1, head, path)
    leaf = fields(canonical(utf8(seal)), "body", "net", "type", "v")
    body = leaf["body"]
    need(leaf["type"] == "block.seal" and isinstance(body, dict), "no seal")
    said = [body.get("epoch"), body.get("height"), body.get("next_members")]
    need(not any(isinstance(one, bool) for one in said), "no numbers")
    need(
        said == [end["epoch"], end["height"], end["next_members_hash"].hex()], "another seal than the block's"
    )


def members(validators):
    keys = b"".join(
        key for one in validators for key in (one.node, one.vote, one.log, one.cosign, one.chain_end)
    )
    return blake3(b"pyrsia/members/v1\0" + keys).digest()


def check_headers(network, headers, said, following):
    """One chain down to the block that ends the epoch, all of this epoch; the certificate speaks of the first."""
    *tails, end = headers
    epoch, own = len(network.ends), members(network.reigns[-1])
    for one in headers:
        need(
            (one["chain_id"], one["epoch"], one["members_hash"]) == (network.chain_id, epoch, own),
            "a stranger",
        )
    need(
        end["kind"] == EPOCH_END and end["next_members_hash"] == following, "another end, or other validators"
    )
    same = ("height", "tree_size", "tree_root")
    for one in tails:
        need(one["kind"] == TAIL and all(one[name] == end[name] for name in same), "no tail of this end")
    for child, parent in pairwise(headers):
        need(child["parent_hash"] == parent["hash"], "headers that are not linked")
    first = headers[0]
    told = [first[name] for name in ("epoch", "view", "hash", "height", "time_ms", "tree_size", "tree_root")]
    need(said == (FIN, *told), "a certificate of another block")


def check_votes(network, said, signed):
    _, epoch, view, block, height, time, size, root = said
    text = (
        b"pyrsia/simplex/finalize/v1\n"
        + f"{network.origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()
        + f"pyrsia {epoch} {view} {height} {time} {base64.b64encode(block).decode()}\n".encode()
    )
    validators = network.reigns[-1]
    need(len(signed) == quorum(validators), "not exactly a quorum of signatures")
    for place, signature in signed:
        check_signature(validators[place].vote, text, signature)


class Reader:
    """Bytes from front to back."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        need(self.at + size <= len(self.data), "a step that ends early")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def rest(self):
        return self.data[self.at :]

    def cert(self, count):
        """(what it says, [(place of a validator, signature)]) of a FIN certificate."""
        kind, epoch, view, block = self.number(1), self.number(8), self.number(8), self.take(32)
        height, time, size, root = self.number(8), self.number(8), self.number(8), self.take(32)
        need(self.number(2) == count, "a certificate of other members")
        bits = int.from_bytes(self.take((count + 7) // 8), "little")
        need(bits < 1 << count, "a signer who is nobody")
        places = [at for at in range(count) if bits >> at & 1]
        return (kind, epoch, view, block, height, time, size, root), [(at, self.take(64)) for at in places]

    def header(self):
        start = self.at
        made = {name: self.take(size) if size > 8 else self.number(size) for name, size in HEADER}
        made["hash"] = blake3(b"pyrsia/block/v1\0" + self.data[start : self.at]).digest()
        return made


HEADER = (
    ("chain_id", 32), ("epoch", 8), ("view", 8), ("height", 8), ("parent_hash", 32), ("parent_view", 8),
    ("proposer", 2), ("time_ms", 8), ("kind", 1), ("n_entries", 4), ("entries_root", 32), ("tree_size", 8),
    ("tree_root", 32), ("members_hash", 32), ("next_members_hash", 32), ("just_hash", 32), ("reveal", 32),
    ("beacon", 32), ("next_chain", 32),
)  # fmt: skip


def speakers(network, size):
    """The validators who may speak for a log of this size: of one epoch, where one ends of two."""
    epoch = sum(end < size for end, _ in network.ends)
    ends = any(end == size for end, _ in network.ends)
    return network.reigns[epoch : epoch + 1 + ends]


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
    need(all(root == other for end, other in network.ends if end == size), "another root than an epoch's end")
    failed = Refused("nobody speaks for it")
    for validators in reversed(speakers(network, size)):
        try:
            return Head(size, root, signed_by(network, validators, text.encode() + b"\n", lines))
        except TooFew as error:
            failed = error
    raise failed


class TooFew(Refused):
    """Not enough signatures of one epoch; those that there are hold."""


def signed_by(network, validators, text, lines):
    """The time of a note that a quorum of these validators signed."""
    signed = signatures(keys_of(network, validators), text, lines)
    times = sorted((time for kind, time in signed.values() if kind == COSIGN), reverse=True)
    q = quorum(validators)
    if len(times) == len(signed) or len(times) < q:
        raise TooFew(f"the log did not sign, or {len(times)} cosignatures are fewer than {q}")
    return times[q - 1]


def signatures(keys, text, lines):
    """Public key of a validator -> (type, time) of its line. Lines of others mean nothing."""
    found = {}
    for line in lines:
        parts = re.fullmatch(r"\u2014 ([^\s+\x00-\x1f\x7f]+) (\S+)", line)
        need(parts and len(parts[1].encode()) <= 255, "a malformed signature line")
        blob = unb64(parts[2])
        need(len(blob) > 4, "a line without a signature")
        if (parts[1], blob[:4]) in keys:
            kind, public = keys[parts[1], blob[:4]]
            need(public not in found, "a key that signs twice")
            found[public] = kind, signed_at(text, kind, public, blob[4:])
    return found


def signed_at(text, kind, public, blob):
    """The time of a cosignature that holds; 0 of a signature of the log."""
    need(len(blob) == (64 if kind == LOG else 72), "a signature of another length")
    time = int.from_bytes(blob[:-64], "big")
    need(time < 1 << 63, "a time out of range")
    check_signature(public, text if kind == LOG else b"cosignature/v1\ntime %d\n" % time + text, blob[-64:])
    return time


def check_signature(public, message, signature):
    try:
        VerifyKey(public).verify(message, signature)
    except (BadSignatureError, NaclValueError):
        raise Refused("a signature that does not hold") from None


# -- "Tiles": a whole log --


def check_log(network, files):
    """The head and the leaves of a whole log; `files`: path below /log/ -> bytes."""

    def read(path):
        need(path in files, f"{path} is missing")
        return files[path]

    network = follow(network, lambda epoch: files.get(f"epochs/{epoch}"))
    head = read_note(network, read("checkpoint"))
    leaves = []
    for n, width in tiles(head.size):
        leaves += entries(read(tile_path("entries", n, width)), width)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    need(tree_root(hashes) == head.root, "the leaves have another root")
    for size, root in network.ends:
        need(size > head.size or tree_root(hashes[:size]) == root, "an epoch ended with another log")
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
    blob = unb64(lines[0][6:])
    need(len(blob) <= 768 * 1024, "an extra that is too long")
    extra = fields(canonical(utf8(blob)), "epochs", "leaves", "now", "v")
    need(is_int(extra["v"]) and extra["v"] == 1, "another version")
    network = carried(network, extra["epochs"])
    head = read_note(network, note)
    need(all(end <= head.size for end, _ in network.ends), "an epoch behind the checkpoint")
    leaves = check_leaves(extra["leaves"], head)
    index, body = one_of("artifact.add", leaves)
    own = next(row for row in extra["leaves"] if row["index"] == index)
    need(index == number(lines[1][6:]), "a proof of another leaf")
    check_inclusion(own["leaf"].encode(), index, head, [unb64(one) for one in lines[2:]])
    need(sha(file).hex() == body["sha256"], "another file")
    return head, body, check_now(extra["now"], leaves, body, head)


def carried(network, epochs):
    """The network with the epochs that a proof carries; those before its first one must be known."""
    fields(epochs, "first", "steps")
    first = epochs["first"]
    need(is_int(first) and 0 <= first <= len(network.ends), "epochs that begin with one that is not known")
    for epoch, text in enumerate(listed(epochs["steps"], 4_096), first):
        need(isinstance(text, str), "a step that is no text")
        before = Trust(network.genesis, network.origin, network.reigns[: epoch + 1], network.ends[:epoch])
        after = take(before, unb64(text))
        if epoch < len(network.ends):
            known = network.reigns[epoch + 1], network.ends[epoch]
            need(known == (after.reigns[-1], after.ends[-1]), "two ends of one epoch")
        else:
            network = after
    return network


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
    status = state.get(f"status/{artifact['sha256']}/{artifact['purl']}")
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
    top = fields(canonical(lines.pop(0)), "about", "checkpoint", "epochs", "path", "seal")
    need(top["about"] == about, "the history of another")
    need(isinstance(top["checkpoint"], str), "a note that is no text")
    network = carried(network, top["epochs"])
    head = read_note(network, top["checkpoint"].encode())
    need(all(end <= head.size for end, _ in network.ends), "an epoch behind the checkpoint")
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
