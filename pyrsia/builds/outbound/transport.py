"""HTTP clients as an `Outbound` wants them: certificates, proxies, netrc, and the guard of addresses."""

import functools
import os
import ssl
from pathlib import Path
from typing import Final

import httpx

from pyrsia.builds.outbound.addresses import Guard
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.errors import Refusal
from pyrsia.units import Limit

CONTEXTS: Final = Limit(8, "sets of trusted certificates kept read: a node's configuration names one or two")


def netrc() -> httpx.Auth | None:
    """The user's netrc: httpx picks the machine by host name on every request."""
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        if path.is_file():
            try:
                return httpx.NetRCAuth(str(path))
            except Exception:  # noqa: BLE001 - a broken netrc is no credentials, as in pip
                return None
    return None


def make_client(config: Outbound, *, trusted: bool, own: bool) -> httpx.AsyncClient:
    """A client without cookies, redirects or environment.

    Args:
        trusted: certificates are not checked, as the operator wants it for this host.
        own: the host is configured, so it may see the client certificate.
    """
    context = _tls(config, trusted, own)
    guard = Guard(config.open_hosts)

    def transport(proxy: str | None) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=config.connections)
        made = httpx.AsyncHTTPTransport(verify=context, proxy=proxy, trust_env=False, limits=limits)
        if proxy is None:
            # httpx has no argument for the backend that connects; a proxy resolves for itself.
            made._pool._network_backend = guard
        return made

    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for pattern, proxy in _proxies(config).items():
        mounts[pattern] = transport(proxy)
    return httpx.AsyncClient(
        transport=transport(None),
        mounts=mounts,
        timeout=config.timeout_s,
        trust_env=False,
        headers={"user-agent": "pyrsia"},
    )


def _proxies(config: Outbound) -> dict[str, str | None]:
    """Pattern of URL -> proxy, or None for a direct connection."""
    if config.proxy:
        proxy = config.proxy if "://" in config.proxy else f"http://{config.proxy}"
        return {"all://": proxy}
    from httpx._utils import get_environment_proxies  # the rules of NO_PROXY, as httpx reads them

    return get_environment_proxies()


def _tls(config: Outbound, trusted: bool, own: bool) -> ssl.SSLContext:
    """What connections are made with: one for all clients that trust the same and show nothing of their own."""
    try:
        if config.client_cert and own:
            context = _context(config.cert, trusted)
            context.load_cert_chain(config.client_cert)
            return context
        return _shared(config.cert, trusted, _state(config.cert))
    except (OSError, ssl.SSLError) as error:
        raise Refusal(
            "config-invalid",
            what=f"a certificate file of the configuration cannot be read: {error}",
            who="the options that name certificates (pip: cert and client-cert)",
            do="correct the path",
        ) from error


def _context(cert: str | None, trusted: bool) -> ssl.SSLContext:
    if trusted:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif cert is None:
        context = ssl.create_default_context()
    elif Path(cert).is_dir():
        context = ssl.create_default_context(capath=cert)
    else:
        context = ssl.create_default_context(cafile=cert)
    return context


@functools.lru_cache(CONTEXTS.value)
def _shared(cert: str | None, trusted: bool, state: tuple[object, ...]) -> ssl.SSLContext:
    """A context that nobody changes any more. To read a system's certificates costs 20 ms of the node's one loop."""
    return _context(cert, trusted)


def _state(cert: str | None) -> tuple[object, ...]:
    """What changes when the certificates do that a new context would read."""
    system = ssl.get_default_verify_paths()
    found: list[object] = []
    for path in (cert,) if cert is not None else (system.cafile, system.capath):
        try:
            info = os.stat(path) if path else None
        except OSError:  # the context says what is wrong with it
            info = None
        found.append(info and (path, info.st_ino, info.st_size, info.st_mtime_ns))
    return tuple(found)
