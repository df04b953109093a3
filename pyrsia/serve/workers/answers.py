"""The node's answers, out of the bytes of the private socket. No I/O.

The node is trusted to speak HTTP; what does not parse is a fault of ours and ends the link.
"""

from collections import deque

import httptools

from pyrsia.serve.http.reading import Header
from pyrsia.serve.workers.accel import REDIRECT


class Answer:
    """One answer: `head` tells when status and headers are whole, `pieces` are its body until `complete`."""

    def __init__(self, *, bodiless: bool) -> None:
        """`bodiless`: to HEAD, whatever length it announces."""
        self.status = 0
        self.reason = b""
        self.headers: list[Header] = []
        self.head = False
        self.continued = False  # the node wants the request's body
        self.complete = False
        self.keep = False  # the link may be used again
        self.over = False  # the link was let go
        self.pieces: deque[bytes] = deque()  # bounded: one read's worth, sent on before the next
        self._bodiless = bodiless
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """
        Raises:
            ValueError: this is no answer of a node.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ValueError(f"the node's answer cannot be read: {error}") from None

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")

    # -- what httptools calls --

    def on_message_begin(self) -> None:
        if self.head:  # nobody asked for a second one
            self.keep = False
            raise ValueError("two answers to one request")
        self.reason, self.headers = b"", []

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status == 100:
            self.continued = True
            return
        self.head = True
        self.keep = self.header(b"connection").lower() != b"close"
        if self._bodiless or self.header(REDIRECT):
            self.complete = True  # the length speaks of bytes that do not come this way

    def on_body(self, piece: bytes) -> None:
        if self.complete:
            self.keep = False  # bytes that should not come: nobody may read on behind them
        else:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status != 100:
            self.complete = True
