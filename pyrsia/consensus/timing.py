"""How long a member waits: delays with back-off from certificates, and who counts as asleep.

Source: docs/agreement.md, "Timers".
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """All waits of one core, in seconds.

    Attributes:
        delay_s: D0, the assumed delay of one message: 0.05 loopback, 0.25 LAN, 1.0 WAN.
        delay_max_s: Dmax, where back-off ends.
        heartbeat_s: an idle network makes one empty block this often, so that followers see a fresh time. A node
            passes its configuration's (5 s by default); this default serves tests.
        fill_s: how long a leader of a busy network lets a block fill; the first entry after idle never waits.
        asleep_s: a leader silent this long, while a quorum spoke, is passed over at once.
        clock_ahead_ms: how far a block's time may lie ahead of the own clock (P4, local check only).
    """

    delay_s: float = 0.25
    delay_max_s: float = 60.0
    heartbeat_s: float = 10.0
    fill_s: float = 0.005
    asleep_s: float = 10.0
    clock_ahead_ms: int = 2_000

    @property
    def relay_s(self) -> float:
        """After entering a view: who has not shown by then that it left the view before is sent the certificate."""
        return self.delay_s / 4

    def patience_s(self, failed: int) -> float:
        """D for a view that follows `failed` views without a block."""
        return min(self.delay_max_s, self.delay_s * float(1.5 ** min(failed, 12)))


def asleep(seen_s: list[float], leader: int, me: int, quorum: int, now_s: float, asleep_s: float) -> bool:
    """Whether `leader` was silent for `asleep_s` while `quorum` members, this one included, spoke.

    Measured against the quorum's newest words, not the clock: in an idle network nobody is asleep.
    """
    if leader == me:
        return False
    spoke = sorted((now_s if i == me else s for i, s in enumerate(seen_s)), reverse=True)
    return seen_s[leader] < spoke[quorum - 1] - asleep_s
