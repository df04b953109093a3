"""The node that a client is pointed at: its address in the form that configuration takes, and its mode.

The address goes into other programs' files, so it holds nothing but a scheme, a host, a port and a plain path: no
password, no character that any of those formats reads otherwise. The mode is the node's own, in its policy.toml; a
client's configuration cannot change it.
"""

import re
from pathlib import Path
from typing import Any, Final

import tomlkit

from pyrsia import config
from pyrsia.client import Client, resolve
from pyrsia.consumers import toml
from pyrsia.consumers.applying import put, unwritten, was_of
from pyrsia.errors import Refusal
from pyrsia.policy import rules
from pyrsia.policy.modes import MODES, PROXY, VERIFIED, WITNESSED
from pyrsia.units import Limit
from pyrsia.wire.text import safe

_ADDRESS: Final = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*"
)
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}  # noqa: S104  (read, not bound)
_PURLS: Final = {"pip": "pkg:pypi/", "maven": "pkg:maven/", "conan": "pkg:conan/", "oci": "pkg:docker/"}
MAX_TOLD = Limit(200, "witnessed files that are looked up to say what a mode refuses; people read ten")
DEFAULTS: Final = {"pip": VERIFIED, "maven": VERIFIED, "conan": VERIFIED, "oci": WITNESSED}

# What a user of an ecosystem meets in a mode, a sentence each.
_FAILS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("pip", VERIFIED): (
        "pip and uv find only wheels that builders rebuilt; any other project is `No matching distribution`",
        "a lock with hashes installs where the rebuilt file is upstream's, byte for byte or by content",
    ),
    ("maven", VERIFIED): (
        "Maven's own plugins and everything that is only witnessed are refused, so most builds of projects fail",
        "libraries that were rebuilt resolve; for builds choose verified+witnessed",
    ),
    ("conan", VERIFIED): (
        "only recipes and packages that builders rebuilt install; `--build=missing` needs its tools too",
    ),
    ("oci", VERIFIED): (
        "base images are witnessed, not rebuilt: they are refused, and so is every image that stands on one",
    ),
}
_ALWAYS: Final = {
    WITNESSED: "what nobody rebuilt or witnessed is refused; pyrsia build request asks for it",
    PROXY: "what the log does not hold comes from upstream, unverified and marked so",
}


def address(target: str | None) -> str:
    """Where the node of `--node` serves clients, without a slash at its end.

    Raises:
        Refusal: `usage` for an address that cannot stand in configuration; as `config.load` for a directory.
    """
    named = resolve(target)
    if not named.startswith(("http://", "https://")):
        named = _of_folder(Path(named))
    named = named.rstrip("/")
    if not _ADDRESS.fullmatch(named):
        raise Refusal(
            "usage",
            what=f"{named} cannot stand in a client's configuration",
            who="your command",
            do="write http://HOST:PORT without a password; clients take that from ~/.netrc or their own login",
        )
    return named


def _of_folder(folder: Path) -> str:
    """As the running node says it, else as its configuration will have it."""
    try:
        told = Client(str(folder)).get("/api/v1/status")
        found = told.get("http") if isinstance(told, dict) else None
        if isinstance(found, str) and found:
            return _reachable(found)
    except Refusal as refusal:
        if refusal.code != "not-running":
            raise
    if not (folder / config.CONFIG_NAME).exists():
        raise Refusal(
            "not-running",
            what=f"there is no node in {folder}",
            who="your command, or a node that was never made",
            do="name one with --node URL|DIR, or make one with `pyrsia init`",
        )
    http = config.load(folder).http
    if not http.port:
        raise Refusal(
            "not-running",
            what=f"the node in {folder} takes any free port, and does not run now",
            who="its configuration",
            do="start it, or give it a port of its own: http.port in config.toml",
        )
    host = f"[{http.host}]" if ":" in http.host else http.host
    return _reachable(f"{'https' if http.tls_cert else 'http'}://{host}:{http.port}")


def _reachable(url: str) -> str:
    scheme, _, rest = url.partition("://")
    for host, loopback in _ANYWHERE.items():
        if rest.startswith((f"{host}:", f"{host}/")) or rest == host:
            return f"{scheme}://{loopback}{rest.removeprefix(host)}"
    return url


def answers(url: str) -> bool:
    """Whether a node is there now."""
    try:
        return isinstance(Client(url, patience_s=5.0).get("/healthz"), dict)
    except Refusal:
        return False


# -- modes ---------------------------------------------------------------------------------------


def mode(target: str | None, ecosystem: str) -> str:
    """The mode that the node answers for an ecosystem; "" where it does not answer, or does not say."""
    try:
        found = Client(target).get("/api/v1/policy")
        rows = found["rules"][ecosystem]
        told = {str(row["key"]): row["value"] for row in rows}
    except (Refusal, KeyError, TypeError):
        return ""
    said = told.get("mode")
    return said if isinstance(said, str) and said in MODES else ""


def witnessed(target: str | None, ecosystem: str) -> tuple[str, ...]:
    """Files that the node's log has as witnessed only, the newest first: what the mode `verified` refuses."""
    query = {"type": "artifact.add", "verdict": "WITNESSED", "purl": f"{_PURLS[ecosystem]}*"}
    try:
        found = Client(target).get("/api/v1/log/entries", order="newest", count=MAX_TOLD.value, **query)
        return tuple(safe(str(row["summary"]).partition(" ")[0])[:120] for row in found["entries"])
    except (Refusal, KeyError, TypeError):
        return ()


def set_mode(folder: Path, ecosystem: str, name: str) -> Path:
    """Write the mode into the policy of one's own node, which takes it over within five seconds; nothing else changes.

    Raises:
        Refusal: `config-invalid`; the file stays as it is.
    """
    path = folder / "policy.toml"
    raw = path.read_bytes() if path.exists() else b""
    rules.parse(raw, str(path))
    text = raw.decode()
    made, wanted = toml.document(text, path), toml.read(text, path)
    wanted[ecosystem] = {**wanted.get(ecosystem, {}), "mode": name}
    if ecosystem not in made:
        made.append(ecosystem, tomlkit.table())
    section: Any = made[ecosystem]
    section["mode"] = name
    told = toml.finished(made, wanted, path).encode()
    rules.parse(told, str(path))
    try:
        path = path.resolve()
        put(path, told, was_of(path))
    except (OSError, RuntimeError) as error:
        raise unwritten(path, error if isinstance(error, OSError) else OSError(str(error))) from None
    return path


def fails(ecosystem: str, name: str) -> tuple[str, ...]:
    """What will not work in a mode, in sentences."""
    return _FAILS.get((ecosystem, name), ()) + ((_ALWAYS[name],) if name in _ALWAYS else ())


def own_folder(target: str | None) -> Path | None:
    """The node's data directory where the command names one, which is one's own to configure."""
    named = resolve(target)
    return None if named.startswith(("http://", "https://")) else Path(named)
