"""What a download wants done: the effects of `swarm`.

Source: docs/network.md, "The swarm".
"""

from dataclasses import dataclass

from pyrsia.units import NodeId


@dataclass(frozen=True, slots=True)
class Open:
    """Effect: reach this source and ask what it has; answer with `on_have`, `on_nak` or `on_lost`."""

    source: NodeId


@dataclass(frozen=True, slots=True)
class Ask:
    """Effect: ask for these chunks, at most 16."""

    source: NodeId
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Effect: tell this source that these chunks are not needed any more."""

    source: NodeId
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Effect: ask once more what this source has (WANT_HAVE); answer with `on_have`, and `on_source` for an ALSO."""

    source: NodeId


@dataclass(slots=True)  # not frozen: one for each chunk, and setting four fields of a frozen one takes 2 us
class Write:
    """Effect: a verified chunk from `source`, to be written at `offset`."""

    source: NodeId
    index: int
    offset: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Drop:
    """Effect: let go of this source. `guilty`: no honest source does what it did; `odd`: one does so now and then."""

    source: NodeId
    why: str
    guilty: bool
    odd: bool = False


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Effect: call `on_timer` then; replaces the moment named before."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """Effect: every chunk was written."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Effect: no source is left; `why` names each with its reason. `held` of `count` chunks are here."""

    why: tuple[tuple[NodeId, str], ...]
    held: int = 0
    count: int = 0


Effect = Open | Ask | Cancel | Look | Write | Drop | WakeAt | Done | Failed
