"""Leaves of the log, every type; the id is computed a second time with the standard library's JSON."""

import json
from pathlib import Path

from blake3 import blake3

from pyrsia.keys import verify
from pyrsia.ledger import entries
from tests.fuzz import laws

MAX_BYTES = 4_096
JSON = True

VECTORS = Path(__file__).parents[2] / "wire" / "vectors" / "entries.json"
LONGEST_SEED = 3_000
REFUSED = 12  # of several hundred refused cases


def check(data: bytes) -> bool:
    entry = laws.read(entries.parse, data)
    if entry is None:
        return False
    assert entry.raw == data
    said = json.loads(data)
    signature = said.pop("sig", "")
    signed = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert entry.id == blake3(b"pyrsia/entry/v1\x00" + signed).digest()
    assert (entry.kind, entry.body, entry.signature.hex()) == (said["type"], said["body"], signature)
    entry.signature_holds(verify)
    list(entries.manifests(data))
    return True


def seeds() -> dict[str, bytes]:
    cases = json.loads(VECTORS.read_text())
    made = {case["name"]: case["raw"].encode() for case in cases["accepted"]}
    for case in cases["refused"][:: len(cases["refused"]) // REFUSED]:
        made[f"not {case['name']}"] = bytes.fromhex(case["hex"]) if "hex" in case else case["raw"].encode()
    return {name: raw for name, raw in made.items() if len(raw) <= LONGEST_SEED}
