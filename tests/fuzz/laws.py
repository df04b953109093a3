"""What every parser owes, said once."""

from collections.abc import Callable
from typing import TypeVar

from pyrsia.errors import Malformed

T = TypeVar("T")


def read(decode: Callable[[bytes], T], data: bytes) -> T | None:
    """What `data` says; None if it was refused. Whatever else `decode` raises is a finding."""
    try:
        return decode(data)
    except Malformed as error:
        refused = error
    assert str(refused), "a refusal says which rule was broken"
    return None


def one_form(data: bytes, decode: Callable[[bytes], T], encode: Callable[[T], bytes]) -> T | None:
    """What `data` says, if anything; then it is the one way to say it."""
    value = read(decode, data)
    if value is not None:
        assert encode(value) == data, "accepted bytes that are not the encoding of what they say"
    return value
