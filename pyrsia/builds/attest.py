"""Provenance of one build: an in-toto Statement (SLSA provenance v1) in a DSSE envelope. Pure.

Decides the bytes that a builder signs and whether an envelope holds under a key. Leaves out who may sign:
the log says which build key belongs to which builder. `keyid` is a hint for other tools and decides
nothing here. What is signed are the payload's bytes; they are never rebuilt from what was parsed.

Source: docs/attestations.md, "Provenance"; DSSE protocol 1.0.2; SLSA provenance v1; in-toto Statement v1.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyrsia.builds import dsse
from pyrsia.builds.dsse import Sign, Verify
from pyrsia.errors import Malformed
from pyrsia.units import MAX_ATTESTATION_BYTES
from pyrsia.wire import canonical

_KEY: Final = re.compile("[0-9a-f]{64}")
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://pyrsia.io/build/{ecosystem}/v1"


def statement(
    *,
    request_id: str,
    request: Mapping[str, Any],
    subjects: Sequence[tuple[str, str]],
    builder: str,
    environment: str,
    isolation: str,
    lock_sha256: str,
    inputs: Sequence[tuple[str, str]] = (),
    byproducts: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The Statement's bytes for one result.

    Args:
        request_id: entry id of the `build.request`, hex; becomes the invocation id.
        request: the body of that entry.
        subjects: (name, sha256 hex) of each output; names are unique.
        builder: node id of the builder.
        inputs: (purl or file, sha256 hex) of the build tools; left out, longest list first, when the
            envelope would grow past its limit: the lock's digest covers them.
        byproducts: (name, sha256 hex) of lists and logs.

    Raises:
        ValueError: two subjects of one name, or a statement that is too large without `inputs`.
    """
    if len({name for name, _ in subjects}) != len(subjects) or not subjects:
        raise ValueError("a statement needs subjects with different names")
    dependencies: list[canonical.Json] = [
        _source(request),
        {"digest": {"sha256": lock_sha256}, "name": "lock"},
    ]
    run: canonical.Json = {
        "builder": {"id": f"https://pyrsia.io/builder/{builder}"},
        "byproducts": _digests(byproducts),
        "metadata": {"invocationId": request_id},
    }
    for listed in (inputs, ()):
        resolved = [*dependencies, *_digests(listed)]
        definition = _definition(request, environment, isolation, resolved)
        payload = canonical.encode(
            {
                "_type": STATEMENT_TYPE,
                "predicate": {"buildDefinition": definition, "runDetails": run},
                "predicateType": PREDICATE_TYPE,
                "subject": _digests(subjects),
            }
        )
        # base64 makes four characters of three bytes; the rest is the envelope itself.
        if len(payload) * 4 // 3 + 400 <= MAX_ATTESTATION_BYTES.value:
            return payload
    raise ValueError(f"a statement of {len(payload)} bytes")


def _definition(
    request: Mapping[str, Any], environment: str, isolation: str, resolved: list[canonical.Json]
) -> canonical.Json:
    """What was asked for and what it was made with: `resolved` are sources and tools."""
    return {
        "buildType": BUILD_TYPE.format(ecosystem=request["ecosystem"]),
        "externalParameters": {
            "coordinates": dict(request["coordinates"]),
            "purl": request["purl"],
            "target": dict(request["target"]),
        },
        "internalParameters": {
            "environment": environment,
            "isolation": isolation,
            "recipe": dict(request["recipe"]),
        },
        "resolvedDependencies": resolved,
    }


def _source(request: Mapping[str, Any]) -> canonical.Json:
    """The source as in-toto describes a resource; of a git source the commit stands beside the archive's digest."""
    source = request["source"]
    digest = {"sha256": source["sha256"]}
    if "git" in source:
        digest["gitCommit"] = source["git"]["commit"]
    return {"digest": dict(sorted(digest.items())), "name": source["file"], "uri": request["purl"]}


def _digests(named: Sequence[tuple[str, str]]) -> list[canonical.Json]:
    """in-toto's resource descriptors of (name, sha256 hex)."""
    return [{"digest": {"sha256": digest}, "name": name} for name, digest in named]


def envelope(payload: bytes, sign: Sign, keyid: str) -> str:
    """The DSSE envelope of one builder's Statement, as JSON text.

    Args:
        sign: makes the 64-byte Ed25519 signature of the bytes given to it.
        keyid: hex of the public key; a hint.
    """
    return dsse.envelope(payload, [(keyid, sign(dsse.signed_text(payload)))])


def open_envelope(text: str, public: bytes, verify: Verify) -> dict[str, Any]:
    """The Statement in an envelope that `public` signed.

    Raises:
        Malformed: no envelope, another payload type, no signature of that key, or no Statement.
    """
    payload, _ = dsse.opened(text, [public], verify)
    return _statement(payload)


def key_ids(text: str) -> tuple[str, ...]:
    """Public keys, in hex, that an envelope says signed it: hints, at most four, believed by nobody.

    Whatever else stands there is left out; what is no envelope has none.
    """
    try:
        hints = [one["keyid"] for one in json.loads(text)["signatures"][:4]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(hint for hint in hints if isinstance(hint, str) and _KEY.fullmatch(hint))


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        value = json.loads(payload)
        good = value["_type"] == STATEMENT_TYPE and value["predicateType"] == PREDICATE_TYPE
        digests = [one["digest"]["sha256"] for one in value["subject"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed("not an in-toto Statement") from error
    if not good or not digests:
        raise Malformed("a Statement of another kind, or without a subject")
    return dict(value)
