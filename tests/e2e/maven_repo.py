"""A small node whose log names all of this machine's Debian repository, and Maven as a user runs it.

Nobody outside is asked: the node's address is the mirror of everything in the settings that Maven gets.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.serve.app import build_app
from pyrsia.serve.desks.supply import Local, NoLocal, NoUpstream, Supply, Upstream
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.grants import PUSH, Grant
from pyrsia.serve.guard import Guard
from pyrsia.serve.http.connection import App, ClientGone, Receive, Scope, Send
from pyrsia.serve.http.server import Server, listen_tcp, serve
from tests.unit.serve.toy import LIMITS, TOKEN, ToyNode

DEBIAN = Path("/usr/share/maven-repo")
PLUGINS = "org.apache.maven.plugins"
NEEDED = ("dependency", "deploy", "install", "jar", "compiler", "resources", "surefire")
INSTALL = (
    "apt-get install maven default-jdk-headless libmaven-dependency-plugin-java libmaven-deploy-plugin-java"
    " libmaven-install-plugin-java libmaven-jar-plugin-java libmaven-compiler-plugin-java"
    " libmaven-resources-plugin-java libsurefire-java"
)
ORIGIN = "pyrsia"
_FINE = re.compile(r"[A-Za-z0-9._+~/-]+")


def needs_maven() -> None:
    if not shutil.which("mvn"):
        pytest.skip(f"this machine has no mvn; {INSTALL}")
    folder = DEBIAN / "org/apache/maven/plugins"
    if not all((folder / f"maven-{name}-plugin").is_dir() for name in NEEDED):
        pytest.skip(f"Debian's Maven repository lacks plug-ins; {INSTALL}")


def version_of(plugin: str) -> str:
    """The newest version of one of Maven's own plug-ins in Debian's repository."""
    found = [one.name for one in (DEBIAN / f"org/apache/maven/plugins/maven-{plugin}-plugin").iterdir()]
    return max(
        (one for one in found if one != "debian"), key=lambda one: [int(part) for part in one.split(".")]
    )


def debian(folder: Path, verdict: Callable[[str], str] = lambda purl: "REPRODUCED") -> ToyNode:
    """A node whose log names every pom and jar of Debian's repository, by links to them."""
    node = ToyNode(folder)
    for path in sorted(DEBIAN.rglob("*")):
        if path.suffix in (".pom", ".jar") and path.is_file():
            name(node, str(path.relative_to(DEBIAN)), path, verdict)
    return node


def name(
    node: ToyNode, path: str, file: Path, verdict: Callable[[str], str] = lambda purl: "REPRODUCED"
) -> None:
    """Let the log name `file` as what stands at `path` of a repository."""
    *groups, artifact, version, filename = path.split("/")
    if not _FINE.fullmatch(path) or len(groups) < 1:
        return
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    if not (node.folder / sha256).exists():
        (node.folder / sha256).symlink_to(file.resolve())
    purl = f"pkg:maven/{'.'.join(groups)}/{artifact}"
    full = f"{purl}@{version}"
    node.published[path] = ProjectFile(
        filename,
        sha256,
        file.stat().st_size,
        1_700_000_000_000,
        full,
        artifact,
        version,
        verdict(full),
        len(node.published),
    )


def refuse(node: ToyNode, which: Callable[[ProjectFile], bool]) -> None:
    """Let the node's policy refuse files, as it words a refusal of what was only witnessed."""
    for file in node.published.values():
        if which(file):
            what = f"policy refuses {file.purl}: it is WITNESSED, REPRODUCED is the least"
            do = "ask for a build: pyrsia build request, or lower `minimum`"
            refusal = Refusal("denied", what=what, who="this node's policy", do=do)
            node.kept_back[file.sha256] = Refused(file, refusal)


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Server]:
    """A server for as long as a client may take."""
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            listeners = [await listen_tcp("127.0.0.1", 0)]

            async def run(*, task_status: trio.TaskStatus[Server]) -> None:
                await serve(app, listeners, limits=LIMITS, task_status=task_status)

            yield await nursery.start(run)
            nursery.cancel_scope.cancel()


@dataclass
class Between:
    """What stands between a client and a node: it counts, and breaks what it is told to break.

    Attributes:
        wrong: endings of paths whose body has one byte changed.
        cut: endings of paths -> how many more answers end in their middle.
    """

    requests: list[tuple[str, str]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)

    def asked(self, *endings: str) -> list[str]:
        """What was asked for since the last call; of it what ends so."""
        found = [path for _, path in self.requests if path.endswith(endings or ("",))]
        self.requests.clear()
        return found

    @asynccontextmanager
    async def of(self, url: str) -> AsyncIterator[str]:
        """The address at which `url` is found through this."""
        base = httpx.URL(url)
        async with httpx.AsyncClient(timeout=60) as client:

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                await self._pass_on(client, base, scope, receive, send)

            async with serving(app) as server:
                yield f"{server.url}{base.path}"

    async def _pass_on(
        self, client: httpx.AsyncClient, base: httpx.URL, scope: Scope, receive: Receive, send: Send
    ) -> None:
        path = scope["path"]
        self.requests.append((scope["method"], path))
        self.agents |= {value.decode() for name, value in scope["headers"] if name == b"user-agent"}
        body, more = b"", scope["method"] == "PUT"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"host", b"expect")]
        answer = await client.request(
            scope["method"], base.copy_with(path=path), headers=headers, content=body or None
        )
        told = [
            pair for pair in answer.headers.raw if pair[0].lower() not in (b"connection", b"date", b"server")
        ]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": told}
        data = answer.content
        if data and path.endswith(tuple(self.wrong)):
            data = data[:-1] + bytes([data[-1] ^ 1])
        await send({**start, "reason": answer.reason_phrase.encode()})
        cut = next((ending for ending, left in self.cut.items() if left and path.endswith(ending)), None)
        if cut is not None:
            self.cut[cut] -= 1
            await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})
            raise ClientGone("cut on purpose")
        await send({"type": "http.response.body", "body": data})


