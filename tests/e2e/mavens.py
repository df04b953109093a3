"""Projects, repositories and plug-ins for tests of the maven plug-in.

Maven is this machine's own, and what it needs comes from the folder that Debian's packages fill: the tests ask nobody
outside. The plug-in is told that the machine is a root file system, since rules keep a host's own Java from counting.
"""

import functools
import io
import shutil
import subprocess
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pyrsia.builds.environments import Environment, choose, find
from pyrsia.builds.maven.plugin import MavenPlugin
from pyrsia.builds.maven.settings import MavenSettings, Repository
from pyrsia.builds.model import Planned, SourceMapping
from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import BuildLimits, Sandbox
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources.git import GitHosts
from tests.unit.builds.taken import taken

DEBIAN = Path("/usr/share/maven-repo")
PLUGINS = DEBIAN / "org/apache/maven/plugins"
NEEDED = (  # as PARENT names them
    "maven-resources-plugin/3.3.0",
    "maven-compiler-plugin/3.10.1",
    "maven-jar-plugin/3.3.0",
    "maven-source-plugin/3.2.1",  # the version of our own rules
    "maven-surefire-plugin/2.22.3",
)
INSTALL = (
    "apt-get install maven default-jdk-headless libmaven-resources-plugin-java libmaven-compiler-plugin-java"
    " libmaven-jar-plugin-java libmaven-source-plugin-java libsurefire-java junit4"
)
STAMP = (2024, 5, 6, 7, 8, 10)  # of every member of a source archive

PARENT = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>house</artifactId><version>3</version><packaging>pom</packaging>
  <properties>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
    <maven.compiler.source>8</maven.compiler.source><maven.compiler.target>8</maven.compiler.target>
  </properties>
  <build><pluginManagement><plugins>
    <plugin><artifactId>maven-resources-plugin</artifactId><version>3.3.0</version></plugin>
    <plugin><artifactId>maven-compiler-plugin</artifactId><version>3.10.1</version></plugin>
    <plugin><artifactId>maven-surefire-plugin</artifactId><version>2.22.3</version></plugin>
    <plugin><artifactId>maven-jar-plugin</artifactId><version>3.3.0</version></plugin>
  </plugins></pluginManagement></build>
</project>
"""
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <parent><groupId>org.example</groupId><artifactId>house</artifactId><version>3</version><relativePath/></parent>
  <artifactId>tool</artifactId><version>1.0</version>
  <dependencies>
    <dependency><groupId>commons-io</groupId><artifactId>commons-io</artifactId><version>2.11.0</version></dependency>
    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version><scope>test</scope>
    </dependency>
  </dependencies>{more}
</project>
"""
# A range: Maven must find the version in the list that the gateway makes.
CONSUMER = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <parent><groupId>org.example</groupId><artifactId>house</artifactId><version>3</version><relativePath/></parent>
  <artifactId>consumer</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.example</groupId><artifactId>tool</artifactId><version>[1.0,2)</version></dependency>
  </dependencies>
</project>
"""
MAIN = """package org.example;

public class Tool {
    public static String name(String path) { return org.apache.commons.io.FilenameUtils.getBaseName(path); }
}
"""
WORDS = "just words\n"
TEST = """package org.example;

public class ToolTest {
    @org.junit.Test public void names() { org.junit.Assert.assertEquals("b", Tool.name("/a/b.c")); }
}
"""
# Runs in Maven's own process as soon as it has read the project: nothing of a build comes earlier.
EXTENSION = """package org.evil;

import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;

