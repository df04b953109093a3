"""Our own log before witnesses of other people: the shell around `log.feed`.

Each configured witness has a task that sends it our newest trusted checkpoint with the proof of growth that it
wants. Its cosignature is verified and then stands on the served checkpoint as long as that is the one it signed;
the newest checkpoint with such a line is kept besides, since a busy log has moved on before a witness answers.

To verifiers of ours these are lines of unknown keys, passed over; to a policy that names them they count.

Source: C2SP tlog-witness.md v1.0.0; docs/auditing.md, "Witness".
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

import httpx
import trio

from pyrsia import keys
from pyrsia.builds.outbound.bodies import severable
from pyrsia.config import WitnessSection
from pyrsia.errors import Malformed, Refusal
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.feed import Asked, Feed, Given, parse_asked
from pyrsia.log.note import SignedNote
from pyrsia.log.witness import Request, origin_hash
from pyrsia.node.log.archive import Archive
from pyrsia.status import OutsideStatus
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import (
    MAX_NOTE_BYTES,
    MAX_NOTE_LINES,
    MAX_WITNESS_ANSWER_BYTES,
    MAX_WITNESSES,
    Limit,
    TreeSize,
)
from pyrsia.wire.text import safe

PATIENCE_S = Limit(10, "for an answer: a witness checks some signatures and syncs a disk once")
LOOK_S = Limit(1, "between two looks for a new checkpoint; one is a single read of the database")

_WITNESSED: Final = b"witnessed"
_log = logging.getLogger("pyrsia.outside")


class Outside:
    """All witnesses that this node asks; perhaps none."""

    def __init__(
        self,
        asked: Sequence[Asked],
        *,
        origin: str,
        archive: Archive,
        database: Database,
        notices: list[str],
        client: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        """`client` makes the HTTP client that asks."""
        self._hash = origin_hash(origin)
        self._archive = archive
        self._database = database
        self._notices = notices
        self._client = client or _client
        self._feeds = [(one, Feed(one.key, keys.verify)) for one in asked]

    # -- what is served --

    def decorated(self, note: bytes) -> bytes:
        """`note` with the line of each witness that signed its text; unchanged where it would grow too large."""
        parsed = SignedNote.parse(note)
        there = {(line.name, line.key_id) for line in parsed.lines}
        given = [feed.given for _, feed in self._feeds if feed.given is not None]
        more = [
            one.line
            for one in given
            if one.text == parsed.text and (one.line.name, one.line.key_id) not in there
        ]
        if not more or len(parsed.lines) + len(more) > MAX_NOTE_LINES.value:
            return note
        made = SignedNote(parsed.text, (*parsed.lines, *more)).encode()
        return made if len(made) <= MAX_NOTE_BYTES.value else note

    def checkpoint(self, hash_: str) -> bytes | None:
        """Our newest checkpoint with a line of an outside witness, for the hash of our own origin."""
        return self._database.get(layout.META, _WITNESSED) if hash_ == self._hash else None

    def status(self) -> tuple[OutsideStatus, ...]:
        return tuple(
            OutsideStatus(
                vkey=str(one.key),
                url=one.url,
                size=feed.size if feed.given else -1,
                time_s=feed.given.time_s if feed.given else 0,
                trouble=feed.trouble,
            )
            for one, feed in self._feeds
        )

    # -- asking --

    async def run(self) -> None:
        """Ask until cancelled."""
        if not self._feeds:
            return
        async with self._client() as client, trio.open_nursery() as nursery:
            for one, feed in self._feeds:
                nursery.start_soon(self._feed, client, one, feed)

    async def _feed(self, client: httpx.AsyncClient, asked: Asked, feed: Feed) -> None:
        while True:
            if not await self._asked(client, asked, feed):
                await trio.sleep(LOOK_S.value)

    async def _asked(self, client: httpx.AsyncClient, asked: Asked, feed: Feed) -> bool:
        """Ask for our newest checkpoint if that is due; whether it was."""
        note = self._newest()
        if note is None:
            return False
        head = Checkpoint.parse(note.text)
        old = feed.ask(trio.current_time(), head)
        if old is None:
            return False
        try:
            body = self._request(note, head, old)
        except Refusal as refusal:  # a log that was begun from a snapshot
            feed.on_failure(trio.current_time(), f"cannot be asked yet: {refusal.what}")
            return True
        try:
            status, kind, answer = await _post(client, f"{asked.url}/add-checkpoint", body)
        except (httpx.HTTPError, trio.TooSlowError) as error:
            feed.on_failure(trio.current_time(), f"does not answer: {type(error).__name__}")
        else:
            given = feed.on_answer(trio.current_time(), head, status, kind, answer)
            if given is not None:
                await self._take(note, given)
        if feed.trouble:
            self._complain(asked, feed)
        return True

    def _newest(self) -> SignedNote | None:
        """The served checkpoint; None before the first, and where the kept one is damaged."""
        raw = self._archive.checkpoint()
        try:
            return None if raw is None else SignedNote.parse(raw)
        except Malformed:
            return None

    def _request(self, note: SignedNote, head: Checkpoint, old: TreeSize) -> bytes:
        # Only what the witness can check: some take 16 KiB, and all the lines of a large network are more.
        lines = tuple(line for line in note.lines if line.name == head.origin)
        proof = tuple(self._archive.consistency(old, head.size)) if 0 < old < head.size else ()
        return Request(old, proof, SignedNote(note.text, lines), head).encode()

    async def _take(self, asked: SignedNote, given: Given) -> None:
        """A witness signed the text of `asked`: say so where it is read."""
        served, note = self._newest(), asked
        if served is not None and served.text == given.text:
            note = served
            self._archive.keep_checkpoint(self.decorated(served.encode()))
        witnessed = self.decorated(note.encode())
        await self._database.commit(Batch().put(layout.META, _WITNESSED, witnessed))

    def _complain(self, asked: Asked, feed: Feed) -> None:
        """A no that stays is told to the operator, once; what passes by itself goes to the diary."""
        notice = f"{'ALARM: ' if feed.inconsistent else ''}the witness {asked.key.name} {feed.trouble}"
        _log.warning("%s", safe(notice))
        if feed.refused and notice not in self._notices:
            self._notices.append(notice)


async def _post(client: httpx.AsyncClient, url: str, body: bytes) -> tuple[int, str, bytes]:
    """(status, content type, body) of the answer; a longer one than any witness gives is cut off."""
    asked = severable(client.build_request("POST", url, content=body))
    with trio.fail_after(PATIENCE_S.value):
        answer = await client.send(asked, stream=True)
        async with aclosing(answer):
            got = b""
            async for part in answer.aiter_raw():
                got += part
                if len(got) > MAX_WITNESS_ANSWER_BYTES.value:
                    break
            kind = answer.headers.get("content-type", "")
            return answer.status_code, kind, got[: MAX_WITNESS_ANSWER_BYTES.value]


def open_outside(
    settings: WitnessSection, *, origin: str, archive: Archive, database: Database, notices: list[str]
) -> Outside:
    """Those that the configuration names.

    Raises:
        Refusal: `config-invalid`.
    """
    try:
        asked = parse_asked(settings.outside)
    except Malformed as error:
        raise Refusal(
            "config-invalid",
            what=f"witness.outside is not valid: {error}",
            who="witness.outside in config.toml",
            do="write it with `pyrsia witness add-witness`, or see docs/auditing.md",
        ) from None
    return Outside(asked, origin=origin, archive=archive, database=database, notices=notices)


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=PATIENCE_S.value,
        follow_redirects=False,
        headers={
            "user-agent": "pyrsia",
            "content-type": "text/plain; charset=utf-8",
            "accept-encoding": "identity",  # what is cut at a length must not unpack to more
        },
        limits=httpx.Limits(max_connections=MAX_WITNESSES.value),
    )
