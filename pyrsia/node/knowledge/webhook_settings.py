"""Webhooks as config.toml names them: which addresses may be called, and with which secret.

Facts are nobody's secret, but a call goes from inside of the operator's network to wherever a line of text says, so
addresses of this machine and of private networks are called only where the operator said so; names are looked at when
they are resolved (`builds.outbound`).

Source: docs/knowledge.md, "Webhooks".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyrsia.builds.outbound.addresses import Forbidden, address_allowed, bare, check_host, origin_of
from pyrsia.config import Webhook
from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.calling import Target
from pyrsia.ledger.bodies.facts import KINDS
from pyrsia.ledger.matching import PurlGlob
from pyrsia.units import Limit
from pyrsia.wire.text import safe

MIN_SECRET_BYTES = Limit(16, "128 bits: a shorter secret can be found by trying")
MAX_SECRET_BYTES = Limit(4_096, "a secret is a line; a longer file is another one")


@dataclass(frozen=True, slots=True)
class Known:
    """A webhook of the configuration that was found valid. `secret`: empty for none."""

    settings: Webhook
    target: Target
    secret: bytes

    @property
    def name(self) -> str:
        """How it is called where others may read: many services put a secret into the path."""
        scheme, host, port = origin_of(self.target.url)
        usual = {"http": 80, "https": 443}[scheme] == port
        return f"{scheme}://{f'[{host}]' if ':' in host else host}{'' if usual else f':{port}'}"


def read_webhooks(settings: Sequence[Webhook], folder: Path) -> list[Known]:
    """Those of the configuration, each checked. File names count from `folder`.

    Raises:
        Refusal: `config-invalid`, naming the entry.
    """
    found: list[Known] = []
    for number, one in enumerate(settings, 1):
        try:
            found.append(_known(one, folder))
            if any(other.target.url == one.url for other in found[:-1]):
                raise Malformed("the same url stands there twice; give one entry both kinds")
        except (Malformed, ValueError) as error:
            raise Refusal(
                "config-invalid",
                what=f"webhook {number} is not valid: {error}",
                who="knowledge.webhooks in config.toml",
                do='correct it, as in docs/knowledge.md, "Webhooks"',
            ) from None
    return found


def _known(one: Webhook, folder: Path) -> Known:
    _check_url(one)
    for kind in one.kinds:
        if kind not in KINDS:
            raise Malformed(f"{safe(kind[:40])!r} is no kind of fact; use {', '.join(KINDS)}")
    target = Target(
        one.url, frozenset(one.kinds), tuple(PurlGlob.parse(text) for text in one.packages), one.severity
    )
    return Known(one, target, _secret(one.secret_file, folder) if one.secret_file else b"")


def _check_url(one: Webhook) -> None:
    scheme, host, port = origin_of(one.url)
    if bare(one.url) != one.url:
        raise Malformed("its url has a user name or password: use secret_file, which signs each call")
    if "#" in one.url or not one.url.isascii() or not one.url.isprintable() or " " in one.url:
        raise Malformed("its url has a fragment, a space or a character that is not plain ASCII")
    closed = _closed(host, port)
    if closed and not one.private:
        raise Malformed(
            f"{host} is of this machine or a private network: say private = true if that is meant"
        )
    if scheme != "https" and (not one.private or closed is False):
        raise Malformed("http is for private networks, with private = true; use https")


def _closed(host: str, port: int) -> bool | None:
    """Whether an address is of this machine or a private network; None for a name, which says nothing."""
    try:
        check_host(host, port, frozenset())
        return not address_allowed(host)
    except Forbidden:
        return True
    except ValueError:
        return None


def _secret(name: str, folder: Path) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            found = file.read(MAX_SECRET_BYTES.value + 1)
    except OSError as error:
        raise Malformed(f"its secret_file cannot be read: {error.strerror}") from None
    if len(found) > MAX_SECRET_BYTES.value:
        raise Malformed(f"its secret_file has more than {MAX_SECRET_BYTES.value} bytes")
    found = found.strip()
    if len(found) < MIN_SECRET_BYTES.value:
        raise Malformed(
            f"its secret has less than {MIN_SECRET_BYTES.value} bytes: `openssl rand -hex 32` makes one"
        )
    return found
