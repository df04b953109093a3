"""Write `vectors/entries.json`: byte strings that are entries of version 1, and some that are none.

    python -m tests.wire.make_entries

Everything comes from fixed keys and fixed times, so that a change of the format is a change of the file.
`why` says which part of the rules refuses: `json` (not canonical JSON), `envelope` (the fields around the
body), `fields` (missing ones, or too many), `value` (a field's form, or fields that do not go together).
"""

import json
from pathlib import Path

from pyrsia.ledger import entries, receipts
from pyrsia.wire import canonical
from pyrsia.wire.blocks import Justification
from pyrsia.wire.text import b32
from tests.reference.governance import (
    Governed,
    every_fact,
    every_motion,
    fact,
    mapping,
    member_motion,
    newcomer,
    numbers,
    withdrawal,
)
from tests.reference.ledger import START, blob, file_record, key
from tests.reference.misdeeds import Misdeeds

FILE = Path(__file__).parent / "vectors" / "entries.json"
GONE = object()  # a value that is taken away
NODE = b32(bytes(32))
RECEIPT = {"node": NODE, "sig": "ab" * 64}


def receipt(world, holder, builder, body, request):
    """What a storage member signs for a reveal; that the member has this role is no matter of form."""
    node = key(holder, "node")
    kept = receipts.blobs(body, request)
    text = receipts.signed_text(world.genesis.net, body["request"], b32(builder.public), kept)
    return {"node": b32(node.public), "sig": node.sign(text).hex()}


def accepted():
    """(name, bytes) of every type, with the shapes that it can take. No block is executed for it."""
    world = Governed()
    asked, request = world.request()
    builders = world.nodes[:3]
    yield "network.genesis", world.genesis.raw
    yield "build.request", asked
    said = entries.parse(asked).body
    git = {"commit": "ab" * 20, "tag": "v1.0", "tree": "cd" * 32}
    maven = {
        **said, "coordinates": {"name": "commons-text", "namespace": "org.apache.commons", "version": "1.12.0"},
        "ecosystem": "maven", "purl": "pkg:maven/org.apache.commons/commons-text@1.12.0",
        "recipe": {**said["recipe"], "parameters": [["goals", "package"], ["profiles", ""]]},
        "source": {**said["source"], "git": git},
        "target": {"arch": "x86_64", "compiler": "gcc-12", "jdk": "17", "libc": "glibc-2.36", "os": "linux"},
    }  # fmt: skip
    yield "build.request from git", world.entry(world.follower, "build.request", maven)
    untagged = {**said["source"], "git": {**git, "commit": "ab" * 32, "tag": ""}, "manifest": "ef" * 32}
    own = f"pkg:generic/{b32(world.follower.public)}/pypi/idna@1.0"
    claimed = {**said, "purl": own, "source": untagged, "target": {"arch": "any", "libc": "", "os": "any"}}
    yield "build.request under an own name", world.entry(world.follower, "build.request", claimed)
    yield "build.cancel", world.entry(world.follower, "build.cancel", {"request": request})
    body = world.reveal(request)
    yield "build.commit", world.commit(builders[0], body)
    yield "build.reveal", world.entry(builders[0], "build.reveal", body)
    failed = {"outcome": "failed", "outputs": [], "phase": "build"}
    yield "build.reveal of a failure", world.entry(builders[1], "build.reveal", {**body, **failed})
    given = sorted(
        (receipt(world, holder, builders[1], body, said) for holder in (1, 2)), key=lambda one: one["node"]
    )
    yield "build.reveal with receipts", world.entry(builders[1], "build.reveal", {**body, "receipts": given})
    upstream = {
        "upstream": file_record("upstream"), "upstream_relation": "equivalent", "requires_python": ">=3.8",
    }  # fmt: skip
    outputs = [{**body["outputs"][0], **upstream}]
    named = {**body, "outputs": outputs}
    yield "build.reveal with an upstream file", world.entry(builders[2], "build.reveal", named)
    bare = {name: value for name, value in file_record("jar").items() if name != "metadata"}
    files = [
        {**body["outputs"][0], "canonical": bare, "name": f"thing-1.0{end}", "raw": bare}
        for end in ("-sources.jar", ".jar", ".pom")
    ]
    several = {**body, "outputs": files, "source": "mapping"}
    yield "build.reveal of several files", world.entry(builders[2], "build.reveal", several)
    for name, kind, derived in _derived(request, [b32(builder.public) for builder in builders]):
        yield name, entries.derive(kind, derived, net=world.genesis.net)
    yield from _governed(world)