@asynccontextmanager
async def node_at(
    node: ToyNode, *, local: Local | None = None, upstream: Upstream | None = None
) -> AsyncIterator[str]:
    """The address of the node's Maven repository."""
    guard = Guard(control_token=TOKEN, tokens={"push": Grant("ci", PUSH, "pkg:maven/org.acme/*")}.get)
    supply = Supply(node, local or NoLocal(), upstream or NoUpstream())
    async with serving(build_app(guard=guard, supply=supply, log_view=node, admin=node)) as server:
        yield f"{server.url}/maven2/"


@asynccontextmanager
async def second(asked: list[str]) -> AsyncIterator[str]:
    """Another repository that has everything: a build that could reach it would not fail."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        place = DEBIAN / scope["path"].lstrip("/")
        status, body = (200, place.read_bytes()) if place.is_file() else (404, b"")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with serving(app) as server:
        yield f"{server.url}/"


SETTINGS = """<settings>
  <servers><server><id>{id}</id><username>ci</username><password>push</password></server></servers>
  <mirrors><mirror><id>{id}</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror></mirrors>
  <profiles><profile><id>more</id><repositories><repository><id>second</id><url>{second}</url></repository>
  </repositories></profile></profiles><activeProfiles><activeProfile>more</activeProfile></activeProfiles>
</settings>
"""


@dataclass
class Maven:
    """One user's Maven.

    Attributes:
        home: the Maven installation; None for the one on PATH.
        second: another repository that its settings name, behind the mirror of everything.
    """

    folder: Path
    url: str
    home: Path | None = None
    second: str = "http://127.0.0.1:9/"
    repository: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.repository = self.folder / "m2"
        (self.folder / "settings.xml").write_text(
            SETTINGS.format(id=ORIGIN, url=self.url, second=self.second)
        )

    def forget(self, path: str = "") -> None:
        """Let it forget what it has, or what it has below `path`."""
        shutil.rmtree(self.repository / path, ignore_errors=True)

    def has(self, path: str) -> bool:
        return (self.repository / path).is_file()

    async def run(self, *arguments: str, folder: Path | None = None, good: bool = True) -> str:
        """What it printed; `good`: it must have succeeded, or must not."""
        program = str(self.home / "bin/mvn") if self.home else "mvn"
        settings = str(self.folder / "settings.xml")
        # No settings of this machine: neither the user's nor the installation's.
        command = [program, "-B", "-ntp", "-s", settings, "-gs", settings,
                   f"-Dmaven.repo.local={self.repository}", *arguments]  # fmt: skip
        with trio.fail_after(180):
            done = await trio.run_process(
                command,
                cwd=folder or self.folder,
                # Runs are short: what the second compiler makes faster takes longer to compile.
                env={**os.environ, "MAVEN_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"},
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        printed = done.stdout.decode()
        assert (done.returncode == 0) == good, printed[-6_000:]
        return printed


def get(coordinates: str, *more: str) -> tuple[str, ...]:
    """Arguments of `dependency:get`."""
    plugin = f"{PLUGINS}:maven-dependency-plugin:{version_of('dependency')}:get"
    return (plugin, f"-Dartifact={coordinates}", "-Dtransitive=false", *more)


def project(folder: Path, url: str, version: str, *, repositories: str = "") -> Path:
    """A parent with two modules, of which the second needs the first; deployed to `url`."""
    managed = "".join(
        f"<plugin><artifactId>maven-{name}-plugin</artifactId><version>{version_of(name)}</version></plugin>"
        for name in NEEDED
    )
    head = (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "{parent}<artifactId>{name}</artifactId>"
    )
    parent = f"<parent><groupId>org.acme</groupId><artifactId>house</artifactId><version>{version}</version></parent>"
    files = {
        "pom.xml": head.format(parent="<groupId>org.acme</groupId>", name="house")
        + f"<version>{version}</version><packaging>pom</packaging><modules><module>lib</module><module>app</module>"
        "</modules><properties><project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>"
        "<maven.compiler.source>8</maven.compiler.source><maven.compiler.target>8</maven.compiler.target></properties>"
        f"{repositories}<distributionManagement><repository><id>{ORIGIN}</id><url>{url}</url></repository>"
        f"</distributionManagement><build><pluginManagement><plugins>{managed}</plugins></pluginManagement></build>"
        "</project>",
        "lib/pom.xml": head.format(parent=parent, name="lib") + "</project>",
        "lib/src/main/java/org/acme/Lib.java": "package org.acme; public class Lib { public int one() { return 1; } }",
        "app/pom.xml": head.format(parent=parent, name="app")
        + "<dependencies><dependency><groupId>org.acme</groupId><artifactId>lib</artifactId>"
        f"<version>{version}</version></dependency></dependencies></project>",
        "app/src/main/java/org/acme/App.java": "package org.acme; public class App { int two = new Lib().one() * 2; }",
    }
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder
