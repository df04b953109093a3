"""Writers that go on whatever happens to the nodes, and remember what was acknowledged to them."""

import threading
from typing import Self

from pyrsia.demo.network import Network, Node
from pyrsia.errors import Refusal

WRITERS = 3
PATIENCE_S = 15.0


class Load:
    """Facts through one node after the other.

    Attributes:
        acknowledged: leaf index -> the text that was acknowledged there.
    """

    def __init__(self, network: Network, *, writers: int = WRITERS) -> None:
        self.network = network
        self.acknowledged: dict[int, str] = {}
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(writers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(4 * PATIENCE_S)

    def lost(self, node: Node) -> list[int]:
        """Leaves that were acknowledged and are not so in that node's log."""
        with node.client() as client:
            return [
                index
                for index, text in self.acknowledged.items()
                if text not in client.get("/api/v1/log/prove", index=index)["entry"]
            ]

    def _write(self, writer: int) -> None:
        number = 0
        while not self.over.is_set():
            node = self.network.nodes[(writer + number) % len(self.network.nodes)]
            number += 1
            text = f"writer {writer} fact {number}"
            try:
                with node.client(PATIENCE_S) as client:
                    answer = client.post(
                        "/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/load@1", "text": text}
                    )
            except Refusal:
                self.over.wait(0.05)  # that node is being killed or starts
                continue
            self.acknowledged[answer["index"]] = text