def _derived(request, nodes):
    """(name, type, body) of what a ledger would compute; what it says need not be true to be well formed."""
    yield "build.draw", "build.draw", {
        "agreeing": 2, "beacon": "66" * 32, "builders": nodes, "commit_deadline": START + 600_000,
        "excluded": "operator-4", "min_isolation": "namespace",
        "operators": [f"operator-{i}" for i in range(len(nodes))], "request": request,
        "reveal_deadline": START + 720_000, "round": 0,
    }  # fmt: skip
    found = {
        "agreeing": nodes[:2],
        "dissenting": [{"builder": nodes[2], "why": "other contents"}],
        "purl": "pkg:pypi/idna@1.0",
        "request": request,
        "source_sha256": blob("source")["sha256"],
    }
    yield "build.verdict", "build.verdict", {**found, "silent": [], "verdict": "REPRODUCED"}
    artifact = {
        **found, **file_record("same"), "containment": "full", "file": "idna-1.0-py3-none-any.whl", "served": "raw",
        "source": "registry", "time_ms": START, "upstream": "none", "verdict": "REPRODUCED",
    }  # fmt: skip
    yield "artifact.add", "artifact.add", artifact
    served = {
        "requires_python": ">=3.8",
        "served": "upstream",
        "upstream": "equivalent",
        "verdict": "EQUIVALENT",
    }
    yield "artifact.add of upstream bytes", "artifact.add", {**artifact, **file_record("upstream"), **served}
    seen = {"containment": "none", "served": "upstream", "upstream": "identical", "verdict": "WITNESSED"}
    jar = {name: value for name, value in artifact.items() if name != "metadata"}
    yield "artifact.add of what was witnessed", "artifact.add", {**jar, **seen, "file": "thing-1.0.jar"}
    seal = {
        "beacon": "11" * 32, "epoch": 0, "first_leaf": 8, "height": 3, "index_root": "22" * 32, "proposer": 2,
        "reveal": "33" * 32, "state_root": "44" * 32, "time_ms": START, "view": 5,
    }  # fmt: skip
    yield "block.seal", "block.seal", seal
    yield "block.seal with a next chain", "block.seal", {**seal, "next_chain": "55" * 32}
    yield "block.seal that ends an epoch", "block.seal", {**seal, "next_members": "66" * 32}


def _governed(world):
    author = world.follower
    sha256 = file_record("upstream")["sha256"]
    for kind, body in every_motion(world, sha256).items():
        yield f"motion.propose of {kind}", world.entry(author, "motion.propose", body)
    validator = member_motion(
        "member.add", member=newcomer(roles=("builder", "issuer", "storage", "validator"))
    )
    yield "motion.propose of a validator", world.entry(author, "motion.propose", validator)
    bare = mapping(keys=[], recipe={}, replaces=3)
    yield "motion.propose of a bare mapping", world.entry(author, "motion.propose", bare)
    one = numbers(rules={"height": 1, "version": 1})
    yield "motion.propose of one number", world.entry(author, "motion.propose", one)
    yield "motion.approve", world.entry(world.nodes[0], "motion.approve", {"motion": "ab" * 32})
    yield "artifact.withdraw", world.entry(author, "artifact.withdraw", withdrawal(world, sha256))
    yield "fact.add", world.entry(author, "fact.add", fact())
    for kind, body in every_fact().items():
        yield f"fact.add of {kind}", world.entry(author, "fact.add", body)
    checked = fact("recheck", outcome="unstable", request="12" * 32, self=True)
    yield "fact.add of a self-check", world.entry(author, "fact.add", checked)
    longest = fact(subject="pkg:generic/".ljust(300, "s"), text="é" * 512, valid_from=canonical.MAX_INT)
    yield "fact.add at its bounds", world.entry(author, "fact.add", longest)
    escapes = fact(text='"\\\n\t\x1f\x7f/é\U0001f600')
    yield "fact.add with text that needs escapes", world.entry(author, "fact.add", escapes)
    later = fact(supersedes="ab" * 32)
    yield "fact.add that supersedes", world.entry(author, "fact.add", later)
    yield "fact.add that withdraws", world.entry(author, "fact.add", {**later, "withdrawn": True})
    did = Misdeeds(world)
    not_one, not_two, fin_one, fin_two, nul = did.statements()
    for name, pair in (
        ("two NOT votes", (not_one, not_two)), ("two FIN votes", (fin_one, fin_two)),
        ("NUL and FIN", (nul, fin_one)), ("NOT and FIN", (not_one, fin_two)),
    ):  # fmt: skip
        yield f"fault.evidence of {name}", world.entry(author, "fault.evidence", did.pair(1, *pair))
    short = did.justification()
    short = Justification(short.parent_cert, short.gap[1:])
    gap = did.block(2, did.header(just=short), short)
    yield "fault.evidence of a gap", world.entry(author, "fault.evidence", gap)


