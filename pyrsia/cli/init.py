"""`init`: a node's data directory, keys and configuration; with `--join`, what it takes to become a member."""

import hashlib
import ipaddress
import json
import re
import shlex
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from pyrsia import config
from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import json_option, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.files import write_whole
from pyrsia.keys import KeyRing
from pyrsia.mesh.scopes import Scope, scope_of
from pyrsia.units import Limit
from pyrsia.verify.pins import pin_of, read_genesis
from pyrsia.wire.text import b32

DEFAULT_NAME = "node"
MOST_PEERS = Limit(16, "a newcomer needs one that answers; the rest is for the days when it does not")
_PEER: Final = re.compile(r"[a-z2-7]{52}@tcp://[A-Za-z0-9.:\[\]-]{1,100}")


class _Itself(msgspec.Struct):
    """What the node says of itself at /status, as the original did."""

    peer_id: str
    peer_addrs: tuple[str, ...]


@click.command()
@click.option(
    "--data",
    "--node",
    "data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory [PYRSIA_NODE where that is one, else the user's].",
)
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="What people call this node.")
@click.option("--operator", default="", help="Who answers for it; members want to know.")
@click.option("--domain", default="", help="What fails together with it: a rack, a site, a company.")
@click.option(
    "--genesis",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The network's trust file: its genesis document.",
)
@click.option("--join", "url", metavar="URL", help="Fetch the genesis from this node; needs --digest.")
@click.option("--digest", metavar="sha256:HEX", help="What the genesis must be; its operators publish it.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ID@tcp://HOST:PORT",
    help="A peer to dial, several times for several [with --join: that node, and those it is linked with].",
)
@json_option
def init(
    data: Path | None,
    name: str,
    operator: str,
    domain: str,
    file: Path | None,
    url: str | None,
    digest: str | None,
    peers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make the keys and configuration of a node, and fix its network. What is there already is kept.

    With --join it fetches the genesis from a node of the network, believes it by its digest alone, and prints the
    member document that an existing member proposes: docs/join.md.
    """
    if file is not None and url is not None:
        raise click.UsageError("--genesis and --join are two places for one genesis; name one of them")
    folder = config.own_data_dir(data)
    genesis = _genesis(file, url, digest)
    if url is not None and not peers and not (folder / config.CONFIG_NAME).exists():
        peers = peers_of(url)
    settings = _settings(folder, peers, url, name=name, operator=operator, domain=domain)
    there = folder / "genesis.json"
    if there.exists() and genesis and there.read_bytes() != genesis:
        raise Refusal(
            "data-foreign",
            what=f"{folder} belongs to another network",
            who="your command",
            do="choose another --data directory",
        )
    if genesis is None and there.exists():
        genesis = there.read_bytes()
    network = pin_of(genesis, file or there).name if genesis else ""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = KeyRing.load_or_create(folder / "keys")
    if genesis and not there.exists():
        write_whole(there, genesis)  # a node that finds half a genesis would belong to no network
    if not (folder / config.CONFIG_NAME).exists():
        config.save(settings, folder)
    identity = b32(keys.node.public)
    answer: dict[str, Any] = {
        "data": str(folder),
        "network": network,
        "node_id": identity,
        "peers": [*settings.net.peers],
    }
    lines = [f"node {identity}", f"data {folder}"]
    if url is not None:
        lines.append(f"peers {', '.join(settings.net.peers) or 'none: name some in config.toml, net.peers'}")
    if url is not None and settings.node.operator and settings.node.domain:
        from pyrsia.cli.documents import document_of

        answer["member"] = document_of(folder)
        lines += ["member document, for a member to propose (pyrsia member propose add --file FILE):"]
        lines += [json.dumps(answer["member"], sort_keys=True)]
    elif url is not None:
        where = _where(data)
        lines += [f"its member document: pyrsia member document{where} --operator NAME --domain NAME"]
    tell(answer, as_json=as_json, text=lambda: [*lines, _hint(data, founded=genesis is not None)])


def _where(data: Path | None) -> str:
    return f" --data {shlex.quote(str(data))}" if data else ""


def _hint(data: Path | None, *, founded: bool) -> str:
    """The next command, with the directory where it is not the user's own."""
    where = _where(data)
    if founded:
        return f"start it with: pyrsia node run{where}"
    again = f"pyrsia init{where}"
    return f"next: {again} --genesis FILE, or {again} --join URL --digest sha256:..."


def _settings(folder: Path, peers: tuple[str, ...], url: str | None, **who: str) -> config.Config:
    """The configuration of a new node.

    Raises:
        Refusal: `config-invalid`, or `conflict` where one exists and these options would change it.
    """
    path = folder / config.CONFIG_NAME
    if path.exists():
        there = config.load(folder, environ={})
        said = {name: value for name, value in who.items() if value not in ("", DEFAULT_NAME)}
        if (peers and peers != there.net.peers) or any(
            value != getattr(there.node, name) for name, value in said.items()
        ):
            raise Refusal(
                "conflict",
                what=f"{path} exists and says something else",
                who="your command",
                do="edit that file, or choose another --data directory",
            )
        return there
    http = [url] if url is not None and url.startswith(("http://", "https://")) else []
    net = {"peers": list(peers), "bootstrap": http}
    return config.parse({"node": dict(who), "net": net}, path)


def peers_of(url: str) -> tuple[str, ...]:
    """Whom to dial, as the node at `url` tells it: itself, and those it is linked with.

    It may lie: a link is only with who has the key of its id, and nothing that comes over it is believed unproven.
    Nobody, where it tells nothing that a node of this version would.
    """
    try:
        with Client(url) as node:
            itself = shaped(node.get("/status"), _Itself)
            others = shaped(node.get("/api/v1/peers"), answers.Peers)["peers"]
    except Refusal:
        return ()
    host = urlsplit(url).hostname or ""
    found = [f"{itself['peer_id']}@{_seen_from_here(address, host)}" for address in itself["peer_addrs"]]
    found += [
        f"{one['node_id']}@{one['address']}"
        for one in others
        if one["connected"]
        and one["role"] != "guest"
        and one["address"]
        and _is_near(_host(one["address"]), host)
    ]
    return tuple(text for text in found[: MOST_PEERS.value] if _PEER.fullmatch(text))


def _is_near(there: str, host: str) -> bool:
    """Whether `there` may be the same machine for us as it is for the node that answered at `host`.

    Else it is an address within another network, or a lie: what stands in net.peers opens a scope.
    """
    if _is_local(there):
        return _is_local(host)
    scope, ours = scope_of(there), scope_of(host)
    return scope in (Scope.GLOBAL, Scope.NAME) or ours in (scope, Scope.NAME, Scope.MACHINE)


def _seen_from_here(address: str, host: str) -> str:
    """A node that is bound to every address, or to its own machine's, is reached where it answered."""
    told = _host(address)
    if told in ("0.0.0.0", "[::]", "::") or (_is_local(told) and not _is_local(host)):  # noqa: S104 (compared, not bound)
        shown = f"[{host}]" if ":" in host else host
        return f"tcp://{shown}:{address.rpartition(':')[2]}"
    return address


def _host(address: str) -> str:
    return address.removeprefix("tcp://").rpartition(":")[0].strip("[]")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _genesis(file: Path | None, url: str | None, digest: str | None) -> bytes | None:
    if file is not None:
        data = read_genesis(file).genesis.raw
    elif url is not None:
        if not digest:
            raise Refusal(
                "usage",
                what="joining by address alone would believe whoever answers",
                who="your command",
                do="add --digest sha256:... as the network's operators publish it",
            )
        with Client(url) as node:
            data = node.get_bytes("/log/genesis")
    else:
        return None
    if digest and hashlib.sha256(data).hexdigest() != digest.removeprefix("sha256:").lower():
        raise Refusal(
            "digest-mismatch",
            what="the genesis is not the one that the digest names",
            who=str(file or url),
            do="do not join; ask the operators",
        )
    return data
