"""Configuration: one TOML file in the data directory, overlaid by `PYRSIA_SECTION__KEY` variables.

What is decided here: names, types, defaults and the clear sentence for each mistake. Nothing is
created and no socket is opened. `examples` of every key are what `pyrsia config` prints.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs

from pyrsia import netkeys
from pyrsia.errors import Refusal
from pyrsia.files import write_whole
from pyrsia.units import MAX_WEBHOOKS

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]

_LISTS = (
    "peers",
    "bootstrap",
    "dns",
    "names",
    "logs",
    "outside",
    "git_hosts",
    "git_mirrors",
    "registries",
    "auto",
    "allow",
)  # what a variable writes with commas

CONFIG_NAME = "config.toml"
CONTROL_SOCKET = "control.sock"  # how the operator reaches a running node, in its data directory
CONTROL_TOKEN = "control.token"  # noqa: S105 (a file name; the 0600 file beside the socket)


class NodeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this node is to people: itself, who answers for it, and what fails together with it (its member document)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "node"
    operator: Annotated[str, msgspec.Meta(max_length=64)] = ""
    domain: Annotated[str, msgspec.Meta(max_length=64)] = ""


class HttpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The port for package clients, the log and the API. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 7888
    names: tuple[str, ...] = ()  # further Host names that clients may use
    public: bool = False  # reading without a token also from other machines
    tls_cert: str = ""  # PEM files of a certificate chain and its key: the port then speaks TLS
    tls_key: str = ""
    workers: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0  # further processes that send files; 0: none


class NetSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Peers: `<node id>@tcp://host:port`. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    control_port: Port = 7889
    data_port: Port = 7890
    broadcast_port: Port = 7891
    peers: tuple[str, ...] = ()
    advertise: str = ""  # host that others dial; empty: the one above
    bootstrap: tuple[str, ...] = ()  # http(s)://host:port of nodes, asked for peers when few have a link
    dns: tuple[str, ...] = ()  # names whose TXT or SRV records name nodes of the network
    lan: str = ""  # host:port of a broadcast or multicast address that beacons go to; empty: none
    guests: Annotated[int, msgspec.Meta(ge=0, le=192)] = 64  # links with nodes that are no members; 0: none
    up_mb_s: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0  # of files to all peers together; 0: no limit
    down_mb_s: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0  # of files from them; 0: no limit
    peer_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100  # of either limit that one peer may have
    delta: Literal["auto", "always", "never"] = "auto"  # make new versions of packages from old ones
    data_security: Literal["curve", "null"] = (
        "curve"  # null: files in the clear between nodes that both say so, for a network that is trusted
    )
    plain_port: Port = 7892  # of files in the clear; bound with data_security = "null" only


class BuildsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this node builds, if genesis gave it the role of a builder."""

    allow_confined: bool = False
    parallel: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0  # builds at once; 0: one for every two cores
    wall_s: Annotated[int, msgspec.Meta(ge=5, le=86_400)] = 600
    memory_mb: Annotated[int, msgspec.Meta(ge=64, le=1_048_576)] = 2_048
    environments: str = (
        ""  # folder of build environments, which nodes may share; empty: in the data directory
    )
    git_hosts: tuple[
        str, ...
    ] = ()  # http(s)://host:port of the own network that repositories may be fetched from
    registries: tuple[str, ...] = ("https://registry-1.docker.io",)  # that images are witnessed at, in order
    pipeline_url: str = ""  # of a build pipeline that speaks the original's HTTP contract; empty: none
    self_check: bool = (
        True  # build again, otherwise, when nothing else is to do, and say whether it came out the same
    )
    rechecks_per_day: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 2  # old verdicts that are built again
    describe: bool = True  # say what published packages say of themselves, and what they were built from
    auto: tuple[str, ...] = ()  # globs of purls that are asked for when a client misses them; none: never
    auto_per_hour: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 10  # of those, at most
    cache_gb: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 8  # fetched files of indexes and repositories
    git_mirrors: tuple[str, ...] = ()  # START = INSTEAD: what is asked in place of repositories that begin so


class StorageSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Disk that artifacts may take. What is pinned stays; of the rest the least recently used goes."""

    allocated_gb: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 10  # of all artifacts
    high_percent: Annotated[int, msgspec.Meta(ge=10, le=100)] = 90  # of what pins leave: fuller, it shrinks
    low_percent: Annotated[int, msgspec.Meta(ge=0, le=99)] = 70  # to this
    reserve_mb: Annotated[int, msgspec.Meta(ge=0, le=1_048_576)] = (
        512  # of the disk that stay free for the log
    )
    scrub_mb_s: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 8  # read to see whether it is whole; 0: never
    scrub_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 30  # between two looks at the same artifact
    repair_mb_s: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = (
        25  # that a storage member brings of what it keeps
    )
    repair_after_s: Annotated[int, msgspec.Meta(ge=1, le=604_800)] = 600  # that a dead member is waited for

    def __post_init__(self) -> None:
        if self.low_percent >= self.high_percent:
            raise ValueError("storage.low_percent must be below storage.high_percent")


class LocalSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Packages that people push to this node: it alone has them, and no peer is given them."""

    quota_gb: Annotated[int, msgspec.Meta(ge=0, le=65_536)] = 20  # of all local packages; 0: nothing is taken
    upload_gb: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 10  # of one file
    delete: bool = True  # whether a push token may also take back what was pushed


class ProxySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What comes from upstream unverified, where policy.toml puts an ecosystem into the mode `proxy`."""

    allow: tuple[str, ...] = ("*",)  # globs of purls that upstream may be asked for
    quota_gb: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 10  # kept copies; the least recently used go
    fresh_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 600  # an index page is not asked for again
    absent_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 60  # nor is what upstream did not have


class LogSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node's own diary on standard error (not the transparency log)."""

    format: Literal["plain", "json"] = "plain"
    level: Literal["debug", "info", "warning", "error"] = "info"


class WitnessSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other people's logs that this node cosigns, and other people's witnesses that it asks to cosign ours.

    `logs`: `[NEED] VKEY... [origin=ORIGIN]` each; `outside`: `VKEY URL` each. An empty name follows from the key.
    """

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    logs: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class MessagesSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Direct messages to this node, in its inbox."""

    accept: Literal["members", "anyone", "nobody"] = "members"  # who may write


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that is told of facts as the log gets them."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
    kinds: tuple[str, ...] = ("advisory",)  # of fact; none: every kind
    packages: tuple[str, ...] = ()  # globs of purls; none: everything
    severity: Literal["none", "low", "medium", "high", "critical"] = "none"  # the least one of an advisory
    secret_file: str = ""  # what calls are signed with; counts from the data directory; empty: unsigned
    private: bool = False  # an address of this machine or of a private network, where http will do
    since: Annotated[int, msgspec.Meta(ge=-1)] = -1  # leaf that a new one begins behind; -1: the log's end


class KnowledgeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told of what is known of packages."""

    webhooks: Annotated[tuple[Webhook, ...], msgspec.Meta(max_length=MAX_WEBHOOKS.value)] = ()


class TimingSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Agreement timers, in milliseconds (docs/agreement.md, "Timers")."""

    delta_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 250
    heartbeat_ms: Annotated[int, msgspec.Meta(ge=500, le=60_000)] = 5_000


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    node: NodeSection = NodeSection()
    http: HttpSection = HttpSection()
    net: NetSection = NetSection()
    builds: BuildsSection = BuildsSection()
    storage: StorageSection = StorageSection()
    local: LocalSection = LocalSection()
    proxy: ProxySection = ProxySection()
    log: LogSection = LogSection()
    timing: TimingSection = TimingSection()
    witness: WitnessSection = WitnessSection()
    messages: MessagesSection = MessagesSection()
    knowledge: KnowledgeSection = KnowledgeSection()


def user_data_dir() -> Path:
    """Where a user's own node lives unless `--data` or `PYRSIA_NODE` says otherwise."""
    return Path(platformdirs.user_data_dir("pyrsia", appauthor=False)) / "node"


def own_data_dir(named: Path | None) -> Path:
    """The data directory that a command means that works on one: `named`, else `PYRSIA_NODE` where that is no address
    of a node, else the user's."""
    environment = os.environ.get("PYRSIA_NODE", "")
    if named is None and environment and not environment.startswith(("http://", "https://")):
        named = Path(environment)
    return named or user_data_dir()


def system_data_dir() -> Path:
    """Where the service's node lives."""
    return Path("/var/lib/pyrsia")


def load(data: Path, environ: dict[str, str] | None = None) -> Config:
    """The configuration of the node in `data`; defaults where the file is silent or missing.

    Raises:
        Refusal: `config-invalid`, naming the file and the key.
    """
    path = data / CONFIG_NAME
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raw = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid(path, str(error)) from None
    return parse(_overlay(raw, dict(os.environ) if environ is None else environ), path)


def parse(raw: dict[str, Any], path: Path) -> Config:
    try:
        # Environment values are text: strict=False reads "7888" as the number that a key wants.
        found = msgspec.convert(raw, Config, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(path, str(error)) from None
    for wrong in _of_no_use(found):
        raise _invalid(path, wrong)
    return found


def render(config: Config) -> str:
    """The TOML text of `config`; `load` reads the same values back."""
    lines: list[str] = []
    for section, values in msgspec.to_builtins(config).items():
        lines.append(f"[{section}]")
        lines.extend(f"{key} = {_toml(value)}" for key, value in values.items())
        lines.append("")
    return "\n".join(lines)


def save(config: Config, data: Path) -> Path:
    """Write `config.toml` by rename, mode 0600."""
    path = data / CONFIG_NAME
    write_whole(path, render(config).encode(), 0o600)
    return path


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    # A TOML basic string and a JSON string escape the same characters the same way.
    return msgspec.json.encode(str(value)).decode()


def _overlay(raw: dict[str, Any], environ: dict[str, str]) -> dict[str, Any]:
    merged = {
        section: dict(values) if isinstance(values, dict) else values for section, values in raw.items()
    }
    for variable, text in sorted(environ.items()):
        if not variable.startswith("PYRSIA_") or "__" not in variable:
            continue
        section, _, key = variable.removeprefix("PYRSIA_").lower().partition("__")
        values = merged.setdefault(section, {})
        if isinstance(values, dict):
            values[key] = [part for part in text.split(",") if part] if key in _LISTS else text
    return merged


def _of_no_use(found: Config) -> Iterator[str]:
    """Keys of the right type that would do nothing, or fail once the node has started."""
    net, http = found.net, found.http
    plain = [("net.plain_port", net.host, net.plain_port)] if net.data_security == "null" else []
    told = (
        *map(netkeys.peer, net.peers),
        *map(netkeys.bootstrap, net.bootstrap),
        *map(netkeys.name, net.dns),
        netkeys.lan(net.lan),
        netkeys.ports(
            [
                ("http.port", http.host, http.port),
                ("net.control_port", net.host, net.control_port),
                ("net.data_port", net.host, net.data_port),
                ("net.broadcast_port", net.host, net.broadcast_port),
                *plain,
            ]
        ),
    )
    yield from filter(None, told)


def _invalid(path: Path, why: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"the configuration is not valid: {why}",
        who=f"{path} or a PYRSIA_... variable",
        do="correct that key; `pyrsia config` shows every key with its value",
    )
