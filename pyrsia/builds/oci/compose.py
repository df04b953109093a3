"""Composes an image: files of the source and of published packages -> layers; settings -> JSON; all by digest.

It runs inside the sandbox: only the standard library. What it writes depends on its inputs and on nothing else: not on
this Python's version, the compressor, the umask or the time.

Source: docs/builds-oci.md; OCI image-spec 1.1; Docker's Dockerfile reference, COPY.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from pyrsia.builds.environments.tarball import TarWriter
from pyrsia.builds.environments.tree import MERGED
from pyrsia.builds.members import Hostile, shown
from pyrsia.builds.oci import documents
from pyrsia.builds.oci.dockerfile import Copy, Recipe, Refused, config_of
from pyrsia.builds.oci.documents import Layer

_CHUNK: Final = 1 << 18
_WHITEOUT: Final = ".wh."  # a name that hides another one in the layers below


class Shown(NamedTuple):
    """One file or folder that may be copied: `path` relative to its root; `place` on disk, None for a folder."""

    path: str
    place: Path | None
    exec: bool


class Root(NamedTuple):
    """What may be copied out of: `files` by path; `itself`, a published file under its own name."""

    files: Sequence[Shown]
    itself: Shown | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """What an image begins with.

    Attributes:
        layers: of the base, in order. settings: its `config` object. history: its rows.
        merged: whether `/lib` and its like are links to `/usr/lib`; None where nobody knows.
    """

    layers: tuple[Layer, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    merged: bool | None = False


@dataclass(frozen=True, slots=True)
class Image:
    """One platform's image; `layers` are those that were made here, `manifest` and `config` its documents."""

    layers: tuple[Layer, ...]
    config: bytes
    manifest: bytes


def listing(root: Path) -> list[Shown]:
    """What lies below `root`, sorted by path; links are not followed and not taken."""
    found = []
    for place in root.rglob("*"):
        path = place.relative_to(root).as_posix()
        if place.is_symlink():
            continue
        if place.is_dir():
            found.append(Shown(path, None, True))
        elif place.is_file():
            found.append(Shown(path, place, bool(place.stat().st_mode & 0o111)))
    return sorted(found)


def without_ignored(found: Sequence[Shown], patterns: str) -> list[Shown]:
    """`found` without what a `.dockerignore` names; the last line that matches decides, `!` takes back."""
    rules = []
    for line in patterns.split("\n"):
        text = line.strip()
        if text and not text.startswith("#"):
            keep = text.startswith("!")
            path = "/".join(part for part in text.removeprefix("!").split("/") if part not in ("", "."))
            rules.append((keep, re.compile(f"{_pattern(path)}(?:/.*)?")))
    kept = []
    for one in found:
        ignored = False
        for keep, rule in rules:
            if rule.fullmatch(one.path):
                ignored = not keep
        if not ignored:
            kept.append(one)
    return kept


def _pattern(path: str) -> str:
    """`*` and `?` within a segment, `**` over several, `[...]` as it is, everything else for itself."""
    out = ""
    for piece in re.split(r"(\*\*/?|\*|\?|\[[^\]/]+\])", path):
        if piece in ("**", "**/"):
            out += "(?:.*/)?" if piece.endswith("/") else ".*"
        elif piece == "*":
            out += "[^/]*"
        elif piece == "?":
            out += "[^/]"
        elif piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
            out += (
                "["
                + ("^" if piece[1] in "!^" else "")
                + re.escape(piece[1:-1].lstrip("!^")).replace(r"\-", "-")
                + "]"
            )
        else:
            out += re.escape(piece)
    return out


def copied(step: Copy, root: Root) -> dict[str, Shown]:
    """Where in the image what a COPY names comes to lie: path without the first slash -> what.

    Raises:
        Refused: a source that matches nothing.
    """
    placed: dict[str, Shown] = {}
    target = step.target.strip("/")
    for pattern in step.sources:
        matched = list(_matching(pattern, root))
        if not matched:
            raise Refused(
                step.line,
                f"nothing in {'the published file' if step.origin else 'the source'} matches {pattern[:80]!a}",
                "check the path; it is seen from the top of the source, and .dockerignore leaves things out",
            )
        many = len(matched) > 1 or len(step.sources) > 1
        for path, one in matched:
            if one is None or one.place is None:
                start = f"{path}/" if path else ""
                placed[target] = Shown(target, None, True)
                for inner in root.files:
                    if inner.path.startswith(start) and inner.path != path:
                        placed[_joined(target, inner.path.removeprefix(start))] = inner
            else:
                folder = step.target.endswith("/") or many
                placed[_joined(target, path.rpartition("/")[2]) if folder else target] = one
    placed.pop("", None)
    return placed


