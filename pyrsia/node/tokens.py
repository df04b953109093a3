"""Tokens by which clients push to, read and administer this node.

A token is `pyr_`, an id that finds its row, and a secret of 256 random bits. Only the BLAKE2b of the secret is kept.
A slow password hash would be for secrets that can be guessed: this one cannot, and a hash that takes a microsecond lets
a stranger with wrong ones cost this node nothing, so nobody has to be slowed down. The row is found by the id, which
is no secret; the hashes are compared in constant time.

Source: RFC 7693 (BLAKE2b); docs/adr/0050.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from pyrsia.errors import Refusal
from pyrsia.node import patterns
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.serve.desks.tokens import NAME, MadeToken, TokenOrder, TokenStatus
from pyrsia.serve.grants import OPERATOR, PUSH, Grant
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit

MAX_TOKENS = Limit(500, "one for each machine and person of a company that has its own node")

PREFIX: Final = "pyr_"  # so that people, and programs that look for leaked secrets, know one when they see it
_TOKEN: Final = re.compile(PREFIX + "([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY: Final = bytes(32)  # compared with where no row has the id, so that this takes as long


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A row of the database, under the token's id."""

    hash: bytes
    name: str
    scope: str
    package: str
    made_ms: int
    expires_ms: int


class Tokens:
    """The tokens of one node (serve.desks.tokens.TokenDesk).

    Attributes:
        failures: texts that were none of them, since the start.
    """

    def __init__(self, database: Database, *, now_ms: NowMs = wall_ms) -> None:
        self.failures = 0
        self._database = database
        self._now_ms = now_ms
        self._used: dict[str, int] = {}
        self._kept = {
            key.decode(): msgspec.msgpack.decode(raw, type=_Kept)
            for key, raw in database.scan(layout.TOKENS, b"", 2 * MAX_TOKENS.value)
        }

    def grant(self, token: str) -> Grant | None:
        """What `token` allows now; None for one that is unknown, revoked or expired."""
        match = _TOKEN.fullmatch(token)
        name, secret = match.groups() if match else ("", "")
        kept = self._kept.get(name)
        right = hmac.compare_digest(_hash(secret), kept.hash if kept is not None else _NOBODY)
        if kept is None or not right or self._now_ms() >= kept.expires_ms:
            self.failures += 1
            return None
        self._used[name] = self._now_ms()
        return Grant(kept.name, kept.scope, kept.package)

    async def make(self, order: TokenOrder) -> MadeToken:
        batch = self._without_expired()
        name, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        called = order.name or f"{order.scope}-{name}"
        _check(order, called)
        if any(called in (id, kept.name) for id, kept in self._kept.items()):
            raise Refusal(
                "conflict",
                what=f"there is a token with the name {called}",
                who="your order",
                do=f"choose another name, or revoke it first: pyrsia keys token revoke {called}",
            )
        if len(self._kept) >= MAX_TOKENS.value:
            raise Refusal(
                "too-large",
                what=f"this node has {MAX_TOKENS.value} tokens",
                who="who made them",
                do="revoke those that nobody uses: pyrsia keys token list",
            )
        now = self._now_ms()
        kept = _Kept(_hash(secret), called, order.scope, order.package, now, now + order.expires_s * 1_000)
        self._database.write(batch.put(layout.TOKENS, name.encode(), msgspec.msgpack.encode(kept)))
        self._kept[name] = kept
        await self._database.sync()
        return MadeToken(f"{PREFIX}{name}_{secret}", self._status(name, kept))

    def list(self) -> Sequence[TokenStatus]:
        now = self._now_ms()
        rows = [self._status(name, kept) for name, kept in self._kept.items() if kept.expires_ms > now]
        return sorted(rows, key=lambda row: (row.made_ms, row.id))

    async def revoke(self, which: str) -> TokenStatus:
        found = next((name for name, kept in self._kept.items() if which in (name, kept.name)), None)
        if found is None:
            raise Refusal(
                "not-found",
                what=f"no token has the name or id {which}",
                who="your command",
                do="see those that there are: pyrsia keys token list",
            )
        kept = self._kept.pop(found)
        status = self._status(found, kept)
        self._used.pop(found, None)
        await self._database.commit(self._without_expired().delete(layout.TOKENS, found.encode()))
        return status

    def _without_expired(self) -> Batch:
        """Forget tokens that allow nothing any more; what the database is to forget with them."""
        batch, now = Batch(), self._now_ms()
        for name in [name for name, kept in self._kept.items() if kept.expires_ms <= now]:
            del self._kept[name]
            self._used.pop(name, None)
            batch.delete(layout.TOKENS, name.encode())
        return batch

    def _status(self, name: str, kept: _Kept) -> TokenStatus:
        return TokenStatus(
            id=name,
            name=kept.name,
            scope=kept.scope,
            package=kept.package,
            made_ms=kept.made_ms,
            expires_ms=kept.expires_ms,
            used_ms=self._used.get(name, 0),
        )


def _hash(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode("ascii"), digest_size=32, person=b"pyrsia token").digest()


def _check(order: TokenOrder, called: str) -> None:
    """
    Raises:
        Refusal: `bad-request` for a name that is none, and for a pattern that limits nothing or allows nothing.
    """
    if re.fullmatch(NAME, called) is None:
        raise _bad(
            "a token's name has 1 to 64 letters, digits and . _ -, and begins with none of the last three",
            "choose another --name",
        )
    if called == OPERATOR:
        raise _bad(f"{OPERATOR} is what this node calls its own operator", "choose another --name")
    if not order.package:
        return
    if order.scope != PUSH:
        raise _bad(
            f"a token with the scope {order.scope} cannot be limited to packages", "leave --package out"
        )
    patterns.check(order.package)


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="your order", do=do)
