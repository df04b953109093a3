"""Source archives, wheels and `file:` indexes for tests of the pip plug-in, and plug-ins that build from them."""

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pyrsia.builds.environments import Environment, HostOnly, choose, find
from pyrsia.builds.model import Planned
from pyrsia.builds.pip import host
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.sandbox import BuildLimits, Sandbox
from pyrsia.builds.shop import Shop
from pyrsia.errors import Unavailable
from tests.unit.builds.taken import taken

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "builds"))
import wheels

# A whole backend. `EVIL` runs in build_wheel, before the wheel is packed; what it puts into `said` is packed too.
BACKEND = """
import json, os, sys, zipfile, base64, hashlib
NAME, VERSION, NEEDS = {name!r}, {version!r}, {needs!r}
INFO = f"{{NAME.replace('-', '_')}}-{{VERSION}}.dist-info"
METADATA = f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n" + "".join(
    f"Requires-Dist: {{one}}\\n" for one in NEEDS)

def prepare_metadata_for_build_wheel(folder, settings=None):
    os.mkdir(os.path.join(folder, INFO))
    with open(os.path.join(folder, INFO, "METADATA"), "w") as file:
        file.write(METADATA)
    return INFO

def build_wheel(folder, settings=None, metadata=None):
    said = {{}}
    exec(EVIL, {{"said": said, "__name__": "evil"}})
    module = NAME.replace("-", "_")
    members = {{f"{{module}}/__init__.py": open("src/__init__.py").read()}}
    if said:
        members[f"{{module}}/said.json"] = json.dumps(said, sort_keys=True)
    members[f"{{INFO}}/METADATA"] = METADATA
    members[f"{{INFO}}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    rows = []
    for path, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{{path}},sha256={{digest}},{{len(text.encode())}}\\n")
    members[f"{{INFO}}/RECORD"] = "".join(rows) + f"{{INFO}}/RECORD,,\\n"
    name = f"{{module}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, text in members.items():
            item = zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0))
            item.external_attr = 0o100644 << 16
            archive.writestr(item, text)
    return name

EVIL = {evil!r}
"""
IN_TREE = '[build-system]\nrequires = {requires}\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def sdist(
    folder: Path,
    name: str = "thing",
    version: str = "1.0",
    *,
    needs: tuple[str, ...] = (),
    requires: tuple[str, ...] = (),
    evil: str = "",
    files: dict[str, str] | None = None,
) -> Path:
    """Write a source archive into the index `folder`; `files` replaces the in-tree backend."""
    made = {"src/__init__.py": f"version = {version!r}\n"}
    if files is None:
        made["backend.py"] = BACKEND.format(name=name, version=version, needs=needs, evil=evil)
        made["pyproject.toml"] = IN_TREE.format(requires=list(requires))
    made |= files or {}
    made["PKG-INFO"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    stem = f"{name.replace('-', '_')}-{version}"
    data = wheels.sdist({path: text.encode() for path, text in made.items()}, top=stem)
    path = folder / name / f"{stem}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def wheel(
    folder: Path, name: str, version: str, *, needs: tuple[str, ...] = (), code: str = "x = 1\n"
) -> Path:
    """Write a pure wheel into the index `folder`."""
    module = name.replace("-", "_")
    members = wheels.members({f"{module}.py": code.encode()}, module, version)
    info = f"{module}-{version}.dist-info"
    members[f"{info}/METADATA"] = "".join(
        [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            *(f"Requires-Dist: {one}\n" for one in needs),
        ]
    ).encode()
    members.pop(f"{info}/RECORD")
    members[f"{info}/RECORD"] = wheels.record(members, info)
    path = folder / name / f"{module}-{version}-py3-none-any.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wheels.pack(members))
    return path


def setuptools_wheel(folder: Path) -> str:
    """Pack the setuptools that this environment has as a wheel of the index `folder`; its version."""
    found = metadata.distribution("setuptools")
    info = f"setuptools-{found.version}.dist-info"
    members = {
        str(one): Path(str(one.locate())).read_bytes()
        for one in found.files or ()
        if str(one).startswith(("setuptools/", "pkg_resources/", "_distutils_hack/", info))
        and "__pycache__" not in str(one)
        and "/tests/" not in str(one)
        and not str(one).endswith(("RECORD", "INSTALLER", "REQUESTED"))
    }
    members[f"{info}/RECORD"] = wheels.record(members, info)
    path = folder / "setuptools" / f"setuptools-{found.version}-py3-none-any.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wheels.pack(members))
    return found.version


class StandIn:
    """The environments of a builder: its own, and one whose compiler and Python are this machine's too.

    It stands in for a root file system, which takes minutes to make; only its id says that it is one.
    """

    def __init__(self) -> None:
        facts = host.facts() | {"compiler": "this machine's"}
        self.own = Environment(host.environment(), None, host.facts())
        self.root = Environment("rootfs:" + "5" * 64, None, facts)

    @property
    def ids(self) -> tuple[str, ...]:
        return self.own.id, self.root.id

    def here(self) -> tuple[Environment, ...]:
        return self.own, self.root

    def chosen(self, admitted: Sequence[str], *tools: str, pure: bool = False) -> Environment:
        looked = (self.own, replace(self.root, root=Path("/")))
        return find(self.here(), choose(looked, admitted, tools, pure=pure).id)

    async def get(self, id: str) -> Environment:
        return find(self.here(), id)


@contextlib.asynccontextmanager
async def plugin(
    sandbox: Sandbox, home: Path, *indexes: Path | str, limits: BuildLimits | None = None, **more: Any
) -> AsyncIterator[PipPlugin]:
    """A plug-in of its own, with empty caches, that asks `indexes` in order; `more` as for `shop`."""
    home.mkdir(mode=0o755, exist_ok=True)  # noqa: ASYNC240 - nothing else runs yet
    urls = tuple(one if isinstance(one, str) else one.resolve().as_uri() for one in indexes)
    async with IndexClient(PipConfig(urls), home / "cache") as index:
        yield PipPlugin(shop(sandbox, home, index, limits, **more))


def shop(
    sandbox: Sandbox, home: Path, index: IndexClient, limits: BuildLimits | None = None, **more: Any
) -> Shop:
    """What a plug-in is made from, with this machine's own environment alone; `more` replaces what a test needs."""

    async def claimed(_: Mapping[str, Any]) -> Path:
        raise Unavailable("no source was given along")

    own = host.environment()
    fields: dict[str, Any] = {
        "sandbox": sandbox,
        "limits": limits or BuildLimits(),
        "scratch": home / "scratch",
        "results": home / "results",
        "cache": home / "cache",
        "index": index,
        "environments": HostOnly(own, host.facts()),
        "admitted": lambda: (own,),
        "claimed": claimed,
        "mapping": lambda _: None,
    }
    return Shop(**(fields | more))


def now_ms() -> int:
    return int(time.time() * 1000)


def request(planned: Planned) -> dict[str, Any]:
    """The body of a request, as the log takes it."""
    return taken(planned)
