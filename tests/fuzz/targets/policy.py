"""Trust policies, and which notes satisfy them: the quorum is counted a second time, by recursion.

The first byte says which of the policy's witnesses cosign; the rest is the policy.
"""

from pyrsia.errors import Malformed
from pyrsia.log import note as notes
from pyrsia.log.note import COSIGNATURE, ED25519, SignatureLine, SignedNote, VerifierKey
from pyrsia.log.policy import Group, Policy, Witness, of_network
from tests.fuzz import laws
from tests.fuzz.targets import samples

MAX_BYTES = 2_048


def check(data: bytes) -> bool:
    chosen, body = data[:1], data[1:]
    policy = laws.read(Policy.parse, body)
    if policy is None:
        return False
    text = policy.text()
    assert Policy.parse(text) == policy
    assert Policy.parse(policy.text("a comment\nof two lines")) == policy
    bits = chosen[0] if chosen else 0
    cosigners = [part for at, part in enumerate(_witnesses(policy)) if bits >> at % 8 & 1]
    satisfied = _satisfied(policy, cosigners)
    if satisfied is not None:
        log, cosigned = satisfied
        assert cosigned == (_reached(policy, policy.quorum, {one.label for one in cosigners}) and log)
    return True


def _witnesses(policy: Policy) -> list[Witness]:
    return [part for part in policy.parts if isinstance(part, Witness)]


def _reached(policy: Policy, name: str, cosigned: set[str]) -> bool:
    if name == "none":
        return True
    part = next(one for one in policy.parts if one.label == name)
    if isinstance(part, Group):
        return sum(_reached(policy, member, cosigned) for member in part.members) >= part.need
    return part.party.key is not None and name in cosigned


def _satisfied(policy: Policy, cosigners: list[Witness]) -> tuple[bool, bool] | None:
    """(whether a log of the policy signed the note, whether the policy says it is satisfied); None: no such note.

    The verifier takes every signature for good: who signed is the question here, not how.
    """
    logs = [log.key for log in policy.logs if log.key is not None]
    head = samples.head_of(logs[0].name) if logs else samples.HEAD
    if laws.read(lambda text: type(head).parse_foreign(text), head.text()) is None:
        return None
    keys = [*logs[:1], *(one.party.key for one in cosigners if one.party.key is not None)]
    lines = tuple(_line(key) for key in keys)
    try:
        policy.check(SignedNote(head.text(), lines or (samples.NOTE.lines[0],)), lambda *_: True)
    except Malformed:
        return bool(logs), False
    return bool(logs), True


def _line(key: VerifierKey) -> SignatureLine:
    size = notes.SIGNATURE_BYTES + (notes.TIME_BYTES if key.kind == COSIGNATURE else 0)
    return SignatureLine(key.name, key.id, bytes(size))


def seeds() -> dict[str, bytes]:
    validators = [(f"v{at}", log.public, cosign.public) for at, (log, cosign) in enumerate(samples.PAIRS)]
    ours = of_network(samples.ORIGIN, validators, 2).text()
    outside = str(VerifierKey("w.example", COSIGNATURE, bytes(range(32))))
    more = of_network(
        samples.ORIGIN, validators, 1, outside=[outside], need=1, url="https://a.example/log"
    ).text()
    log = str(VerifierKey(samples.ORIGIN, ED25519, samples.PAIRS[0][0].public))
    by_hand = f"# c\n\nlog {log} https://x\n \twitness\ta {outside}\ngroup g any a\nquorum g\n".encode()
    return {
        "ours": b"\xff" + ours,
        "ours-half-signed": b"\x01" + ours,
        "with-outside": b"\x07" + more,
        "by-hand": b"\x01" + by_hand,
        "none": f"\0log {log}\nquorum none\n".encode(),
        "no-quorum": f"\0log {log}\n".encode(),
        "group-of-itself": b"\0group g any g\nquorum g\n",
        "octets-beyond-utf-8": b"\0" + by_hand.replace(b"witness\ta", b"witness\t\xff\xfe"),
        "control-character": b"\0" + by_hand.replace(b"# c", b"# \x01"),
    }
