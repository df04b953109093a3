"""The modes of an ecosystem: nothing but presets of rules, so that there is one engine and one kind of refusal."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from pyrsia.policy.rules import Policy

VERIFIED: Final = "verified"
WITNESSED: Final = "verified+witnessed"
PROXY: Final = "proxy"

ModeName = Literal["verified", "verified+witnessed", "proxy"]


@dataclass(frozen=True, slots=True)
class Mode:
    """A preset.

    Attributes:
        minimum: the least verdict of a file of the log.
        proxied: whether upstream's unverified files may be given, marked as such.
        why: what a user of it can rely on.
    """

    name: str
    minimum: str
    proxied: bool
    why: str


MODES: Final[dict[str, Mode]] = {
    mode.name: mode
    for mode in (
        Mode(VERIFIED, "EQUIVALENT", False, "several builders rebuilt it from its source and agreed"),
        Mode(WITNESSED, "WITNESSED", False, "rebuilt, or the same bytes were seen upstream by several nodes"),
        Mode(
            PROXY, "WITNESSED", True, "verified where the log has it; else upstream's, which nobody checked"
        ),
    )
}


def mode_of(policy: "Policy", ecosystem: str) -> str:
    """`verified`, `verified+witnessed` or `proxy`; ecosystems: pip, maven, conan, oci."""
    return policy.of(ecosystem).mode
