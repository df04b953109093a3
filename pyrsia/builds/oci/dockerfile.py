"""Reads the part of the Dockerfile language that composes an image without running anything.

Taken: FROM (scratch, `rootfs:<64 hex>`, or a name with a digest), COPY, ENV, WORKDIR, USER, ENTRYPOINT, CMD, LABEL,
EXPOSE, and `ARG` for the platform's own words. Whatever would run a program, ask the network or take a value from
whoever builds is refused with its line and with what to do instead.

It runs inside the sandbox: only the standard library, no I/O.

Source: docs/builds-oci.md; Docker's Dockerfile reference; OCI image-spec, config.md.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import Limit

MAX_DOCKERFILE_BYTES = Limit(65_536, "the longest that people write by hand have a few hundred lines")
MAX_COPIES = Limit(24, "each is a layer, and a result has at most 32 files")
SCRATCH: Final = "scratch"
ROOTFS: Final = re.compile("rootfs:[0-9a-f]{64}")
_IMAGE: Final = re.compile(r"[A-Za-z0-9._:/-]{1,200}@sha256:[0-9a-f]{64}")
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE: Final = re.compile(r"\\(.)|\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_PORT: Final = re.compile(r"([1-9][0-9]{0,4})(?:/(tcp|udp|sctp))?")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")
PLATFORM_WORDS: Final = ("TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT")

# Instructions that are not taken, and what to do instead.
_INSTEAD: Final = {
    "RUN": "nothing runs while an image is composed: build what it would make as a package of its own and COPY it "
    "--from its digest, or name Debian packages in a definition and start FROM the rootfs that is made of them",
    "ADD": "use COPY for files; publish what stands at a URL, or keep it in the source, and COPY it from there",
    "VOLUME": "leave it out and name volumes where the image is run",
    "HEALTHCHECK": "leave it out and set the check where the image is run",
    "SHELL": "write ENTRYPOINT and CMD as JSON lists",
    "ONBUILD": "write the instruction into the image that would be built from this one",
    "STOPSIGNAL": "leave it out and set the signal where the image is run",
    "MAINTAINER": "use LABEL org.opencontainers.image.authors",
}


class Refused(Malformed):
    """Something in a Dockerfile that is not taken.

    Attributes:
        line: number of the line, from 1.
        do: what to do instead.
    """

    def __init__(self, line: int, what: str, do: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.do = do


@dataclass(frozen=True, slots=True)
class Copy:
    """Attributes:
    line: of the Dockerfile. words: the instruction as it is written, for the history.
    origin: SHA-256 in hex of a published file that is copied out of, or "" for the source.
    sources: paths or patterns. target: absolute; ends with `/` where it must be a folder.
    """

    line: int
    words: str
    origin: str
    sources: tuple[str, ...]
    target: str


@dataclass(slots=True)
class Recipe:
    """What a Dockerfile says for one platform.

    Attributes:
        base: `scratch`, `rootfs:<hex>` or `name@sha256:<hex>`.
        steps: every instruction behind FROM, in order: a Copy, or the words of one that makes no layer.
        entrypoint, command: None where they are not set here.
        folders: absolute paths of WORKDIR, which exist in the image.
    """

    base: str
    base_line: int
    steps: list[Copy | str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    workdir: str = ""
    user: str = ""
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    folders: list[str] = field(default_factory=list)

    @property
    def copies(self) -> list[Copy]:
        return [one for one in self.steps if isinstance(one, Copy)]


def read(data: bytes, platform: str) -> Recipe:
    """The recipe of a Dockerfile for one platform (`linux/amd64`, `linux/arm/v7`).

    Raises:
        Refused: something that is not taken here.
    """
    if len(data) > MAX_DOCKERFILE_BYTES.value:
        raise Refused(1, f"a Dockerfile of {len(data)} bytes", "write a shorter one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(1, "it is not UTF-8", "save it as UTF-8") from None
    reader = _Reader(platform)
    for line, words in _instructions(text):
        reader.take(line, words)
    if reader.recipe is None:
        raise Refused(1, "it has no FROM", "begin with FROM scratch")
    if len(reader.recipe.copies) > MAX_COPIES.value:
        raise Refused(1, f"more than {MAX_COPIES.value} COPY lines", "copy folders instead of single files")
    return reader.recipe


def platform_words(platform: str) -> dict[str, str]:
    system, arch, *variant = platform.split("/")
    return dict(zip(PLATFORM_WORDS, (platform, system, arch, "".join(variant)), strict=True))


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, whole instruction); comments and empty lines are left out."""
    escape, gathered, began, directives = "\\", "", 0, True
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r").strip(" \t")
        if line.startswith("#"):
            found = re.fullmatch(r"#\s*([a-z]+)\s*=\s*(.+)", line, re.IGNORECASE) if directives else None
            if found and found[1].lower() == "escape" and found[2].strip() in ("\\", "`"):
                escape = found[2].strip()
            directives = directives and found is not None
            continue
        directives = False
        if not line:
            continue
        began = began or number
        if line.endswith(escape):
            gathered += line[:-1].rstrip() + " "
            continue
        yield began, gathered + line
        gathered, began = "", 0
    if gathered:
        yield began, gathered


