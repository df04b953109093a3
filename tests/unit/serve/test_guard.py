"""Who may ask what, decided from the scope alone."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.serve.desks.views import told
from pyrsia.serve.grants import ADMIN, PUSH, READ, Grant, require_push
from pyrsia.serve.guard import PUSHED, Guard, credentials, host_name
from pyrsia.status import LogStatus, NodeStatus

TOKEN = (b"authorization", b"Bearer sesame")
GRANTS = {
    "pushing": Grant("ci", PUSH, "pkg:pypi/acme-*"),
    "reading": Grant("laptop", READ),
    "ruling": Grant("ops", ADMIN),
}


def bearer(token: str) -> tuple[bytes, bytes]:
    return (b"authorization", b"Bearer " + token.encode())


def basic(token: str, user: str = "__token__") -> tuple[bytes, bytes]:
    return (b"authorization", b"Basic " + base64.b64encode(f"{user}:{token}".encode()))


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
        Guard(control_token="sesame", tokens=GRANTS.get, **how).check(asked)
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
        ((), "unauthenticated"),
        ((TOKEN,), "pass"),
        ((basic("sesame"),), "pass"),
        ((bearer("ruling"),), "pass"),
        ((bearer("pushing"),), "forbidden"),
        ((basic("reading"),), "forbidden"),
        (((b"authorization", b"bearer sesame"),), "pass"),
        (((b"authorization", b"Bearer wrong"),), "unauthenticated"),
        (((b"authorization", b"Bearer "),), "unauthenticated"),
        (((b"authorization", b"Basic sesame"),), "unauthenticated"),
        (((b"authorization", b"Digest sesame"),), "unauthenticated"),
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
        ("192.0.2.1", {}, (), "unauthenticated"),
        ("fe80::1%eth0", {}, (), "unauthenticated"),
        ("192.0.2.1", {"public": True}, (), "pass"),
        ("192.0.2.1", {}, ((b"authorization", b"Bearer q"),), "unauthenticated"),
        ("192.0.2.1", {}, ((b"authorization", b"Bearer "),), "unauthenticated"),
        ("192.0.2.1", {}, (TOKEN,), "pass"),
        ("192.0.2.1", {}, (basic("reading"),), "pass"),
        ("192.0.2.1", {}, (bearer("pushing"),), "pass"),
        ("192.0.2.1", {}, (bearer("ruling"),), "pass"),
        # Whoever logs in wants to hear that the password is wrong, also where nobody asks for one.
        ("127.0.0.1", {}, (basic("wrong"),), "unauthenticated"),
        ("192.0.2.1", {"public": True}, (bearer("wrong"),), "unauthenticated"),
        ("127.0.0.1", {}, (basic(""),), "pass"),
    ],
)
def test_reading_from_another_machine_needs_a_token_unless_public(
    client: str, how: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...], expected: str
) -> None:
    assert verdict(scope("GET", *headers, client=client), **how) == expected


def test_a_public_node_is_public_for_reading_only() -> None:
    assert verdict(scope("POST", client="192.0.2.1"), public=True) == "unauthenticated"


@pytest.mark.parametrize("path", [prefix + "x" for prefix in PUSHED])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_who_may_push_is_for_the_registry_to_ask(path: str, method: str) -> None:
    for headers, code in (((), "unauthenticated"), ((bearer("reading"),), "forbidden")):
        asked = scope(method, *headers, path=path)
        assert verdict(asked) == "pass"
        with pytest.raises(Refusal) as caught:
            require_push(asked, "pkg:pypi/acme-lib")
        assert caught.value.code == code
    asked = scope(method, basic("pushing"), path=path)
    assert verdict(asked) == "pass"
    assert require_push(asked, "pkg:pypi/acme-lib").name == "ci"
    with pytest.raises(Refusal, match="may not push pkg:pypi/other"):
        require_push(asked, "pkg:pypi/other")
    for host in (b"evil.example", b"127.0.0.1.nip.io"):
        assert verdict(scope(method, basic("pushing"), path=path, host=host)) == "wrong-host"
    foreign = (b"sec-fetch-site", b"cross-site")
    assert verdict(scope(method, basic("pushing"), foreign, path=path)) == "forbidden"
    assert verdict(scope(method, basic("wrong"), path=path)) == "unauthenticated"


@pytest.mark.parametrize("path", ["/api/v1/members/propose", "/api/v1/builds", "/", "/pypi/simple/", "/v2"])
@pytest.mark.parametrize("token", ["pushing", "reading"])
def test_a_token_for_packages_changes_nothing_else(path: str, token: str) -> None:
    for peer in ("tcp", "control"):
        assert verdict(scope("POST", bearer(token), path=path, peer=peer)) == "forbidden"


def test_only_an_admin_token_makes_an_admin() -> None:
    for token, admin in (("pushing", False), ("reading", False), ("ruling", True), ("sesame", True)):
        asked = scope("GET", bearer(token))
        assert verdict(asked) == "pass"
        assert asked["pyrsia.admin"] is admin
    asked = scope("GET")
    assert verdict(asked) == "pass"
    assert (asked["pyrsia.admin"], asked["pyrsia.grant"]) == (False, None)


def test_a_page_over_tls_has_another_origin() -> None:
    for scheme, expected in (("https", "pass"), ("http", "forbidden")):
        asked = scope("POST", TOKEN, (b"origin", b"https://127.0.0.1:7888"))
        assert verdict({**asked, "scheme": scheme}) == expected


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"", None),
        (b"Basic", None),
        (b"Basic Og==", None),
        (b"Bearer   ", None),
        (b"Negotiate YII=", None),
        (b"Basic " + base64.b64encode(b"a:b:c"), b"b:c"),
        (b"BASIC  " + base64.b64encode(b":b"), b"b"),
        (b"Basic " + base64.b64encode(b"nocolon"), None),
        (b"Basic not base64", b"?"),
        (b"Basic YWI6Y2Q", b"?"),
        (b"Bearer " + b"x" * 2_000, b"?"),
    ],
)
def test_a_token_is_what_bearer_carries_or_the_password_of_basic(header: bytes, token: bytes | None) -> None:
    assert credentials(header) == token


@given(st.binary(max_size=80))
def test_no_header_of_a_stranger_passes_for_a_token(noise: bytes) -> None:
    asked = scope("POST", (b"authorization", noise))
    assert verdict(asked) == "unauthenticated"


def test_health_is_open_to_a_load_balancer() -> None:
    assert verdict(scope(path="/healthz", client="192.0.2.1")) == "pass"


def test_an_empty_token_is_a_bug_not_an_open_door() -> None:
    with pytest.raises(ValueError, match="empty control token"):
        Guard(control_token="")


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        (scope(), True),
        (scope(client="192.0.2.7"), False),
        (scope("GET", bearer("reading"), client="192.0.2.7"), False),
        (scope("GET", bearer("ruling"), client="192.0.2.7"), True),
        (scope(peer="control"), True),
    ],
)
def test_the_operator_s_notices_are_for_who_is_near(asked: dict[str, Any], near: bool) -> None:
    Guard(control_token="sesame", tokens=GRANTS.get, public=True).check(asked)
    status = NodeStatus(
        "a",
        "n",
        "follower",
        "net",
        False,
        "0",
        1.0,
        "",
        LogStatus(0, "", 0, 0, 0),
        0,
        0,
        notices=("/secret/path",),
    )
    assert bool(told(status, asked).notices) == near