# type -> (what is wrong, path in the body, value), on the first accepted entry of that type
WRONG = {
    "build.request": [
        ("purl not canonical", ["purl"], "pkg:pypi/Idna@1.0"),
        ("purl with a qualifier", ["purl"], "pkg:pypi/idna@1.0?a=b"),
        ("source with a URL", ["source", "url"], "http://x", "fields"),
        ("source file with a slash", ["source", "file"], "a/idna.tar.gz"),
        ("source file that is an option", ["source", "file"], "-rf"),
        ("recipe version 2", ["recipe", "v"], 2),
        ("size as text", ["lock", "size"], "100"),
        ("size over 2^50", ["lock", "size"], (1 << 50) + 1),
        ("libc of 101 bytes", ["target", "libc"], "x" * 101),
        ("sde over 2^40", ["recipe", "sde"], (1 << 40) + 1),
        ("ecosystem with a space", ["ecosystem"], "p ip"),
        ("requester that is no node id", ["requester"], "a" * 51 + "b"),
        ("commit of 39 digits", ["source", "git"], {"commit": "a" * 39, "tag": "", "tree": "00" * 32}),
        ("git without a tree", ["source", "git"], {"commit": "a" * 40, "tag": ""}, "fields"),
        ("a tag with a space", ["source", "git"], {"commit": "a" * 40, "tag": "v 1", "tree": "00" * 32}),
        ("source manifest too short", ["source", "manifest"], "00" * 31),
        ("parameters not sorted", ["recipe", "parameters"], [["b", ""], ["a", ""]]),
        ("a parameter over 200 bytes", ["recipe", "parameters"], [["a", "x" * 201]]),
        ("33 parameters", ["recipe", "parameters"], [[f"p{at:02}", ""] for at in range(33)]),
        ("an unknown target", ["target", "ruby"], "3.2", "fields"),
        ("an empty namespace", ["coordinates", "namespace"], ""),
        ("a maven purl without a group", ["purl"], "pkg:maven/commons-text@1.12.0"),
        ("a conan purl in upper case", ["purl"], "pkg:conan/Zlib@1.3.1"),
        ("a docker purl with a registry's port", ["purl"], "pkg:docker/host:5000/app@1"),
    ],
    "build.cancel": [
        ("request too short", ["request"], "00" * 31),
        ("upper-case hex", ["request"], "AB" * 32),
    ],
    "build.commit": [("commitment too long", ["commitment"], "00" * 33)],
    "build.reveal": [
        ("built without outputs", ["outputs"], []),
        ("built with a phase", ["phase"], "build"),
        ("failed with outputs", ["outcome"], "failed"),
        ("33 outputs", ["outputs"], [{}] * 33),
        ("two outputs of one name", ["outputs"], lambda outputs: outputs * 2),
        ("relation without a file", ["outputs", 0, "upstream_relation"], "identical"),
        ("file without a relation", ["outputs", 0, "upstream"], file_record("x")),
        ("unknown isolation", ["isolation"], "none"),
        ("unknown source", ["source"], "hearsay"),
        ("nonce too short", ["nonce"], "00" * 31),
        ("attestation over its bound", ["attestation"], "x" * 16_385),
        ("phase over its bound", ["phase"], "x" * 61),
        ("a path as a name", ["outputs", 0, "name"], "../x.whl"),
        ("a receipt that is none", ["receipts"], [True]),
        ("a receipt without its signature", ["receipts"], [{"node": NODE}], "fields"),
        ("a receipt with a digest of its own", ["receipts"], [{**RECEIPT, "sha256": "ab" * 32}], "fields"),
        ("a receipt with half a signature", ["receipts"], [{**RECEIPT, "sig": "ab" * 32}]),
        ("a receipt of nobody", ["receipts"], [{**RECEIPT, "node": "x"}]),
        ("two receipts of one member", ["receipts"], [RECEIPT, RECEIPT]),
        ("receipts that are not sorted", ["receipts"], [RECEIPT, {**RECEIPT, "node": b32(b"\xff" * 32)}]),
        ("35 receipts", ["receipts"], [{**RECEIPT, "node": b32(bytes([i]) * 32)} for i in range(35)]),
        ("a blob without its manifest", ["log", "manifest"], GONE, "fields"),
    ],
    "build.draw": [
        ("round 2", ["round"], 2),
        ("T of none", ["agreeing"], 0),
        ("an operator less than builders", ["operators"], ["operator-0"]),
        ("isolation of another word", ["min_isolation"], "none"),
        ("builder that is no node id", ["builders", 0], "a" * 51 + "b"),
        ("101 builders", ["builders"], [b32(bytes(32))] * 101),
    ],
    "build.verdict": [
        ("unknown verdict", ["verdict"], "MAYBE"),
        ("dissent without a reason", ["dissenting"], [{"builder": b32(bytes(32))}], "fields"),
    ],
    "artifact.add": [
        ("unknown relation", ["upstream"], "similar"),
        ("unknown way of serving", ["served"], "rewritten"),
        ("negative zero is no time", ["time_ms"], True),
    ],
    "block.seal": [
        ("height as true", ["height"], True),
        ("next chain too short", ["next_chain"], "00" * 8),
        ("proposer over 16 bits", ["proposer"], 65_536),
        ("index root too short", ["index_root"], "00" * 31),
    ],
    "motion.approve": [("motion too short", ["motion"], "00" * 31)],
    "artifact.withdraw": [
        ("a purl without a version", ["purl"], "pkg:pypi/idna"),
        ("no reason", ["reason"], ""),
        ("a reason over 1 KiB", ["reason"], "x" * 1_025),
        ("signature of 63 bytes", ["sig"], "00" * 63),
        ("key as a node id", ["key"], b32(bytes(32))),
    ],
    "fact.add": [
        ("text over 1 KiB", ["text"], "x" * 1_025),
        ("text over 1 KiB in UTF-8", ["text"], "é" * 513),
        ("empty subject", ["subject"], ""),
        ("subject that is neither purl nor digest", ["subject"], "idna"),
        ("subject over 300 characters", ["subject"], "pkg:generic/".ljust(301, "s")),
        ("digest in upper case", ["subject"], "sha256:" + "AB" * 32),
        ("digest of another hash", ["subject"], "sha512:" + "ab" * 64),
        ("unknown kind", ["kind"], "gossip"),
        ("fields of another kind", ["severity"], "high", "fields"),
        ("a range of one version", ["range"], [{"introduced": "0"}]),
        ("supersedes too short", ["supersedes"], "00" * 31),
        ("withdrawn without what", ["withdrawn"], True, "fields"),
        ("a blob without a size", ["blob"], {"manifest": "00" * 32, "sha256": "00" * 32}, "fields"),
    ],
}
# name of an accepted entry -> the same
WRONG_SHAPE = {
    "fact.add of advisory": [
        ("unknown severity", ["severity"], "awful"),
        ("no severity", ["severity"], GONE, "fields"),
        ("aliases not sorted", ["aliases"], ["PYSEC-1", "CVE-1"]),
        ("an alias twice", ["aliases"], ["CVE-1", "CVE-1"]),
        ("a range of a version", ["subject"], "pkg:pypi/idna@1.0"),
        ("an empty range", ["range"], []),
        ("a range with two ends", ["range"], [{"fixed": "2", "introduced": "0", "last": "1"}]),
        ("a range without a start", ["range"], [{"fixed": "2"}], "fields"),
        ("65 ranges", ["range"], [{"introduced": "0"}] * 65),
        ("versions not sorted", ["versions"], ["2", "1"]),
        ("an empty list of versions", ["versions"], []),
        ("versions of a version", ["subject"], "pkg:pypi/idna@2.0"),
    ],
    "fact.add of vex": [
        ("unknown outcome", ["outcome"], "fine"),
        ("no outcome", ["outcome"], GONE, "fields"),
    ],
    "fact.add of commit-signature": [
        ("a short commit", ["commit"], "ab" * 19),
        ("good as a number", ["good"], 1),
    ],
    "fact.add of recheck": [
        ("found too short", ["files", 0, "found"], "ab" * 31),
        ("an outcome of itself", ["outcome"], "stable"),
        ("of itself, and contradicts", ["self"], True),
        ("of no request", ["request"], GONE, "fields"),
        ("files not sorted", ["files"], lambda files: files[::-1]),
        ("a file without what was expected", ["files", 0, "expected"], GONE, "fields"),
    ],
    "fact.add that withdraws": [
        ("withdrawn false", ["withdrawn"], False),
        ("withdrawn with a blob", ["blob"], blob("x"), "fields"),
        ("withdrawn of nothing", ["supersedes"], GONE, "fields"),
    ],
    "motion.propose of mapping.set": [
        ("unknown kind", ["kind"], "mapping.drop"),
        ("another kind's fields", ["kind"], "member.add", "fields"),
        ("a purl with a version", ["purl"], "pkg:pypi/idna@1.0"),
        ("repository without https", ["repository"], "http://github.com/kjd/idna"),
        ("repository with a password", ["repository"], "https://a:b@github.com/kjd/idna"),
        ("repository that goes up", ["repository"], "https://github.com/../idna"),
        ("a tag without its version", ["tag"], "v1.0"),
        ("a tag with two", ["tag"], "{version}{version}"),
        ("17 keys", ["keys"], [f"{at:064x}" for at in range(17)]),
        ("keys not sorted", ["keys"], ["11" * 32, "00" * 32]),
        ("a key twice", ["keys"], ["00" * 32, "00" * 32]),
        ("an unknown default", ["recipe", "sde"], 1, "fields"),
        ("parameters not sorted", ["recipe", "parameters"], [["b", ""], ["a", ""]]),
        ("a parameter twice", ["recipe", "parameters"], [["a", "1"], ["a", "2"]]),
        ("replaces what cannot be", ["replaces"], canonical.MAX_INT),
    ],
    "motion.propose of member.add": [
        ("a key that its roles do not need", ["member", "vote"], "00" * 32),
        ("a role without its key", ["member", "build"], ""),
        ("an unknown role", ["member", "roles"], ["king"]),
        ("roles not sorted", ["member", "roles"], ["storage", "builder"]),
        ("no operator", ["member", "operator"], GONE, "fields"),
        ("a name with a control character", ["member", "name"], "a\nb"),
    ],
    "motion.propose of a validator": [
        ("one key for two purposes", ["member", "log"], key("new", "vote").public.hex()),
        ("no end of its chain", ["member", "chain_end"], ""),
    ],
    "motion.propose of member.rotate": [
        ("no new key", ["build"], GONE),
        ("one key for two purposes", ["vote"], key("next", "build").public.hex()),
        ("a new node key", ["member"], "00" * 32, "fields"),
    ],
    "motion.propose of network.set": [
        ("T half of K", ["agreeing"], 2),
        ("T over K", ["agreeing"], 5),
        ("K of 2", ["builders"], 2),
        ("limits not sorted", ["limits"], [["member", 1], ["builder", 1]]),
        ("a limit twice", ["limits"], [["member", 1], ["member", 2]]),
        ("environments not sorted", ["environments"], ["b", "a"]),
        ("rules without a height", ["rules", "height"], GONE, "fields"),
        ("rules version 0", ["rules", "version"], 0),
        ("rules from height 0", ["rules", "height"], 0),
        ("what genesis alone says", ["min_isolation"], "confined", "fields"),
    ],
    "motion.propose of one number": [("nothing changed", ["rules"], GONE)],
    "motion.propose of artifact.withdraw": [
        ("a purl without a version", ["purl"], "pkg:pypi/idna"),
        ("no reason", ["reason"], ""),
    ],
    "fault.evidence of two NOT votes": [
        ("unknown kind", ["kind"], "hearsay"),
        ("another epoch", ["epoch"], 1),
        ("bytes after the vote", ["second"], lambda value: value + "00"),
        ("half a vote", ["second"], lambda value: value[:-2]),
        ("odd hex", ["second"], lambda value: value[:-1]),
        ("a view over 2^53", ["first"], lambda value: value[:18] + "ff" * 8 + value[34:]),
        ("a vote of 300 bytes", ["second"], "00" * 300),
    ],
    "fault.evidence of a gap": [
        ("another justification", ["justification"], "000000"),
        ("a justification over its bound", ["justification"], "00" * 24_001),
        ("a header of another size", ["header"], lambda value: value[:-2]),
        ("another header than the vote's", ["header"], lambda value: value[:-2] + "01"),
        ("another epoch", ["epoch"], 1),
    ],
}


