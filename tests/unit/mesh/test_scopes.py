"""Scopes: what address means the same machine from where, in whatever clothes it comes."""

import pytest

from pyrsia.mesh import scopes
from pyrsia.mesh.scopes import Scope


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("127.0.0.1", Scope.MACHINE),
        ("127.9.9.9", Scope.MACHINE),
        ("::1", Scope.MACHINE),
        ("::ffff:127.0.0.1", Scope.MACHINE),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.16.0.1", Scope.PRIVATE),
        ("172.32.0.1", Scope.GLOBAL),
        ("192.168.1.1", Scope.PRIVATE),
        ("192.0.2.9", Scope.PRIVATE),
        ("fd00::1", Scope.PRIVATE),
        ("::ffff:10.0.0.1", Scope.PRIVATE),
        ("64:ff9b::10.0.0.1", Scope.PRIVATE),
        ("2002:0a00:0001::", Scope.PRIVATE),  # 6to4 of 10.0.0.1
        ("169.254.1.1", Scope.LINK),
        ("fe80::1", Scope.LINK),
        ("100.64.0.1", Scope.CARRIER),
        ("100.128.0.1", Scope.GLOBAL),
        ("8.8.8.8", Scope.GLOBAL),
        ("2606:4700::1", Scope.GLOBAL),
        ("0.0.0.0", Scope.NOWHERE),  # noqa: S104 (compared, not bound)
        ("::", Scope.NOWHERE),
        ("224.0.0.1", Scope.NOWHERE),
        ("255.255.255.255", Scope.NOWHERE),
        ("240.0.0.1", Scope.NOWHERE),
        ("", Scope.NOWHERE),
        ("localhost", Scope.NAME),
        ("127.1", Scope.NAME),  # inet_aton would take it; it is resolved and then held to its scope
        ("0x7f000001", Scope.NAME),
    ],
)
def test_the_scope_of(host, scope):
    assert scopes.scope_of(host) is scope


def test_only_what_the_operator_wrote_opens_a_scope():
    alone = scopes.scopes_of(["0.0.0.0", "amber.example", ""])  # noqa: S104 (compared, not bound)
    office = scopes.scopes_of(["10.0.0.1"])

    assert alone == {Scope.GLOBAL}
    assert [scopes.may_dial(host, alone) for host in ("8.8.8.8", "10.0.0.9", "127.0.0.1")] == [
        True,
        False,
        False,
    ]
    assert [scopes.may_dial(host, office) for host in ("8.8.8.8", "10.0.0.9", "127.0.0.1")] == [
        True,
        True,
        False,
    ]
    assert not scopes.may_dial("localhost", frozenset(Scope) - {Scope.NAME})


def test_addresses_are_taken_apart_and_put_together():
    for address in ("tcp://10.0.0.1:5", "tcp://[::1]:44000", "tcp://amber.example:1"):
        assert scopes.join(*scopes.split(address)) == address
    assert [scopes.split(text) for text in ("", "tcp://x", "tcp://x:y", "tcp://x:²")] == [("", 0)] * 4


def test_a_group_is_one_owners_for_all_that_we_know():
    group = scopes.group_of
    assert group("tcp://8.8.8.1:1") == group("tcp://8.8.8.254:2") != group("tcp://8.8.9.1:1")
    assert (
        group("tcp://[2606:4700:1::1]:1")
        == group("tcp://[2606:4700:1:ffff::2]:1")
        != group("tcp://[2606:4700:2::1]:1")
    )
    assert (
        group("tcp://a.evil.example:1")
        == group("tcp://b.evil.example:1")
        != group("tcp://good.example.org:1")
    )
    assert group("tcp://10.0.0.1:1") != group("tcp://10.0.0.2:1")  # a rack is no crowd
