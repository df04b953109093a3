"""One way to reach a running node from outside: over its control socket, or over HTTP.

The target rule is the same for every command: `--node URL|DIR`, then `PYRSIA_NODE`, then the user's
node, then the system's. A directory means the control socket inside it, with its token file.
"""

import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec

from pyrsia import config
from pyrsia.config import CONTROL_SOCKET, CONTROL_TOKEN
from pyrsia.errors import Refusal
from pyrsia.units import Limit

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_THE_CLIENT: Final = "the client's request"  # as nodes call who asks
_PIECE_BYTES: Final = 1 << 18  # read at once
_WHY_CHARS: Final = (
    200  # of what a reader of strangers' JSON says; it may hold as much of theirs as they like
)
T = TypeVar("T")
PATIENCE_S = 30.0  # one answer of a node on this machine or in this network
MAX_ANSWER_BYTES = Limit(
    32 << 20, "a page of 1,000 entries of 30 KB; a longer answer is a node that floods us"
)
MAX_LINE_BYTES = Limit(1 << 20, "a line of a stream holds an entry of 60 KB, written out")


def resolve(target: str | None) -> str:
    """The target that applies: a URL or a data directory."""
    if target:
        return target
    if os.environ.get("PYRSIA_NODE"):
        return os.environ["PYRSIA_NODE"]
    for folder in (config.user_data_dir(), config.system_data_dir()):
        if (folder / CONTROL_SOCKET).exists():
            return str(folder)
    return str(config.user_data_dir())


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: Path, patience_s: float) -> None:
        super().__init__("localhost", timeout=patience_s)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            raise
        self.sock = sock


class Client:
    """Ask one node; answers are decoded JSON, a no is a `Refusal`. Each question has a connection of its own."""

    def __init__(self, target: str | None, *, patience_s: float = PATIENCE_S) -> None:
        """`patience_s`: for each connect and each read.

        Raises:
            Refusal: `usage` for a URL that is none.
        """
        self.target = resolve(target)
        self._patience_s = patience_s
        # Package pages are HTML unless JSON is asked for (PEP 691).
        self._accepts = {"accept": "application/vnd.pypi.simple.v1+json, application/json, */*;q=0.1"}
        self._url = _url(self.target) if self.target.startswith(("http://", "https://")) else None
        self._token = token_for(self.target)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between questions."""

    def get(self, path: str, **params: str | int) -> Any:
        return self._json(self._send("GET", f"{path}?{urlencode(params)}" if params else path))

    def get_bytes(self, path: str, *, most: int = MAX_ANSWER_BYTES.value) -> bytes:
        """The answer's body, at most `most` bytes."""
        return self._send("GET", path, most=most)

    def get_into(self, path: str, file: IO[bytes], *, most: int, tick: Callable[[int], object]) -> None:
        """Append the answer's body from the byte on at which `file` ends; all of it anew where parts are not given.

        Args:
            tick: told of the bytes that are in the file, as they come.

        Raises:
            Refusal: the node's; `not-running` where the connection ends early: `file` keeps what came.
        """
        have = file.seek(0, os.SEEK_END)
        ranged = {"range": f"bytes={have}-"} if have else {}
        connection, response = self._answer("GET", path, headers=ranged)
        try:
            if response.status >= 400:
                if response.status == 416:  # there is nothing behind what we have
                    return
                raise refusal_in(response.status, response.read(MAX_ANSWER_BYTES.value))
            if response.status != 206:
                file.truncate(file.seek(0))
                have = 0
            while piece := response.read(_PIECE_BYTES):
                have += len(piece)
                if have > most:
                    raise _too_long(self.target, most)
                file.write(piece)
                tick(have)
            if response.length:  # http.client takes an early end for the end
                raise http.client.IncompleteRead(b"", response.length)
        except (http.client.HTTPException, OSError) as error:
            raise self._away(error) from None
        finally:
            connection.close()

    def get_lines(self, path: str, **params: str | int) -> Iterator[bytes]:
        """The lines of an answer without an end, as they come; empty ones, which only say that somebody is there, not.

        Raises:
            Refusal: the node's; `not-running` where the connection ends, or is silent for too long; `too-large`.
        """
        connection, response = self._answer("GET", f"{path}?{urlencode(params)}")
        try:
            if response.status >= 400:
                raise refusal_in(response.status, response.read(MAX_ANSWER_BYTES.value))
            while line := response.readline(MAX_LINE_BYTES.value + 1):
                if len(line) > MAX_LINE_BYTES.value:
                    raise _too_long(self.target, MAX_LINE_BYTES.value)
                if line.strip():
                    yield line
            raise http.client.IncompleteRead(b"")
        except (http.client.HTTPException, OSError) as error:
            raise self._away(error) from None
        finally:
            connection.close()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._json(self._send("POST", path, _written(body)))

    def post_bytes(self, path: str, body: bytes) -> Any:
        """The answer to a body that is JSON already, byte for byte."""
        return self._json(self._send("POST", path, body))

    def post_file(self, path: str, file: Path) -> Any:
        """The answer to a file's bytes, which are read as they are sent."""
        with file.open("rb") as body:
            return self._json(self._send("POST", path, body, length=file.stat().st_size))

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        *,
        most: int = MAX_ANSWER_BYTES.value,
        length: int | None = None,
    ) -> bytes:
        headers = {"content-type": "application/json"} if body is not None else {}
        if length is not None:
            headers |= {"content-type": "application/octet-stream", "content-length": str(length)}
        connection, response = self._answer(method, path, body, headers)
        try:
            data = response.read(most + 1)
        except (http.client.HTTPException, OSError) as error:
            raise self._away(error) from None
        finally:
            connection.close()
        if len(data) > most:
            raise _too_long(self.target, most)
        if response.status >= 400:
            raise refusal_in(response.status, data)
        return data

    def _answer(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] = _NONE,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The head of the answer, and the connection on which the rest of it comes: close that.

        A node writes a new token each time that it starts. So who was refused with the one that we have looks once
        whether there is another by now; a token that is still the same is asked with once.

        Raises:
            Refusal: `not-running`.
        """
        prefix = self._url.path.rstrip("/") if self._url is not None else ""
        while True:
            sent = self._token
            token = {"authorization": f"Bearer {sent}"} if sent else {}
            connection = self._connection()
            try:
                connection.request(method, prefix + path, body, {**self._accepts, **headers, **token})
                response = connection.getresponse()
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                raise self._away(error) from None
            if response.status == HTTPStatus.UNAUTHORIZED:
                self._token = token_for(self.target) or sent
            if (
                response.status != HTTPStatus.UNAUTHORIZED or self._token == sent
            ):  # another thread may have looked
                return connection, response
            connection.close()
            if body is not None and not isinstance(body, bytes):
                body.seek(0)

    def _away(self, error: http.client.HTTPException | OSError) -> Refusal:
        return Refusal(
            "not-running",
            what=f"no node answers at {self.target}: {_why(error)}",
            who="the node, or the address",
            do="start it with `pyrsia node run`, or name another with --node URL|DIR",
        )

    def _connection(self) -> http.client.HTTPConnection:
        if self._url is None:
            return _UnixConnection(Path(self.target) / CONTROL_SOCKET, self._patience_s)
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(str(self._url.hostname), self._url.port, timeout=self._patience_s)

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise Refusal(
                "unavailable",
                what="the answer is not JSON",
                who=f"whatever listens at {self.target}",
                do="check the address; is it a Pyrsia node?",
            ) from None


def typed(answer: Any, shape: type[T]) -> T:
    """`answer` as a value of the type `shape`.

    Raises:
        Refusal: `unavailable`; whoever answered is no node of this version.
    """
    try:
        return msgspec.convert(answer, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise foreign(str(error)) from None


def foreign(why: str) -> Refusal:
    """What every command says of an answer that no node of this version gives."""
    return Refusal(
        "unavailable",
        what=f"the answer is not what a node gives: {why[:_WHY_CHARS]}",
        who="whatever listens at that address",
        do="check the address; is it a Pyrsia node of this version?",
    )


def _written(body: dict[str, Any]) -> bytes:
    """JSON in UTF-8: escapes would make text of most of the world's alphabets two or three times as long."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except (
        UnicodeEncodeError
    ):  # an argument that is no UTF-8 holds halves of surrogates; the node refuses them
        return json.dumps(body).encode()


