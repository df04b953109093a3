"""From what a person wrote to a log to read and a rule to believe it by.

A target is a folder with a log's files, the address of a log or of a node, or a node's data directory. The
rule is the one that is named (`--vkey`, `--trust`); else that of the node itself where it is one's own, read
from its data directory; else that of the pinned network whose name the checkpoint bears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyrsia.audit import heads
from pyrsia.audit.fetching import Absent, Address, Dial, Fetcher
from pyrsia.audit.heads import Quorum, Rule
from pyrsia.audit.sources import CHECKPOINT, DirectorySource, HttpSource, Source, at_address
from pyrsia.audit.stopped import StoppedNode, network_of
from pyrsia.client import resolve, token_for
from pyrsia.config import CONTROL_SOCKET
from pyrsia.errors import Malformed, Refusal
from pyrsia.log.checking import Fault, Wrong, checked
from pyrsia.node.house import GENESIS
from pyrsia.verify.pins import Pins, read_genesis


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


def open_log(target: str) -> Source:
    """The log at a folder, an address, or a data directory.

    Raises:
        Refusal: `usage`, `not-found`, `data-in-use`, `data-foreign`, `data-damaged`.
        Unavailable, Malformed: nobody answers there as a log does.
    """
    if target.startswith(("http://", "https://")):
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
    if not found.startswith(("http://", "https://")):
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