OPTIONAL = {("artifact.add", "metadata")}  # (type, field) that may be left out, of first accepted entries


def changed(raw, path, value):
    """The canonical bytes with one value of the body changed, set or taken away."""
    said = json.loads(raw)
    place = said["body"]
    for step in path[:-1]:
        place = place[step]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return canonical.encode(said)


def refused(known):
    """(name, why, bytes)."""
    by_kind = {}
    for name, raw in known.items():
        by_kind.setdefault(entries.parse(raw).kind, (name, raw))
    for kind, (_, raw) in by_kind.items():
        if kind == "network.genesis":
            continue
        body = json.loads(raw)["body"]
        for field in body:
            # Without its kind, nobody can say which fields are missing.
            why = "value" if field == "kind" else "fields"
            if (kind, field) not in OPTIONAL:
                yield f"{kind}: {field} missing", why, changed(raw, [field], GONE)
            yield f"{kind}: {field} of another type", "value", changed(raw, [field], [[]])
        yield f"{kind}: extra field", "fields", changed(raw, ["x"], 1)
        for what, path, value, *why in WRONG.get(kind, []):
            yield f"{kind}: {what}", *(why or ["value"]), changed(raw, path, value)
    for name, cases in WRONG_SHAPE.items():
        for what, path, value, *why in cases:
            yield f"{name}: {what}", *(why or ["value"]), changed(known[name], path, value)
    yield from _pairs()
    yield from _envelopes(known)
    yield from _bytes(known["fact.add"])


