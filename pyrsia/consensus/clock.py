"""The times of one view: when it begins to count, how long its leader and it have, and when to repeat.

Lazy: a view without work begins after the heartbeat, or when work comes. All times are seconds of the clock that
never goes back; `NEVER` for what is not due. What is done at these times is the core's business.

Source: docs/agreement.md, "Timers".
"""

from .timing import Timing

NEVER = float("inf")


class ViewClock:
    """Timers of the current view of one core."""

    __slots__ = (
        "base", "entered", "leader_at", "relay_at", "resend_at", "resends", "retry_at", "timing", "unsettled",
        "view", "view_at",
    )  # fmt: skip

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.view = 0
        self.entered = 0.0
        self.base = NEVER  # when the view begins to count
        self.leader_at = NEVER  # patience with the leader ends
        self.view_at = NEVER  # patience with the view ends
        self.relay_at = NEVER  # who has not shown that it left the view before is sent the certificate
        self.resend_at = NEVER
        self.resends = 0
        self.retry_at = NEVER  # something waits for nothing but time
        self.unsettled: float | None = None  # since when a notarized block waits to be final

    def enter(self, now_s: float, view: int, *, busy: bool) -> None:
        """A new view; `set_patience` comes next."""
        self.view = view
        self.entered = now_s
        self.base = now_s if busy or self.late(now_s) else now_s + self.timing.heartbeat_s
        self.relay_at = now_s + self.timing.relay_s
        self.resend_at = NEVER
        self.resends = 0
        self.retry_at = NEVER

    def set_patience(self, failed: int, *, asleep: bool, voted: bool) -> None:
        """Arm both view timers, counted from `base`.

        Args:
            failed: views that brought nothing (`Simplex` counts them).
            asleep: the leader is passed over at once.
            voted: the leader has done its part.
        """
        patience_s = self.timing.patience_s(failed)
        self.leader_at = self.base if asleep else self.base + 2 * patience_s
        self.view_at = self.base + 3 * patience_s
        if voted:
            self.leader_at = NEVER

    def late(self, now_s: float) -> bool:
        """Whether a notarized block has waited too long to be final: that is work, too."""
        return self.unsettled is not None and now_s >= self.unsettled + 4 * self.timing.delay_s

    def pause(self, now_s: float) -> None:
        """Something was repeated: the next time comes later, up to 8 D0."""
        self.resends += 1
        self.resend_at = now_s + min(8.0, 2.0 * float(1.5 ** min(self.resends, 4))) * self.timing.delay_s

    def arm_resend(self, now_s: float, *, stuck: bool) -> None:
        """Repeat while anything is stuck."""
        if not stuck:
            self.resend_at = NEVER
            self.resends = 0
        elif self.resend_at == NEVER:
            self.resend_at = now_s + 2 * self.timing.delay_s

    def next_at(self, now_s: float, *, leading: bool) -> float:
        """The earliest moment at which something of this view is due."""
        at = min(self.leader_at, self.view_at, self.relay_at, self.resend_at, self.retry_at)
        if self.base > now_s:
            if self.unsettled is not None:
                at = min(at, max(now_s, self.unsettled + 4 * self.timing.delay_s))
            if leading:
                at = min(at, self.base)
        return at
