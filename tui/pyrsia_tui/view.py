"""From a snapshot to rows and sentences: pure, the same for the screen and for text.

The node is a stranger here: every text of its snapshot goes through `safe`, whoever it says wrote it.
"""

from collections.abc import Iterable, Sequence

from pyrsia.status import BuildStatus, PeerStatus, Snapshot, decided_by, look_first, seen_in_words, stands
from pyrsia.wire.text import safe

# A narrow screen shows the first of them, and scrolls.
PEER_HEADER = (
    "name", "state", "round trip", "score", "in/s", "out/s", "role", "log", "version", "last fault", "id",
)  # fmt: skip
BUILD_HEADER = ("package", "state", "verdict", "agreed", "dissent", "now")
ENTRY_HEADER = ("index", "type", "what")


def headline(snapshot: Snapshot) -> str:
    node = snapshot.node
    demo = "  [demo: all operators are one person]" if node.demo else ""
    disk = node.disk
    used = (
        f"  disk {amount(disk.used)} of {amount(disk.allocated)}{' FULL' if disk.full else ''}"
        if disk.allocated
        else ""
    )
    return safe(f"{node.name} ({node.role} {node.node_id[:8]}) of {node.network}{demo}{used}")


def log_lines(snapshot: Snapshot) -> list[str]:
    """Head of the log, and who decides on it, in four lines."""
    log = snapshot.node.log
    return [
        f"{log.size:,} entries   block {log.height:,}   view {log.view:,}",
        safe(f"root {log.root[:32]}"),
        f"cosigned by {log.cosigned} of {log.validators} at size {log.checkpoint_size:,}",
        safe(decided_by(snapshot.node.agreement)),
    ]


PRESSING = ("agreement stopped", "stopped voting", "ALARM")


def notice_lines(snapshot: Snapshot, mark: str) -> list[str]:
    """What the node wants its operator to know, a line each, after `mark`; first what may not be overlooked."""
    told = sorted(snapshot.node.notices, key=lambda notice: not notice.startswith(PRESSING))
    return [mark + safe(notice) for notice in told]


def _row(*cells: str) -> tuple[str, ...]:
    return tuple(map(safe, cells))


def peer_rows(snapshot: Snapshot) -> list[tuple[str, ...]]:
    """What wants a look stands above."""
    peers = sorted(
        snapshot.peers,
        key=lambda one: look_first(
            stands(one.state, one.leaving), one.ignored or one.refused_until_ms > 0, one.name
        ),
    )
    return [_peer_row(peer) for peer in peers]


def _peer_row(peer: PeerStatus) -> tuple[str, ...]:
    return _row(
        f"({peer.name})" if peer.role == "guest" and peer.name else peer.name,
        seen_in_words(stands(peer.state, peer.leaving), peer.connected, peer.refused_until_ms),
        f"{peer.rtt_ms:.1f} ms" if peer.rtt_ms is not None and peer.rtt_ms >= 0 else "-",
        f"{peer.score:.0f}" + (" ignored" if peer.ignored else ""),
        amount(peer.received_rate),
        amount(peer.sent_rate),
        peer.role,
        f"{peer.log_size:,}" if peer.log_size else "-",
        peer.version or "-",
        peer.reason or "-",
        peer.node_id[:8],
    )


def build_rows(snapshot: Snapshot) -> list[tuple[str, ...]]:
    return [
        _row(
            build.purl,
            build.state,
            build.verdict or "-",
            str(len(build.agreeing)),
            str(len(build.dissenting)),
            build.note or _waiting(build),
        )
        for build in snapshot.builds
    ]


def _waiting(build: BuildStatus) -> str:
    if build.state == "done":
        return build.file
    return f"{len(build.committed)} of {len(build.builders)} committed, {len(build.revealed)} revealed"


def entry_rows(snapshot: Snapshot) -> list[tuple[str, ...]]:
    """Newest first."""
    return [_row(str(entry.index), entry.kind, entry.summary) for entry in reversed(snapshot.entries)]


def amount(count: int) -> str:
    """Bytes for eyes: three digits and a unit."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


def as_text(snapshot: Snapshot, *, width: int = 100) -> str:
    """The whole dashboard as lines of at most `width` characters."""
    parts: list[str] = [headline(snapshot), "", "LOG", *log_lines(snapshot)]
    for title, header, rows in (
        ("PEERS", PEER_HEADER, peer_rows(snapshot)),
        ("BUILDS", BUILD_HEADER, build_rows(snapshot)),
        ("NEWEST ENTRIES", ENTRY_HEADER, entry_rows(snapshot)),
    ):
        parts += ["", title, *columns(header, rows)]
    parts += notice_lines(snapshot, "notice: ")
    return "\n".join(line[:width].rstrip() for line in parts) + "\n"


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines]