def _pairs():
    """Evidence of what an honest validator may say."""
    world = Governed()
    did = Misdeeds(world)
    not_one, not_two, fin_one, _, nul = did.statements()
    elsewhere = did.statements(view=7)

    def told(body):
        envelope = json.loads(world.entry(world.follower, "fact.add", fact()))
        return canonical.encode({**envelope, "type": "fault.evidence", "body": body})

    for name, one, two in (
        ("NOT, then NUL", not_one, nul), ("NOT and FIN of one block", not_one, fin_one),
        ("one vote twice", not_one, not_one), ("two views", not_one, elsewhere[1]),
    ):  # fmt: skip
        yield f"fault.evidence: {name}", "value", told(did.pair(1, one, two))
    pair = did.pair(1, not_one, not_two)
    swapped = {**pair, "first": pair["second"], "second": pair["first"]}
    yield "fault.evidence: votes not sorted", "value", told(swapped)
    two = {**pair, "second": max(pair["first"], did.vote(2, not_two).encode().hex())}
    two["first"] = min(pair["first"], did.vote(2, not_two).encode().hex())
    yield "fault.evidence: two signers", "value", told(two)
    just = did.justification()
    given_up = did.block(2, did.header(just=just), just, lambda header: nul)
    yield "fault.evidence: a NUL vote is for no block", "value", told(given_up)


