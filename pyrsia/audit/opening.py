"""From what a person wrote to a log to read and a rule to believe it by.

A target is a folder with a log's files, the address of a log or of a node, or a node's data directory. The
rule is the one that is named (`--vkey`, `--trust`); else that of the node itself where it is one's own, read
from its data directory; else that of the pinned network whose name the checkpoint bears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia.audit import heads
from pyrsia.audit.fetching import Absent, Address, Dial, Fetcher
from pyrsia.audit.heads import Quorum, Rule
from pyrsia.audit.sources import CHECKPOINT, DirectorySource, HttpSource, Source, at_address
from pyrsia.audit.stopped import StoppedNode, network_of
from pyrsia.client import Client, resolve, token_for, typed
from pyrsia.config import CONTROL_SOCKET
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.checking import Fault, Wrong, checked
from pyrsia.node.house import GENESIS
from pyrsia.status import NodeStatus, PeerStatus
from pyrsia.verify.pins import Pin, Pins, read_genesis

_ADDRESS: Final = ("http://", "https://")
NAMES_S: Final = 5.0  # for the names of members, without which everything can be told too


@dataclass(frozen=True, slots=True)
class Believed:
    """Who a person says may be believed: keys of any log, a trust file, or neither."""

    vkeys: Sequence[str] = ()
    origin: str | None = None
    trust: Path | None = None

    def rule(self, source: Source) -> Rule:
        """The rule for what `source` gives.

        Raises:
            Refusal: `usage`, `not-pinned`, or what a trust file is refused for.
            Wrong: no checkpoint there.
        """
        if self.vkeys:
            return heads.named(self.vkeys, self.origin)
        if self.trust is not None:
            return Quorum(read_genesis(self.trust).genesis)
        own = own_network(source)
        if own is not None:
            return own
        try:
            return heads.pinned(source.checkpoint(), Pins.of_user().all())
        except Absent:
            raise Wrong(Fault(CHECKPOINT, "it is missing")) from None
        except Malformed as error:
            raise checked(CHECKPOINT, error) from None


class OwnNode(HttpSource):
    """A running node on this machine, asked through the control socket in its data directory."""

    def __init__(self, folder: Path) -> None:
        token = token_for(str(folder))
        headers = {"authorization": f"Bearer {token}"} if token else {}
        super().__init__(Fetcher(Address("http://localhost/log/", _control(folder)), headers))
        self.folder = folder

    @property
    def name(self) -> str:
        return str(self.folder)


def own_network(source: Source) -> Quorum | None:
    """The rule in the data directory that `source` reads: whoever can write there needs no forged log."""
    if isinstance(source, StoppedNode):
        return Quorum(source.network)
    if isinstance(source, OwnNode):
        return Quorum(network_of(source.folder))
    return None


def own_pin(target: str | None) -> Pin | None:
    """By the same rule: the network of the node that a command asks, if that is a data directory here.

    Raises:
        Refusal: `bad-request` for a genesis that is none.
    """
    found = resolve(target)
    path = Path(found) / GENESIS
    return None if found.startswith(_ADDRESS) or not path.is_file() else read_genesis(path)


def names_of(source: Source, genesis: Genesis | None) -> dict[str, str]:
    """Node id -> what people call it: members of genesis, and those of now where one's own node is read.

    A name from anywhere else would be a stranger's word beside what is proved, so there are none from there.
    """
    named = {} if genesis is None else {member.text: member.name for member in genesis.members}
    if isinstance(source, StoppedNode):
        return named | source.names()
    return named | own_names(str(source.folder)) if isinstance(source, OwnNode) else named


def own_names(target: str | None) -> dict[str, str]:
    """The members of now, as one's own running node knows them; none for a node at an address, or without answer."""
    if resolve(target).startswith(_ADDRESS):
        return {}
    try:
        with Client(target, patience_s=NAMES_S) as node:
            status = typed(node.get("/api/v1/status"), NodeStatus)
            peers = typed(node.get("/api/v1/peers")["peers"], list[PeerStatus])
    except (Refusal, KeyError, TypeError):
        return {}  # names are a courtesy
    return {status.node_id: status.name} | {peer.node_id: peer.name for peer in peers if peer.role != "guest"}


def open_log(target: str) -> Source:
    """The log at a folder, an address, or a data directory.

    Raises:
        Refusal: `usage`, `not-found`, `data-in-use`, `data-foreign`, `data-damaged`.
        Unavailable, Malformed: nobody answers there as a log does.
    """
    if target.startswith(_ADDRESS):
        return at_address(target)
    folder = Path(target)
    if (folder / GENESIS).exists() or (folder / CONTROL_SOCKET).exists():
        return _data_directory(folder)
    if folder.is_dir():
        return DirectorySource(folder)
    raise Refusal(
        "not-found",
        what=f"there is no folder {folder}",
        who="your command",
        do="name a folder with a checkpoint, an address, or a node's data directory",
    )


def open_node(target: str | None) -> Source:
    """The log of a node, by the one target rule of every command (`pyrsia.client`).

    Raises:
        Refusal: as `open_log`.
    """
    found = resolve(target)
    if not found.startswith(_ADDRESS):
        return _data_directory(Path(found))
    token = token_for(found)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return HttpSource(Fetcher(Address.parse(found).below("log"), headers))


def _data_directory(folder: Path) -> Source:
    # A killed node leaves its socket behind; whoever answers there is running.
    try:
        _control(folder).open().close()
    except OSError:
        return StoppedNode.open(folder)
    return OwnNode(folder)


def _control(folder: Path) -> Dial:
    return Dial("unix", "localhost", None, folder / CONTROL_SOCKET)