def _matching(pattern: str, root: Root) -> Iterator[tuple[str, Shown | None]]:
    path = "/".join(part for part in pattern.split("/") if part not in ("", "."))
    if not path:
        yield "", None
        return
    rule = re.compile(_pattern(path))
    itself = [] if root.itself is None else [root.itself]
    for one in (*root.files, *itself):
        if one.path == path or (one.path.count("/") == path.count("/") and rule.fullmatch(one.path)):
            yield one.path, one


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def layer(placed: Mapping[str, Shown], out: Path, sde: int) -> Layer:
    """Write one layer and name it by its digest. Folders above everything have entries of their own."""
    whole = dict(placed)
    for path in placed:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if whole.setdefault(above, Shown(above, None, True)).place is not None:
                raise Hostile(f"{shown(path)} lies below {shown(above)}, which is a file")
    path_new = out / "layer.new"
    with path_new.open("wb") as file:
        writer = TarWriter(file, sde)
        for path in sorted(whole):
            one = whole[path]
            if path.rpartition("/")[2].startswith(_WHITEOUT):
                raise Hostile(f"{shown(path)} would hide a file of another layer")
            if one.place is None:
                writer.folder(path)
            else:
                writer.file(path, 0o755 if one.exec else 0o644, one.place.stat().st_size, _pieces(one.place))
        writer.close()
    with path_new.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path_new.stat().st_size
    path_new.rename(out / digest)
    return Layer(documents.LAYER, digest, size, digest)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def image(recipe: Recipe, base: Base, roots: Mapping[str, Root], out: Path, platform: str, sde: int) -> Image:
    """The image of one platform; its layers are written into `out`, each under its digest.

    Args:
        roots: what may be copied: "" for the source, else the digest of a published file.

    Raises:
        Refused: a COPY that cannot be done. Hostile: names that an image must not have.
    """
    made, history, folders = [], list(base.history), list(recipe.folders)
    waiting: list[str] = []
    for step in recipe.steps:
        row: dict[str, Any] = {"created": documents.when(sde)}
        if isinstance(step, Copy):
            placed = {path: Shown(path, None, True) for path in waiting}
            placed |= copied(step, roots[step.origin])
            made.append(layer(_merged(placed, base, step.line), out, sde))
            waiting = []
            history.append(row | {"created_by": step.words[:500]})
        else:
            if step.startswith("WORKDIR "):
                waiting += [path for path in (folders.pop(0).strip("/"),) if path]
            history.append(row | {"created_by": step[:500], "empty_layer": True})
    if waiting:
        placed = {path: Shown(path, None, True) for path in waiting}
        made.append(layer(_merged(placed, base, recipe.base_line), out, sde))
        history.append({"created": documents.when(sde), "created_by": "WORKDIR"})
    layers = [*base.layers, *made]
    if not layers:
        do = "COPY something, or start FROM a rootfs"
        raise Refused(recipe.base_line, "the image is empty", do)
    config = documents.configuration(config_of(recipe, base.settings), layers, history, platform, sde)
    return Image(tuple(made), config, documents.manifest(config, layers))


def _merged(placed: Mapping[str, Shown], base: Base, line: int) -> dict[str, Shown]:
    """Paths as they are below the links of a merged /usr: a folder `/lib` of ours would replace such a link."""
    found: dict[str, Shown] = {}
    for path, one in placed.items():
        first = path.partition("/")[0]
        if first in MERGED and base.merged is None:
            raise Refused(line, f"/{first} may be a link in the base", f"write /usr/{first} if it is one")
        found[f"usr/{path}" if first in MERGED and base.merged else path] = one
    return found
