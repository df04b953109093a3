"""Who may ask what, decided from the scope alone."""

import re
from typing import Any

import pytest

from pyrsia.errors import Refusal
from pyrsia.serve.guard import Guard, host_name

TOKEN = (b"authorization", b"Bearer sesame")


def scope(
    method: str = "GET",
    *headers: tuple[bytes, bytes],
    host: bytes = b"127.0.0.1:7888",
    peer: str = "tcp",
    client: str = "127.0.0.1",
    path: str = "/x",
) -> dict[str, Any]:
    return {
        "method": method,
        "path": path,
        "headers": [(b"host", host), *headers],
        "pyrsia.peer": peer,
        "client": (client, 5) if peer == "tcp" else None,
    }


def verdict(asked: dict[str, Any], **how: Any) -> str:
    try:
        Guard(control_token="sesame", **how).check(asked)
    except Refusal as refusal:
        return refusal.code
    return "pass"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"127.0.0.1", "127.0.0.1"),
        (b"LOCALHOST:80", "localhost"),
        (b"[::1]:7888", "::1"),
        (b"[::1]", "::1"),
        (b"a.example:", "a.example"),
        (b"", ""),
        (b"a:b", ""),
        (b"a:123456", ""),
        (b"[::1", ""),
        (b"[::1]x", ""),
        (b"localhost:80@evil", ""),
    ],
)
def test_a_host_header_is_a_name_and_maybe_a_port(host: bytes, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:1", b"[::1]:9", b"Packages.Example:443"])
def test_a_configured_or_loopback_host_passes(host: bytes) -> None:
    assert verdict(scope(host=host), names=["packages.example"]) == "pass"


@pytest.mark.parametrize(
    "host", [b"evil.example", b"", b"localhost.evil.example", b"127.0.0.1.nip.io", b"\xff"]
)
def test_any_other_host_is_421_even_with_the_token(host: bytes) -> None:
    assert verdict(scope("GET", host=host)) == "wrong-host"
    assert verdict(scope("POST", TOKEN, host=host)) == "wrong-host"


def test_the_control_socket_has_no_host() -> None:
    assert verdict(scope(host=b"whatever", peer="control")) == "pass"


@pytest.mark.parametrize("peer", ["tcp", "control"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), "forbidden"),
        ((TOKEN,), "pass"),
        (((b"authorization", b"bearer sesame"),), "pass"),
        (((b"authorization", b"Bearer wrong"),), "forbidden"),
        (((b"authorization", b"Bearer "),), "forbidden"),
        (((b"authorization", b"Basic sesame"),), "forbidden"),
        ((TOKEN, (b"sec-fetch-site", b"cross-site")), "forbidden"),
        ((TOKEN, (b"sec-fetch-site", b"same-site")), "forbidden"),
        ((TOKEN, (b"sec-fetch-site", b"same-origin")), "pass"),
        ((TOKEN, (b"sec-fetch-site", b"none")), "pass"),
        ((TOKEN, (b"origin", b"http://evil.example")), "forbidden"),
        ((TOKEN, (b"origin", b"null")), "forbidden"),
        ((TOKEN, (b"origin", b"https://127.0.0.1:7888")), "forbidden"),
    ],
)
def test_a_change_needs_the_token_and_no_foreign_page(
    peer: str, method: str, headers: tuple[tuple[bytes, bytes], ...], expected: str
) -> None:
    assert verdict(scope(method, *headers, peer=peer)) == expected


def test_a_page_of_this_node_may_change_things_over_tcp_only() -> None:
    own = (b"origin", b"http://127.0.0.1:7888")
    assert verdict(scope("POST", TOKEN, own)) == "pass"
    assert verdict(scope("POST", TOKEN, own, peer="control")) == "forbidden"


@pytest.mark.parametrize(
    ("client", "how", "headers", "expected"),
    [
        ("127.9.9.9", {}, (), "pass"),
        ("::1", {}, (), "pass"),
        ("::ffff:127.0.0.1", {}, (), "pass"),
        ("192.0.2.1", {}, (), "forbidden"),
        ("fe80::1%eth0", {}, (), "forbidden"),
        ("192.0.2.1", {"public": True}, (), "pass"),
        ("192.0.2.1", {}, ((b"authorization", b"Bearer q"),), "forbidden"),
        ("192.0.2.1", {}, ((b"authorization", b"Bearer "),), "forbidden"),
        ("192.0.2.1", {}, (TOKEN,), "pass"),
    ],
)
def test_reading_from_another_machine_needs_a_token_unless_public(
    client: str, how: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...], expected: str
) -> None:
    assert verdict(scope("GET", *headers, client=client), **how) == expected


def test_a_public_node_is_public_for_reading_only() -> None:
    assert verdict(scope("POST", client="192.0.2.1"), public=True) == "forbidden"


@pytest.mark.parametrize("peer", ["tcp", "control"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_no_speaks_only_of_tokens_and_settings_that_there_are(peer: str, method: str) -> None:
    if (peer, method) == ("control", "GET"):
        assert verdict(scope(method, peer=peer)) == "pass"
        return
    with pytest.raises(Refusal) as caught:
        Guard(control_token="sesame").check(scope(method, peer=peer, client="192.0.2.1"))
    assert "control.token" in caught.value.do
    assert re.search("(read|admin) token", caught.value.do) is None


def test_health_is_open_to_a_load_balancer() -> None:
    assert verdict(scope(path="/healthz", client="192.0.2.1")) == "pass"


def test_an_empty_token_is_a_bug_not_an_open_door() -> None:
    with pytest.raises(ValueError, match="empty control token"):
        Guard(control_token="")