def _too_long(target: str, most: int) -> Refusal:
    return Refusal(
        "too-large",
        what=f"the answer is longer than {most} bytes",
        who=f"whatever listens at {target}",
        do="check the address; is it a Pyrsia node?",
    )


def _why(error: http.client.HTTPException | OSError) -> str:
    """Why there is no answer, in words."""
    match error:
        case http.client.HTTPException():
            return "what listens there does not speak HTTP, or hung up"
        case FileNotFoundError() | NotADirectoryError():
            return f"no node runs there (it has no {CONTROL_SOCKET})"
        case ConnectionRefusedError():
            return "nothing listens there"
        case TimeoutError():
            return "it took too long"
        case PermissionError():
            return "this user may not connect to it"
        case _:
            return error.strerror or str(error) or "the connection failed"


def _url(target: str) -> SplitResult:
    try:
        found = urlsplit(target)
        if found.hostname and found.port != 0:
            return found
    except ValueError:  # a port that is no number, a bracket that is left open
        pass
    raise Refusal(
        "usage", what=f"{target} is no address of a node", who="your command", do="write http://HOST:PORT"
    )


def token_for(target: str) -> str | None:
    """What a node at this URL or data directory takes as a token, if we have one."""
    if target.startswith(("http://", "https://")):
        return os.environ.get("PYRSIA_TOKEN")
    try:
        return (Path(target) / CONTROL_TOKEN).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def refusal_in(status: int, data: bytes) -> Refusal:
    """The no that an answer of 400 or more is: what the node says, or what can be made of it."""
    try:
        fields = json.loads(data)["error"]
        if fields["who"] == _THE_CLIENT:  # which is us: a person has written a command, and no request
            fields["who"] = "your command"
        return Refusal.from_dict({str(key): value for key, value in fields.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Refusal(
            "unavailable" if status >= 500 else "not-found",
            what=f"the node answered {status}",
            who="the node",
            do="look at the address and the spelling",
        )