def _envelopes(known):
    raw = known["fact.add"]
    said = json.loads(raw)

    def enveloped(**changes):
        return canonical.encode(
            {name: value for name, value in {**said, **changes}.items() if value is not GONE}
        )

    for field in said:
        yield f"envelope: {field} missing", "envelope", enveloped(**{field: GONE})
    yield "envelope: extra field", "envelope", enveloped(x=1)
    yield "envelope: unknown type", "envelope", enveloped(type="fact.put")
    yield "envelope: version 2", "envelope", enveloped(v=2)
    yield "envelope: version true", "envelope", enveloped(v=True)
    yield "envelope: body as a list", "envelope", enveloped(body=[])
    yield "envelope: nonce of 15 bytes", "value", enveloped(nonce="00" * 15)
    yield "envelope: signature of 63 bytes", "value", enveloped(sig="00" * 63)
    yield "envelope: until as text", "value", enveloped(until="1")
    yield "envelope: author with bits left over", "value", enveloped(author="a" * 51 + "b")
    yield "envelope: author as a number", "value", enveloped(author=1)
    yield "envelope: net in upper case", "value", enveloped(net=said["net"].upper())
    genesis = json.loads(known["network.genesis"])
    yield "network.genesis: with a net", "envelope", canonical.encode({**genesis, "net": said["net"]})
    yield (
        "network.genesis: with an author",
        "envelope",
        enveloped(type="network.genesis", body=genesis["body"]),
    )
    for kind in sorted(entries.DERIVED):
        bare = json.loads(known[kind])
        signed = {
            **bare,
            "author": said["author"],
            "nonce": said["nonce"],
            "sig": said["sig"],
            "until": START,
        }
        yield f"{kind}: signed", "envelope", canonical.encode(signed)
    for kind in sorted(entries.AUTHORED):
        name = next(name for name in known if entries.parse(known[name]).kind == kind)
        bare = json.loads(known[name])
        unsigned = {field: bare[field] for field in ("body", "net", "type", "v")}
        yield f"{kind}: not signed", "envelope", canonical.encode(unsigned)