public class Evil extends org.apache.maven.AbstractMavenLifecycleParticipant {
    public void afterProjectsRead(org.apache.maven.execution.MavenSession session) {
        StringBuilder said = new StringBuilder();
        List<String> places = new ArrayList<>(Arrays.asList(PLACES));
        places.add(System.getenv("HOME") + "/evil-was-here");
        for (String place : places) {
            try {
                Files.write(Paths.get(place), "evil".getBytes());
                said.append("wrote ").append(place).append("\\n");
            } catch (Exception | Error refused) { said.append("no ").append(place).append("\\n"); }
        }
        for (int port : new int[] {PORT}) {
            for (String host : new String[] {"127.0.0.1", "203.0.113.7"}) {
                try (Socket socket = new Socket()) {
                    socket.connect(new InetSocketAddress(host, port), 300);
                    said.append("reached ").append(host).append("\\n");
                } catch (Exception refused) { said.append("no way to ").append(host).append("\\n"); }
            }
        }
        for (String asked : new String[] {"central/../../etc/passwd", "other/x", "central/a?b=http://a:PORT/"}) {
            try {
                URL url = new URL("http://127.0.0.1:7999/" + asked);
                said.append(((HttpURLConnection) url.openConnection()).getResponseCode()).append(" ").append(asked);
            } catch (Exception refused) { said.append("nobody answers ").append(asked); }
            said.append("\\n");
        }
        try {
            Path folder = session.getTopLevelProject().getBasedir().toPath().resolve("src/main/resources");
            Files.createDirectories(folder);
            Files.write(folder.resolve("said.txt"), said.toString().getBytes());
        } catch (IOException broken) { throw new RuntimeException(broken); }
    }
}
"""
COMPONENTS = """<component-set><components><component>
  <role>org.apache.maven.AbstractMavenLifecycleParticipant</role><role-hint>evil</role-hint>
  <implementation>org.evil.Evil</implementation>
</component></components></component-set>
"""
BARE_POM = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>{}</groupId><artifactId>{}</artifactId>"
    "<version>{}</version></project>\n"
)
USES_EXTENSION = """
  <build><extensions><extension><groupId>org.evil</groupId><artifactId>evil</artifactId><version>1</version>
  </extension></extensions></build>"""


def needs_maven() -> None:
    if not (shutil.which("mvn") and shutil.which("javac")):
        pytest.skip(f"this machine has no mvn or no javac; {INSTALL}")
    if not all((PLUGINS / name).is_dir() for name in NEEDED):
        pytest.skip(f"Debian's Maven repository lacks plug-ins; {INSTALL}")


def project(more: str = "", files: Mapping[str, str] | None = None) -> dict[str, str]:
    """The files of a small project with a parent, plug-ins, a test and a dependency."""
    return {
        "pom.xml": POM.format(more=more),
        "src/main/java/org/example/Tool.java": MAIN,
        "src/main/resources/words.txt": WORDS,
        "src/test/java/org/example/ToolTest.java": TEST,
    } | dict(files or {})


def archive(
    files: Mapping[str, str],
    top: str = "tool-1.0",
    stamp: tuple[int, int, int, int, int, int] = STAMP,
    more: Mapping[str, str] | None = None,
) -> bytes:
    """A source archive as a release makes it; `more` stands beside its top folder."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        named = {f"{top}/{path}": text for path, text in files.items()} | dict(more or {})
        for path, text in named.items():
            item = zipfile.ZipInfo(path, stamp)
            item.external_attr = 0o100644 << 16
            packed.writestr(item, text)
    return data.getvalue()