class _Reader:
    """Takes one instruction after the other."""

    def __init__(self, platform: str) -> None:
        self._words = platform_words(platform)
        self._known: dict[str, str] = {}
        self.recipe: Recipe | None = None

    def take(self, line: int, text: str) -> None:
        word, _, rest = text.partition(" ")
        word, rest = word.upper(), rest.strip()
        if word in _INSTEAD:
            raise Refused(line, f"{word} is not taken", _INSTEAD[word])
        act = getattr(self, f"_{word.lower()}", None) if word in _TAKEN else None
        if act is None:
            raise Refused(line, f"{word[:20]!a} is no instruction that is known here", "leave it out")
        if not rest:
            raise Refused(line, f"{word} says nothing", "complete it, or leave it out")
        if "<<" in rest and word == "COPY":
            raise Refused(line, "a here-document is not taken", "put the text into a file of the source")
        act(line, rest)

    @property
    def _open(self) -> Recipe:
        assert self.recipe is not None  # noqa: S101 - `_need` was asked
        return self.recipe

    def _need(self, line: int) -> None:
        if self.recipe is None:
            raise Refused(line, "an instruction before FROM", "begin with FROM scratch")

    # -- instructions --

    def _from(self, line: int, rest: str) -> None:
        if self.recipe is not None:
            raise Refused(
                line,
                "a second FROM: stages are for programs that run, and none does",
                "build each stage's result as a package of its own and COPY it --from its digest",
            )
        words = rest.split()
        if words[0].startswith("--"):
            raise Refused(
                line, f"{words[0][:40]!a} is not taken", "give the platforms as a parameter of the request"
            )
        base = self._filled(line, words[0])
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            raise Refused(line, "FROM takes one base", "write FROM scratch")
        if base != SCRATCH and not ROOTFS.fullmatch(base) and not _IMAGE.fullmatch(base):
            raise Refused(
                line,
                f"the base {base[:80]!a} is not fixed by a digest",
                "write FROM scratch, FROM rootfs:<64 hex> (see `pyrsia build environment list`), "
                "or FROM name@sha256:<64 hex>",
            )
        self.recipe = Recipe(base, line)

    def _arg(self, line: int, rest: str) -> None:
        if rest not in PLATFORM_WORDS:
            raise Refused(
                line,
                f"ARG {rest[:40]!a} would take a value from whoever builds",
                f"write the value itself; of ARG only {', '.join(PLATFORM_WORDS)} are known",
            )
        self._known[rest] = self._words[rest]

    def _copy(self, line: int, rest: str) -> None:
        self._need(line)
        origin, words = "", rest
        while words.startswith("--"):
            option, _, words = words.partition(" ")
            words = words.lstrip()
            key, _, value = option.partition("=")
            if key != "--from":
                do = "owners are 0:0 and modes 0755 or 0644 always; set the exec bit in the source"
                raise Refused(line, f"COPY {key[:20]!a} is not taken", do)
            value = self._filled(line, value)
            if not _DIGEST.fullmatch(value):
                do = "name a published file by its digest: COPY --from=sha256:<64 hex> . /where/"
                raise Refused(line, f"COPY --from {value[:40]!a} is no digest", do)
            origin = value.removeprefix("sha256:")
        parts = [self._filled(line, one) for one in (_json_list(words) or words.split())]
        if len(parts) < 2 or not all(parts):
            raise Refused(line, "COPY needs what and where to", "write COPY source target")
        *sources, target = parts
        if len(sources) > 1 and not target.endswith("/"):
            raise Refused(line, "COPY of several files needs a folder", "end the target with /")
        for one in sources:
            if ".." in one.split("/"):
                raise Refused(line, f"{one[:60]!a} climbs out of the source", "name what is below it")
        place = _absolute(self._open.workdir or "/", target)
        if place is None:
            raise Refused(line, f"{target[:60]!a} climbs out of the image", "name an absolute path")
        if target.endswith("/") or target in (".", "./"):
            place = place.rstrip("/") + "/"
        self._open.steps.append(Copy(line, f"COPY {rest}", origin, tuple(sources), place))

    def _env(self, line: int, rest: str) -> None:
        self._need(line)
        for key, value in self._pairs(line, rest, "ENV").items():
            self._open.env[key] = self._known[key] = value
        self._open.steps.append(f"ENV {rest}")

    def _label(self, line: int, rest: str) -> None:
        self._need(line)
        self._open.labels |= self._pairs(line, rest, "LABEL")
        self._open.steps.append(f"LABEL {rest}")

    def _workdir(self, line: int, rest: str) -> None:
        self._need(line)
        place = _absolute(self._open.workdir or "/", self._filled(line, rest))
        if place is None:
            raise Refused(line, "WORKDIR climbs out of the image", "name an absolute path")
        self._open.workdir = place
        self._open.folders.append(place)
        self._open.steps.append(f"WORKDIR {rest}")

    def _user(self, line: int, rest: str) -> None:
        self._need(line)
        user = self._filled(line, rest)
        if not _USER.fullmatch(user):
            raise Refused(line, f"{user[:40]!a} is no user", "write USER name, USER 1000 or USER 1000:1000")
        self._open.user = user
        self._open.steps.append(f"USER {rest}")

    def _expose(self, line: int, rest: str) -> None:
        self._need(line)
        for word in self._filled(line, rest).split():
            found = _PORT.fullmatch(word)
            if found is None or int(found[1]) > 65_535:
                raise Refused(line, f"{word[:20]!a} is no port", "write EXPOSE 8080 or EXPOSE 53/udp")
            self._open.ports.append(f"{found[1]}/{found[2] or 'tcp'}")
        self._open.steps.append(f"EXPOSE {rest}")

    def _entrypoint(self, line: int, rest: str) -> None:
        self._need(line)
        self._open.entrypoint = _program(rest)
        self._open.steps.append(f"ENTRYPOINT {rest}")

    def _cmd(self, line: int, rest: str) -> None:
        self._need(line)
        self._open.command = _program(rest)
        self._open.steps.append(f"CMD {rest}")

    # -- words --

    def _pairs(self, line: int, rest: str, word: str) -> dict[str, str]:
        """`key=value ...`, or for ENV the old `key value`."""
        parts = list(_split(line, rest))
        if "=" not in parts[0]:
            if word != "ENV" or len(parts) < 2:
                raise Refused(line, f"{word} takes key=value", f"write {word} key=value")
            key, _, value = rest.partition(" ")
            parts = [f"{key}={value.strip()}"]
        found = {}
        for part in parts:
            key, sign, value = part.partition("=")
            key = _unquoted(key)
            if not sign or not key or (word == "ENV" and not _NAME.fullmatch(key)):
                raise Refused(line, f"{part[:40]!a} is no key=value", f"write {word} key=value")
            found[key] = self._filled(line, _unquoted(value), quoted=value.startswith("'"))
        return found

    def _filled(self, line: int, text: str, *, quoted: bool = False) -> str:
        """`text` with the variables that ENV and ARG above have set."""

        def one(match: re.Match[str]) -> str:
            if match[1] is not None:
                return match[1]
            name = match[2] if match[2] is not None else match[3]
            if name not in self._known:
                do = "set it with ENV above, write the value itself, or write \\$ for a dollar sign"
                raise Refused(line, f"the variable {name[:40]!a} has no value here", do)
            return self._known[name]

        return text if quoted else _VARIABLE.sub(one, text)


