"""Containerfiles and compose files with the images that they name pinned, and nothing else of them changed.

Read are `FROM`, `COPY --from=`, `from=` of RUN's mounts, and `image:` with its value behind it. Stages of the file
itself and `scratch` stay. What leads to images that cannot be seen here (variables, other files, the syntax line) stays
too and is told; a line that names one in a form that is not read here makes the whole file unread, for a file with a
hole would pass for a whole one. This is no parser of either language: it errs towards not reading.

Source: Dockerfile reference, FROM, COPY --from, RUN --mount; Compose specification, services.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_FROM: Final = re.compile(r"(?i)(\s*FROM\s+(?:--platform=\S+\s+)?)(\S+)((?:\s+AS\s+(\S+))?\s*(?:#.*)?)")
_WORD: Final = re.compile(r"(?i)\s*(?:ONBUILD\s+)?([A-Z]+)\b")
_FLAGS: Final = re.compile(r"(?i)\s*(?:(?:ONBUILD\s+)?(?:COPY|RUN)\b)?(?:\s*--\S+(?:\s+|[\\`]?$))*")
_FLAG: Final = re.compile(r"(--from=|--mount=(?:\S*,)?from=)([^\s,]+)")
_IMAGE: Final = re.compile(r"""(\s*(?:-\s+)?image:\s*)(["']?)([^\s"'#]+)(\2\s*(?:\#.*)?)""")
_KEY: Final = re.compile(r"""\s*(?:[-?]\s+)*["']?image["']?\s*(?::|$)""")
_IN_BRACES: Final = re.compile(r"""[{,]\s*["']?image["']?\s*:""")
_STRINGS: Final = re.compile(r"""(?!["']image["'])("(?:[^"\\]|\\.)*"|'[^']*')""")
_LEADS_ON: Final = re.compile(r"\s*(?:-\s+)?(include|extends|build|dockerfile_inline)\s*:")
_DIRECTIVE: Final = re.compile(r"\s*#\s*[a-zA-Z]+\s*=")  # of the parser: only before everything else
Change = Callable[[str], str]


@dataclass(slots=True)
class Scanned:
    """The file as it was changed. `told`: lines that stay and may lead to images; `unread`: lines that name some."""

    lines: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def scan(text: str, form: str, change: Change) -> Scanned:
    """`change` is given each reference once it is met, and answers what stands in its place."""
    found = Scanned()
    read = _Containerfile(change, found).line if form == "containerfile" else _Compose(change, found).line
    for number, line in enumerate(text.split("\n"), 1):
        tail = "\r" if line.endswith("\r") else ""
        found.lines.append(read(number, line.removesuffix("\r")) + tail)
    return found


def _shown(number: int, line: str) -> str:
    return f"line {number}: {line.strip()[:100]}"


class _Containerfile:
    def __init__(self, change: Change, found: Scanned) -> None:
        self._change = change
        self._found = found
        self._stages: set[str] = set()
        self._escape = "\\"  # what makes a line go on; a directive in front of all may say "`"
        self._head = True
        self._in = ""  # the instruction that goes on from the line before
        self._flags = False  # so far it has only flags

    def line(self, number: int, line: str) -> str:
        if line.lstrip().startswith("#"):
            if re.match(r"\s*#\s*syntax\s*=", line):
                self._found.told.append(_shown(number, line))
            if self._head and re.fullmatch(r"(?i)\s*#\s*escape\s*=\s*`\s*", line):
                self._escape = "`"
            self._head = self._head and _DIRECTIVE.match(line) is not None
            return line
        self._head = False
        begun = self._in == ""
        word = _WORD.match(line) if begun else None
        name = (word[1].upper() if word else "") if begun else self._in
        self._in = name if line.rstrip().endswith(self._escape) and name != "ONBUILD" else ""
        if name == "FROM":
            return self._from(number, line)
        if name not in ("COPY", "RUN"):
            return line
        flags = _FLAGS.match(line) if begun or self._flags else None
        end = flags.end() if flags else 0
        self._flags = line[end:].strip() in ("", self._escape)
        return _FLAG.sub(lambda one: one[1] + self._one(number, line, one[2]), line[:end]) + line[end:]

    def _from(self, number: int, line: str) -> str:
        found = _FROM.fullmatch(line)
        if found is None:
            self._found.unread.append(_shown(number, line))
            return line
        made = f"{found[1]}{self._one(number, line, found[2])}{found[3]}"
        if found[4]:
            self._stages.add(found[4].lower())
        return made

    def _one(self, number: int, line: str, said: str) -> str:
        if said.lower() in self._stages or said == "scratch" or said.isdigit():
            return said
        if "$" in said:
            self._found.told.append(_shown(number, line))
            return said
        return self._change(said)


class _Compose:
    def __init__(self, change: Change, found: Scanned) -> None:
        self._change = change
        self._found = found

    def line(self, number: int, line: str) -> str:
        found = _IMAGE.fullmatch(line)
        if found is None:
            bare = re.sub(r"(^|\s)#.*$", "", _STRINGS.sub('""', line))
            if _KEY.match(bare) or _IN_BRACES.search(bare):
                self._found.unread.append(_shown(number, line))
            elif _LEADS_ON.match(bare):
                self._found.told.append(_shown(number, line))
            return line
        if "$" in found[3]:
            self._found.told.append(_shown(number, line))
            return line
        return f"{found[1]}{found[2]}{self._change(found[3])}{found[4]}"
