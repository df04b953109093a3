"""What every way out has in common: certificates, proxy, patience, credentials, and which hosts are configured.

pip's configuration, Maven's settings, Conan's remotes, apt's sources and git's hosts are read by their own plug-ins;
each makes one `Outbound` of what it read, so that the rules of a fetch stand in one place.

Source: docs/sources.md, "The rules of every fetch".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

import httpx

from pyrsia.builds.outbound.addresses import Origin, bare, origin_of, shown
from pyrsia.errors import Refusal


@dataclass(frozen=True, slots=True)
class Blame:
    """What a person is told when the other side gives no usable answer.

    Attributes:
        code: of `errors.ANSWERS`. who, do: as in `Refusal`.
    """

    code: str = "source-unreachable"
    who: str = "the server that was asked"
    do: str = "check the network and how this server is configured, then try again"

    def unreachable(self, url: str, why: str) -> Refusal:
        return Refusal(self.code, what=f"{shown(url)} gave no usable answer: {why}", who=self.who, do=self.do)

    def too_large(self, url: str, limit: int) -> Refusal:
        return Refusal(
            "too-large",
            what=f"{shown(url)} is larger than {limit} bytes",
            who=self.who,
            do="this file cannot be used",
        )


@dataclass(frozen=True, slots=True)
class Outbound:
    """How fetches of one kind go.

    Attributes:
        cert: CA bundle file or folder; None for the system's store.
        client_cert: PEM file with key and certificate, shown to configured hosts only.
        proxy: a proxy's URL; None for what the environment says.
        trusted_hosts: `host` or `host:port` whose certificate is not checked.
        timeout_s: patience for one connect or read.
        auth: origin -> the credentials written for it; where there are none, the user's netrc.
        open_hosts: (host, port) that the operator configured: reached whatever their address.
        netrc: whether the user's netrc is read at all.
        connections: at once, of one kind of host.
    """

    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 15.0
    auth: Mapping[Origin, httpx.Auth] = field(default_factory=dict)
    open_hosts: frozenset[tuple[str, int]] = frozenset()
    netrc: bool = True
    connections: int = 8
    blame: Blame = Blame()

    def configured(self, urls: Iterable[str]) -> "Outbound":
        """The same with `urls` as configured remotes: their hosts are open, credentials in them are theirs alone.

        Raises:
            Malformed: one is no http or https URL.
        """
        auth, hosts = dict(self.auth), set(self.open_hosts)
        for url in urls:
            origin = origin_of(url)
            hosts.add(origin[1:])
            found = _credentials(url)
            if found is not None:
                auth[origin] = found
        return replace(self, auth=auth, open_hosts=frozenset(hosts))


def _credentials(url: str) -> httpx.BasicAuth | None:
    parts = urlsplit(url)
    if bare(url) == url:
        return None
    return httpx.BasicAuth(unquote(parts.username or ""), unquote(parts.password or ""))