def _bytes(raw):
    """One entry, written in ways that are not the one way."""
    at = raw.index(b'"text":"') + len(b'"text":"')
    number = raw.index(b'"valid_from":1') + len(b'"valid_from":')

    def text(word):
        return raw[:at] + word + raw[at:]

    def valid_from(word):
        return raw[:number] + word + raw[number + 1 :]

    for name, data in {
        "empty": b"", "not JSON": b"{", "cut": raw[:-1], "trailing newline": raw + b"\n", "two entries": raw + raw,
        "leading space": b" " + raw, "space inside": raw.replace(b",", b", ", 1),
        "byte order mark": b"\xef\xbb\xbf" + raw,
        "unsorted": b"{" + raw[1:-1].split(b",", 1)[1] + b"," + raw[1:].split(b",", 1)[0] + b"}",
        "duplicate field": raw[:-1] + b',"v":1}',
        "float": valid_from(b"1.5"), "whole float": valid_from(b"1.0"), "exponent": valid_from(b"1e3"),
        "minus zero": valid_from(b"-0"), "negative": valid_from(b"-1"), "leading zero": valid_from(b"01"),
        "plus sign": valid_from(b"+1"), "number too large": valid_from(b"9007199254740992"),
        "null": valid_from(b"null"), "NaN": valid_from(b"NaN"),
        "escaped ASCII": text(b"\\u0061"), "escaped slash": text(b"\\/"), "escaped text": text(b"\\u00e9"),
        "raw control character": text(b"\x01"), "upper-case escape": text(b"\\u001F"),
        "short escape written long": text(b"\\u000a"), "bad UTF-8": text(b"\xff"), "overlong UTF-8": text(b"\xc0\xaf"),
        "escaped surrogate": text(b"\\ud800"), "encoded surrogate": text(b"\xed\xa0\x80"),
        "depth 9": b'{"body":{"a":[[[[[[[[1]]]]]]]]},"type":"fact.add","v":1}',
        "a name that is not ASCII": raw.replace(b'"v":1}', '"v":1,"é":1}'.encode()),
    }.items():  # fmt: skip
        yield f"bytes: {name}", "json", data
    yield "bytes: a list", "envelope", b"[]"
    yield "bytes: a text", "envelope", b'"x"'
    yield "bytes: a number", "envelope", b"1"


def _text(raw):
    """As text, so that a change is readable; in hex what is no UTF-8."""
    try:
        return {"raw": raw.decode()}
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def vectors():
    """The content of the file."""
    known = dict(accepted())
    told = [
        {
            "id": entries.parse(raw).id.hex(),
            "name": name,
            "raw": raw.decode(),
            "type": entries.parse(raw).kind,
        }
        for name, raw in known.items()
    ]
    no = [{**_text(raw), "name": name, "why": why} for name, why, raw in refused(known)]
    return {"accepted": told, "refused": no}


def written():
    return json.dumps(vectors(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(written())
