"""A slow Maven repository's lists: what a client must find, computed from the whole history of pushes each time.

Independent of `pyrsia.serve.maven`: nothing is parsed that the test itself put together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Push:
    """One file of one build of a snapshot, as a client names it."""

    number: int
    time: str
    classifier: str
    extension: str

    def name(self, artifact: str, base: str) -> str:
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{artifact}-{base}-{self.time}-{self.number}{tail}.{self.extension}"


def newest(pushes: Sequence[Push]) -> tuple[int, str]:
    """(number, time) of the newest build."""
    best = (-1, "")
    for push in pushes:
        if push.number > best[0] or (push.number == best[0] and push.time > best[1]):
            best = (push.number, push.time)
    return best


def offered(pushes: Sequence[Push], base: str) -> Mapping[tuple[str, str], str]:
    """(classifier, extension) -> the value that stands for the version in the newest such file's name."""
    found = {}
    for kind in {(push.classifier, push.extension) for push in pushes}:
        number, time = newest([push for push in pushes if (push.classifier, push.extension) == kind])
        found[kind] = f"{base}-{time}-{number}"
    return found


def kept(pushes: Sequence[Push], most: int) -> set[Push]:
    """What stays where only `most` builds do."""
    left = list(pushes)
    stays: set[Push] = set()
    for _ in range(most):
        if not left:
            break
        best = newest(left)
        stays |= {push for push in left if (push.number, push.time) == best}
        left = [push for push in left if (push.number, push.time) != best]
    return stays


def merged(ours: Sequence[str], held: set[str], theirs: Sequence[str]) -> list[str]:
    """Versions of a package of the network in the mode `proxy`: ours first, then what the log does not hold."""
    listed: list[str] = []
    for version in ours:
        if version not in listed:
            listed.append(version)
    for version in theirs:
        if version not in listed and version not in held:
            listed.append(version)
    return listed
