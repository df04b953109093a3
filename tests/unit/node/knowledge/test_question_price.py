"""What questions about blobs cost those who ask them: guests pay by what has to be looked up."""

from pyrsia.node.mesh.providing import ASKED_BURST, Providing
from pyrsia.units import NodeId
from pyrsia.wire.providers import Held, Sums, Who

MEMBER, GUEST = NodeId(b"m" * 32), NodeId(b"g" * 32)


def test_a_guest_pays_for_what_it_names_and_a_member_for_the_question():
    part = Providing.__new__(Providing)
    part._member = lambda node: node == MEMBER
    many = tuple(number.to_bytes(32, "big") for number in range(1_024))
    for asked in (Held(many), Who(many[:64]), Sums(tuple(range(256)))):
        assert part._price(MEMBER, asked) == 1.0
    assert part._price(GUEST, Held(many)) == 17.0
    assert part._price(GUEST, Who(many[:64])) == 2.0
    assert part._price(GUEST, Sums(tuple(range(256)))) == 5.0
    assert ASKED_BURST.value / part._price(GUEST, Held(many)) < 12
