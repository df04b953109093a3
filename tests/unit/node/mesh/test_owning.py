"""Who owns a blob: storage members of the log, and nobody who only says so."""

from types import SimpleNamespace

from pyrsia.ledger import roster
from pyrsia.node.mesh import owning
from pyrsia.node.mesh.owning import Owning
from pyrsia.units import NodeId


def member(number, *roles):
    node = NodeId(number.to_bytes(32, "big"))
    return SimpleNamespace(node=node, roles=frozenset(roles), domain=f"d{number}", operator=f"o{number}")


def test_owners_are_who_has_the_role_in_the_log_as_it_is_now_and_a_free_id_never_is_one(monkeypatch):
    log = [member(1, "storage"), member(2, "validator", "builder"), member(3), member(4, "storage", "issuer")]
    monkeypatch.setattr(roster, "members", lambda view: tuple(log))
    size = 1
    mine = Owning(log[1].node, lambda key: None, lambda: size)
    blobs = [number.to_bytes(32, "big") for number in range(64)]
    assert {owner for blob in blobs for owner in mine.owners(blob)} == {log[0].node, log[3].node}
    assert not mine.ours
    before = mine.placement
    assert mine.placement is before
    log[1] = member(2, "storage")  # a motion passed, and another one took the role of 4
    log[3] = member(4, "issuer")
    assert mine.placement is before, "the log has not grown"
    size = 2
    assert {owner for blob in blobs for owner in mine.owners(blob)} == {log[0].node, log[1].node}
    assert mine.ours
    assert owning.ROLE == "storage"