class House:
    """A repository of our own beside Debian's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("org/example/house/3/house-3.pom", PARENT.encode())

    def put(self, path: str, data: bytes) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def release(self, files: Mapping[str, str]) -> None:
        """What a release of the project publishes, but for the jar; nothing names a version of who packs sources."""
        base = "org/example/tool/1.0/tool-1.0"
        beside = {
            "MANIFEST.MF": "Manifest-Version: 1.0\r\nCreated-By: another plug-in\r\n\r\n",
            "maven/org.example/tool/pom.xml": files["pom.xml"],
            "maven/org.example/tool/pom.properties": "#Generated\nversion=1.0\ngroupId=org.example\nartifactId=tool\n",
        }
        packed = archive(beside, top="META-INF", more={"org/example/Tool.java": MAIN, "words.txt": WORDS})
        self.put(f"{base}-sources.jar", packed)
        self.put(f"{base}-source-release.zip", archive(files))
        self.put(f"{base}.pom", files["pom.xml"].encode())

    def evil(self, places: list[str], port: int) -> None:
        """Publish a hostile extension; see `extension`."""
        self.put("org/evil/evil/1/evil-1.pom", BARE_POM.format("org.evil", "evil", 1).encode())
        self.put("org/evil/evil/1/evil-1.jar", extension(places, port))
        # Maven gives it to every extension that does not name one.
        utils = "org/codehaus/plexus/plexus-utils/1.1/plexus-utils-1.1"
        self.put(f"{utils}.pom", BARE_POM.format("org.codehaus.plexus", "plexus-utils", 1.1).encode())
        self.put(f"{utils}.jar", archive({"nothing.txt": ""}, top="META-INF"))

    def settings(self) -> MavenSettings:
        return MavenSettings((Repository(self.folder.as_uri()), Repository(DEBIAN.as_uri())))


def extension(places: list[str], port: int) -> bytes:
    """The jar of a hostile extension: it writes to `places` and to HOME, dials `port`, and tells what came of it."""
    return _compiled(
        EXTENSION.replace(
            "PLACES", "new String[] {" + ", ".join(f'"{place}"' for place in places) + "}"
        ).replace("PORT", str(port))
    )


@functools.cache
def _compiled(source: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Evil.java").write_text(source)
        jars = ":".join(map(str, Path("/usr/share/maven/lib").glob("*.jar")))
        subprocess.run(
            ["javac", "-d", str(folder / "out"), "-cp", jars, "--release", "8", "-nowarn",
             "-proc:none", str(folder / "Evil.java")],
            check=True, timeout=120,
        )  # fmt: skip
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as packed:
            packed.writestr("META-INF/plexus/components.xml", COMPONENTS)
            for path in (folder / "out").rglob("*.class"):
                packed.write(path, str(path.relative_to(folder / "out")))
        return data.getvalue()


class Machine:
    """The environments of a builder whose own Java and Maven stand in for a root file system's."""

    def __init__(self) -> None:
        facts = {**host.facts(), "jdk": "17", "maven": "3"}
        self.one = Environment("rootfs:" + "0" * 64, None, facts)

    def here(self) -> tuple[Environment, ...]:
        return (self.one,)

    def chosen(self, admitted: Any, *tools: str, pure: bool = False) -> Environment:
        found = choose((Environment(self.one.id, Path("/"), self.one.facts),), admitted, tools, pure=pure)
        return self.one if found.id == self.one.id else found

    async def get(self, id: str) -> Environment:
        return find(self.here(), id)


def shop(
    sandbox: Sandbox,
    home: Path,
    *,
    mapping: SourceMapping | None = None,
    hosts: GitHosts | None = None,
    **more: Any,
) -> Shop:
    """A builder's workplace below `home`."""
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    home.chmod(0o755)
    machine = Machine()

    async def claimed(request: Mapping[str, Any]) -> Path:
        return home / "given" / str(request["source"]["file"])

    return Shop(
        sandbox=sandbox,
        limits=more.pop("limits", BuildLimits()),
        scratch=home / "scratch",
        results=home / "results",
        cache=home / "cache",
        index=cast("Any", None),
        environments=machine,
        admitted=lambda: (machine.one.id,),
        claimed=claimed,
        mapping=lambda purl: mapping if mapping is not None and mapping.purl == purl else None,
        git_hosts=hosts or GitHosts(),
        **more,
    )


def plugin(sandbox: Sandbox, home: Path, house: House, **more: Any) -> MavenPlugin:
    return MavenPlugin(shop(sandbox, home, **more), house.settings)


def request(planned: Planned) -> dict[str, Any]:
    """The body of a request, as the log takes it."""
    return taken(planned)


def now_ms() -> int:
    return int(time.time() * 1000)
