"""The links of a node, made from its configuration."""

from collections.abc import Callable, Collection, Mapping

from pyrsia.config import NetSection
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import views
from pyrsia.mesh import scopes
from pyrsia.mesh.scopes import Scope
from pyrsia.mesh.scores import Scores
from pyrsia.net.links import Handler, Links, OnMessage
from pyrsia.node.house import House
from pyrsia.node.kinds import Kind
from pyrsia.node.mesh.discovering import Discovering, Log
from pyrsia.node.ports import patiently
from pyrsia.units import NodeId
from pyrsia.wire.text import safe, unb32


def make_links(
    house: House,
    *,
    on_message: OnMessage,
    on_link: Callable[[NodeId, bool], None],
    methods: Mapping[int, Handler],
    blame: Callable[[NodeId, str], None] | None = None,
) -> Links:
    """Links with whom the house welcomes, and some guests; the configured ones are dialled. Nothing is bound yet.

    Raises:
        Refusal: `config-invalid` for a peer that is none.
    """
    net = house.settings.net
    host = _bracketed(net.host)
    links = Links(
        house.keys.node,
        house.genesis.chain_id,
        control_addr=f"tcp://{host}:{net.control_port}",
        data_addr=f"tcp://{host}:{net.data_port}",
        broadcast_addr=f"tcp://{host}:{net.broadcast_port}",
        plain_addr=f"tcp://{host}:{net.plain_port}" if net.data_security == "null" else "",
        allow=house.welcomes,
        on_message=on_message,
        methods=methods,
        name=house.settings.node.name,
        urgent=(Kind.CONSENSUS,),
        advertise=_advertised(net),
        on_link=on_link,
        guest=house.guest,
        guests=net.guests,
        ours=our_scopes(net),
        blame=blame,
    )
    links.dial([_peer(text) for text in net.peers])
    return links


async def listen(links: Links, net: NetSection) -> None:
    """Bind the ports of the configuration, as soon as no passing connection holds one.

    Raises:
        Refusal: `port-taken`, or `config-invalid` where nobody could listen, with the address.
    """

    async def bind() -> None:
        links.open()

    plain = net.plain_port if net.data_security == "null" else 0
    await patiently(bind, (net.control_port, net.data_port, net.broadcast_port, plain))


def our_scopes(net: NetSection) -> frozenset[Scope]:
    """Where the operator has put this node: by its own addresses, and those of whom it is told to dial."""
    peers = [scopes.split(text.partition("@")[2])[0] for text in net.peers]
    return scopes.scopes_of([net.host, net.advertise, *peers])


def make_discovering(house: House, links: Links, scores: Scores) -> Discovering:
    """Discovery for these links, of the network that the house's log describes."""
    reads, me = house.archive.state, house.keys.node_id

    def head() -> tuple[int, bytes]:
        found = house.archive.head
        return (found.tree_size, found.tree_root) if found is not None else (0, bytes(32))

    def needed() -> Collection[NodeId]:
        nodes = [NodeId(one.node) for one in views.current(reads, house.genesis).validators]
        return nodes if me in nodes else ()

    return Discovering(
        house.keys.node,
        house.genesis.chain_id,
        house.settings.net,
        name=lambda: house.name,
        links=links,
        database=house.database,
        scores=scores,
        log=Log(
            head=head,
            member=lambda node: views.is_member(reads, node),
            left=lambda node: not house.welcomes(node) and not house.guest(node),
            members=lambda: len(views.members(reads)),
            needed=needed,
        ),
        fixed=dict(_peer(text) for text in house.settings.net.peers),
        ours=our_scopes(house.settings.net),
    )


def _advertised(net: NetSection) -> tuple[str, str, str]:
    """Where others are told to dial: control, data, broadcast; empty where nothing is told."""
    if not net.advertise:
        return "", "", ""
    host = _bracketed(net.advertise)
    return (
        f"tcp://{host}:{net.control_port}",
        f"tcp://{host}:{net.data_port}",
        f"tcp://{host}:{net.broadcast_port}",
    )


def _bracketed(host: str) -> str:
    """As an address has it: IPv6 stands in brackets."""
    return f"[{host}]" if ":" in host else host


def _peer(text: str) -> tuple[NodeId, str]:
    """`<node id>@tcp://host:port` of the configuration."""
    name, _, address = text.partition("@")
    try:
        if not address.startswith("tcp://"):
            raise Malformed("no tcp:// address")
        return NodeId(unb32(name)), address
    except Malformed as error:
        raise Refusal(
            "config-invalid",
            what=f"{safe(text)} names no peer: {error}",
            who="net.peers in config.toml",
            do="write <node id>@tcp://host:port",
        ) from None