_TAKEN: Final = frozenset(
    ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "USER", "WORKDIR")
)


def _split(line: int, text: str) -> Iterator[str]:
    """Words at spaces that stand in no quotes and behind no backslash; quotes stay."""
    word, quote, escaped = "", "", False
    for char in text:
        if escaped or (char == "\\" and quote != "'"):
            word, escaped = word + char, not escaped
        elif quote:
            word, quote = word + char, "" if char == quote else quote
        elif char in "\"'":
            word, quote = word + char, char
        elif char in " \t":
            if word:
                yield word
            word = ""
        else:
            word += char
    if quote:
        raise Refused(line, "a quote that is not closed", "close it")
    if word:
        yield word


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


def _program(text: str) -> list[str]:
    """A JSON list as it is, anything else for a shell."""
    found = _json_list(text)
    return ["/bin/sh", "-c", text] if found is None else found


def _absolute(base: str, path: str) -> str | None:
    """`path` seen from `base`, without `.`, `..` and a slash at its end; None where it climbs out."""
    parts: list[str] = []
    for part in (path if path.startswith("/") else f"{base}/{path}").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def config_of(recipe: Recipe, inherited: Mapping[str, object]) -> dict[str, object]:
    """The `config` object of an image (OCI image-spec, config.md): the base's, changed by the recipe.

    ENTRYPOINT takes the base's CMD away, as it does with Docker.
    """
    found = dict(inherited)
    env = dict(one.partition("=")[::2] for one in _texts(found.get("Env")))
    env |= {} if "PATH" in env else {"PATH": DEFAULT_PATH}
    found["Env"] = [f"{key}={value}" for key, value in (env | recipe.env).items()]
    if recipe.entrypoint is not None:
        found["Entrypoint"] = recipe.entrypoint
        found.pop("Cmd", None)
    if recipe.command is not None:
        found["Cmd"] = recipe.command
    if recipe.user:
        found["User"] = recipe.user
    if recipe.workdir:
        found["WorkingDir"] = recipe.workdir
    if recipe.labels:
        found["Labels"] = _table(found.get("Labels")) | recipe.labels
    if recipe.ports:
        found["ExposedPorts"] = _table(found.get("ExposedPorts")) | {port: {} for port in recipe.ports}
    return found


DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _table(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}
