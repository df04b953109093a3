"""One kept connection to a node, for tasks that ask it thousands of times: HTTP/1.1 with bounded answers."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httptools
import trio

from pyrsia.client import token_for
from pyrsia.config import CONTROL_SOCKET
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import Limit

ANSWER_S = Limit(60, "an entry is in the log within seconds, or its node has lost its quorum")
MAX_ANSWER_BYTES = Limit(1 << 20, "an entry of 60,000 bytes, escaped twice, and its proof")
_READ_BYTES: Final = 65_536


class _Answer:
    """What the parser tells of one answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.complete = self.kept = False

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > MAX_ANSWER_BYTES.value:
            raise ValueError("too long")  # the parser wraps it; told as what it is below

    def on_message_complete(self) -> None:
        self.complete = True
        self.kept = self.parser.should_keep_alive()  # later it forgets


class Lane:
    """Ask one node, one question at a time. Not for two tasks at once."""

    def __init__(self, target: str, token_of: str = "") -> None:
        """
        Args:
            target: a node's address or its data directory.
            token_of: the address or data directory whose token is sent, if it is another.

        Raises:
            Refusal: `usage`.
        """
        self._target = target
        self._token_of = token_of or target
        self._stream: trio.abc.Stream | None = None
        parts = urlsplit(target) if target.startswith(("http://", "https://")) else None
        if parts is not None and not parts.hostname:
            raise Refusal(
                "usage",
                what=f"{target} is no address of a node",
                who="your command",
                do="write http://HOST:PORT",
            )
        self._parts = parts
        self._token: str | None = None
        self._prefix = parts.path.rstrip("/") if parts else ""

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """(status, body) of the answer.

        Raises:
            Unavailable: no whole answer in time; whether the node acted on it is not known.
            Malformed: an answer that is no HTTP, or too long.
        """
        try:
            with trio.fail_after(ANSWER_S.value):
                if self._stream is None:
                    self._stream = await self._dial()
                await self._stream.send_all(self._request(method, path, body))
                return await self._answer(self._stream)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            await self.close()
            raise Unavailable(f"{self._target} does not answer: {type(error).__name__}") from None
        except BaseException:
            await self.close()  # half an answer must not be taken for the next one's
            raise

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _dial(self) -> trio.abc.Stream:
        self._token = token_for(self._token_of)  # a node that restarted has a new one
        with trio.fail_after(ANSWER_S.value):
            if self._parts is None:
                return await trio.open_unix_socket(str(Path(self._target) / CONTROL_SOCKET))
            host, port = str(self._parts.hostname), self._parts.port
            if self._parts.scheme == "http":
                return await trio.open_tcp_stream(host, port or 80)
            context = ssl.create_default_context()
            return await trio.open_ssl_over_tcp_stream(host, port or 443, ssl_context=context)

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        fields: Mapping[str, str] = {
            "host": self._parts.netloc.rpartition("@")[2] if self._parts else "localhost",
            "accept": "application/json",
            "content-length": str(len(body)),
            "content-type": "application/json",
        }
        if self._token:
            fields = {**fields, "authorization": f"Bearer {self._token}"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def _answer(self, stream: trio.abc.Stream) -> tuple[int, bytes]:
        answer = _Answer()
        read, most = 0, 2 * MAX_ANSWER_BYTES.value
        while not answer.complete:
            data = await stream.receive_some(_READ_BYTES)
            read += len(data)
            if not data:
                raise trio.BrokenResourceError
            try:
                answer.parser.feed_data(bytes(data))
            except httptools.HttpParserError:
                raise Malformed(f"{self._target} gives no HTTP answer, or one that is too long") from None
            if read > most:
                raise Malformed(f"{self._target} gives an answer that is too long")
        if not answer.kept:
            await self.close()
        return int(answer.parser.get_status_code()), bytes(answer.body)
