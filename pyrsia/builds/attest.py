"""Provenance of one build: an in-toto Statement (SLSA provenance v1) in a DSSE envelope. Pure.

Decides the bytes that a builder signs and whether an envelope holds under a key. Leaves out who may sign:
the log says which build key belongs to which builder. `keyid` is a hint for other tools and decides
nothing here. What is signed are the payload's bytes; they are never rebuilt from what was parsed.

Source: docs/builds.md, "Provenance"; DSSE protocol 1.0.2; SLSA provenance v1; in-toto Statement v1.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ATTESTATION_BYTES
from pyrsia.wire import canonical

_KEY: Final = re.compile("[0-9a-f]{64}")
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://pyrsia.io/build/pip-wheel/v1"

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]  # public key, message, signature


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


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
    source = request["source"]
    dependencies: list[canonical.Json] = [
        {"digest": {"sha256": source["sha256"]}, "name": source["file"], "uri": request["purl"]},
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
        "buildType": BUILD_TYPE,
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


def _digests(named: Sequence[tuple[str, str]]) -> list[canonical.Json]:
    """in-toto's resource descriptors of (name, sha256 hex)."""
    return [{"digest": {"sha256": digest}, "name": name} for name, digest in named]


def envelope(payload: bytes, sign: Sign, keyid: str) -> str:
    """The DSSE envelope as JSON text.

    Args:
        sign: makes the 64-byte Ed25519 signature of the bytes given to it.
        keyid: hex of the public key; a hint.
    """
    signature = sign(pae(PAYLOAD_TYPE, payload))
    return canonical.encode(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
        }
    ).decode()


def open_envelope(text: str, public: bytes, verify: Verify) -> dict[str, Any]:
    """The Statement in an envelope that `public` signed.

    Raises:
        Malformed: no envelope, another payload type, no signature of that key, or no Statement.
    """
    if len(text) > MAX_ATTESTATION_BYTES.value:
        raise Malformed(f"an attestation of {len(text)} characters")
    try:
        outer = json.loads(text)
        kind = outer["payloadType"]
        payload = _unbase64(outer["payload"])
        signatures = [_unbase64(one["sig"]) for one in outer["signatures"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed("not a DSSE envelope") from error
    if kind != PAYLOAD_TYPE:
        raise Malformed("an attestation with another payload type")
    message = pae(PAYLOAD_TYPE, payload)
    if not any(verify(public, message, signature) for signature in signatures[:16]):
        raise Malformed("the attestation is not signed by this builder's key")
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


def _unbase64(text: str) -> bytes:
    """Standard or URL-safe base64, as DSSE asks of a verifier."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, AttributeError) as error:
        raise ValueError("not base64") from error
