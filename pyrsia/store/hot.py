"""Rows that were asked for lately, kept so that the next question costs no search in the database.

What is asked most is asked for every entry: members, the network's numbers, whether an id stands in the log already.
The one who writes the rows says which have changed. Two tables take turns: what is asked for moves into the young one,
and a full young one becomes the old one, whose rows are forgotten; so no order is kept and nothing is sorted.
"""

from collections.abc import Callable, Iterable

from pyrsia.units import Limit

HOT_ROWS = Limit(
    16_384, "ids of the entries of sixteen full blocks; both tables full are 8 MB at most of keys"
)
HOT_BYTES = Limit(512, "of one row: members, numbers and quotas; larger rows are asked for once or twice")

_UNKNOWN = object()


class Hot:
    """`read`, with what it said remembered; None is an answer too."""

    __slots__ = ("_old", "_read", "_young")

    def __init__(self, read: Callable[[bytes], bytes | None]) -> None:
        self._read = read
        self._young: dict[bytes, bytes | None] = {}
        self._old: dict[bytes, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: bytes) -> bytes | None:
        found: object = self._young.get(key, _UNKNOWN)
        if found is not _UNKNOWN:
            return found  # type: ignore[return-value]  # (the one other kind of thing is excluded)
        found = self._old.pop(key, _UNKNOWN)
        value: bytes | None = self._read(key) if found is _UNKNOWN else found  # type: ignore[assignment]
        if value is None or len(value) <= HOT_BYTES.value:
            self._keep(key, value)
        return value

    def changed(self, keys: Iterable[bytes]) -> None:
        """These rows were written or deleted: what was known of them is not true any more."""
        young, old = self._young, self._old
        for key in keys:
            young.pop(key, None)
            old.pop(key, None)

    def forget(self) -> None:
        """Another table is read from now on."""
        self._young, self._old = {}, {}

    def _keep(self, key: bytes, value: bytes | None) -> None:
        if len(self._young) >= HOT_ROWS.value:
            self._old, self._young = self._young, {}
        self._young[key] = value
