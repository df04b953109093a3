"""Wires between real nodes that a test can cut: one TCP forwarder for each pair of nodes and direction of dialling.

A cut wire loses its connections and refuses new ones, as a broken cable looks from both ends. Threads only move
bytes; who may reach whom is the test's decision.
"""

import contextlib
import selectors
import socket
import threading
from typing import Final

from pyrsia.demo.ports import LOOPBACK

PIECE: Final = 65_536


class Wire:
    """Forwards `port` to `target` while it is whole."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._whole = True
        self._over = False
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._door = socket.create_server((LOOPBACK, port), backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Nothing passes any more; what was connected is lost."""
        with self._lock:
            self._whole = False
            self._drop()

    def mend(self) -> None:
        with self._lock:
            self._whole = True

    def close(self) -> None:
        with self._lock:
            self._over, self._whole = True, False
            self._drop()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _drop(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            self._join(near)

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection((LOOPBACK, self._target), timeout=2)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            if not self._whole:
                near.close()
                far.close()
                return
            self._ends |= {near, far}
        threading.Thread(target=self._pump, args=(near, far), daemon=True).start()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            for end in other:
                ready.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    data = end.recv(PIECE)
                    if not data:
                        raise OSError
                    other[end].sendall(data)
        with self._lock:
            self._ends -= {near, far}
        near.close()
        far.close()
