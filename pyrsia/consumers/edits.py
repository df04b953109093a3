"""What `pyrsia setup` may do to a client's configuration, as data: what was seen, what is wanted, what to change.

Each client is one module below `clients/` with a pure `plan`. It reads nothing and writes nothing: the shell
(`applying.py`) reads the files that `reads` names, and writes what the plan says, with a journal.

A hole is a way by which the client gets packages past the node. A plan names each; with `strict` it closes those that
configuration can close, and those that stay open make the setup a refusal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pyrsia.errors import Refusal
from pyrsia.wire.text import safe


@dataclass(frozen=True, slots=True)
class Place:
    """Whose configuration it is.

    Attributes:
        home: the user's.
        root: stands for `/` where a client's files are the system's.
        env: variables that clients obey.
        cwd: the folder whose project may say something of its own.
        file: the one file to edit instead of the client's usual one.
        system: whether the system's files are meant where a client has the user's and the system's.
    """

    home: Path
    root: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path()
    file: Path | None = None
    system: bool = False

    def folder(self, variable: str, default: str) -> Path:
        """A folder that `variable` names, else `default` below the home."""
        named = self.env.get(variable, "")
        return Path(named) if named else self.home / default

    @property
    def config(self) -> Path:
        return self.folder("XDG_CONFIG_HOME", ".config")


@dataclass(frozen=True, slots=True)
class Want:
    """`node`: its address without a slash at its end. `strict`: nothing may come past it."""

    node: str
    strict: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is plain HTTP."""
        return self.node.startswith("http://")

    @property
    def host(self) -> str:
        """Its host and port, as clients name registries."""
        return urlsplit(self.node).netloc


@dataclass(frozen=True, slots=True)
class Edit:
    """The bytes that `path` shall hold; None: it shall be gone."""

    path: Path
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Hole:
    """One way past the node, and what closes it."""

    what: str
    do: str

    def as_dict(self) -> dict[str, str]:
        return {"what": self.what, "do": self.do}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a setup would do.

    Attributes:
        edits: the files that change, in the order in which they are written.
        holes: ways past the node that stay open.
        closed: ways past it that the edits close.
        advice: what the client's user has to know or do, a sentence each.
    """

    edits: tuple[Edit, ...]
    holes: tuple[Hole, ...] = ()
    closed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


# Path -> bytes of every file of `reads` that exists.
Seen = Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class Kind:
    """One client.

    Attributes:
        ecosystem: whose mode in policy.toml decides what it gets: pip, maven, conan or oci.
        programs: any of these on the path means that it is here.
        reads: the files that `plan` and `now` want to see; a part may hold a `*`.
        plan: raises `Refusal` for configuration that it cannot edit safely.
        now: where the client gets packages from as it stands, a line each; raises nothing but `Refusal`.
    """

    name: str
    ecosystem: str
    programs: tuple[str, ...]
    reads: Callable[[Place], Sequence[Path]]
    plan: Callable[[Place, Seen, Want], Plan]
    now: Callable[[Place, Seen], Sequence[str]]


def text_of(path: Path, seen: Seen) -> str:
    """The file's text, "" where there is none.

    Raises:
        Refusal: `config-invalid`; it is not UTF-8.
    """
    try:
        return seen.get(path, b"").decode("utf-8")
    except UnicodeDecodeError:
        raise broken(path, "it is not UTF-8 text") from None


def broken(path: Path, why: str) -> Refusal:
    """A file of the user's that its client could not read either."""
    return Refusal(
        "config-invalid",
        what=f"{path} cannot be edited: {safe(why)[:300]}",
        who="the file",
        do="correct it, or edit it by hand; nothing was changed",
    )


def unsure(path: Path) -> Refusal:
    """An edit that did not come out as meant when it was read again."""
    return Refusal(
        "config-invalid",
        what=f"{path} is written in a way that cannot be edited without changing more",
        who="this command, which is careful",
        do="edit it by hand (`--print` on an empty file shows the lines); nothing was changed",
    )
