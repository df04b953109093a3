"""What clients get from a node, beside what people would run instead: small answers, layers, whole installs."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from bench import registries
from bench.harness import LONG, Figure, Timed, row
from bench.memory import held_mb
from bench.registries import ACCEPT, Image, Place
from pyrsia.demo.ports import Ports

RANGE = "bytes=1048576-2097151"
WHEELS = 50
NEEDS = (
    ("ab", "apache2-utils"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("curl", "curl"),
    ("nginx", "nginx-light"),
)
DEBIAN = Path("/usr/share/maven-repo")


def missing() -> tuple[str, str] | None:
    """A program that is not here, and the package that has it."""
    for program, package in NEEDS:
        if not (shutil.which(program) or Path("/usr/sbin", program).exists()):
            return f"no {program}", f"apt-get install {package}"
    return None


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Place, Place] | None]:
    """(ours, docker-registry, nginx), each with the same image, warm; None where one cannot be had."""
    if missing():
        yield None
        return
    folder = tmp_path_factory.mktemp("registries")
    image = Image.make(folder / "image")
    static = folder / "static" / "v2" / registries.IMAGE
    (static / "manifests").mkdir(parents=True)
    (static / "blobs").mkdir()
    (static / "manifests" / "1").write_bytes(image.manifest)
    shutil.copyfile(
        image.folder / "blobs" / "sha256" / image.layer, static / "blobs" / f"sha256:{image.layer}"
    )
    with ExitStack() as stack:
        node = stack.enter_context(registries.lone_node())
        theirs, their_pid = stack.enter_context(registries.docker_registry(folder))
        plain, plain_pid = stack.enter_context(registries.nginx(folder / "static"))
        image.push(node.host, "--dest-creds", f"bench:{node.token}")
        image.push(theirs)
        places = (
            image.place(node.url, node.pid),
            image.place(f"http://{theirs}", their_pid),
            image.place(plain, plain_pid),
        )
        for place in places:
            assert registries.got(place.manifest, Accept=ACCEPT) == image.manifest
            registries.curl(place.layer)
        yield places


@row("consumers/manifest-get", "the manifest of an image by its tag, 16 kept connections", unit="requests/s")
def test_manifest_get(measure, places):
    if places is None:
        measure.absent(*(missing() or ("", "")))
        return
    ours, theirs, plain = places
    count = 2_000

    def ask(place: Place) -> Timed:
        return Timed(lambda: registries.ab(place.manifest, count, 16, Accept=ACCEPT), count)

    measure(ask(ours), {"docker-registry": ask(theirs), "nginx": ask(plain)})


@row("consumers/layer-get", "a layer of 64 MiB, whole", unit="GB/s")
def test_layer_get(measure, places):
    if places is None:
        measure.absent(*(missing() or ("", "")))
        return
    ours, theirs, plain = places

    def ask(place: Place) -> Timed:
        return Timed(lambda: registries.curl(place.layer), registries.LAYER_BYTES)

    measure(ask(ours), {"docker-registry": ask(theirs), "nginx": ask(plain)})


@LONG
@row("consumers/range-get", "1 MiB out of a layer, 8 kept connections", unit="requests/s")
def test_range_get(measure, places):
    if places is None:
        measure.absent(*(missing() or ("", "")))
        return
    ours, theirs, plain = places
    count = 200

    def ask(place: Place) -> Timed:
        return Timed(lambda: registries.ab(place.layer, count, 8, Range=RANGE), count)

    measure(ask(ours), {"docker-registry": ask(theirs), "nginx": ask(plain)})


@LONG
@row("consumers/slow-readers", "what 200 clients that read a layer slowly cost", unit="MB")
def test_slow_readers(measure, places):
    if places is None:
        measure.absent(*(missing() or ("", "")))
        return
    ours, theirs, _ = places

    def grown(place: Place) -> float:
        before = held_mb(place.pid)
        with registries.slow_readers(place, 200):
            return max(0.1, held_mb(place.pid) - before)

    grown(ours)  # allocators keep what they once had; it is not for the readers
    measure(
        Figure(lambda: grown(ours)),
        {"budget": Figure(lambda: 20.0), "docker-registry": Figure(lambda: grown(theirs))},
    )


@LONG
@row("consumers/small-beside-large", "99 of 100 small answers while four whole layers are taken", unit="ms")
def test_small_beside_large(measure, places):
    if places is None:
        measure.absent(*(missing() or ("", "")))
        return
    ours, theirs, _ = places

    def slowest(place: Place) -> float:
        with registries.downloads(place, 4):
            return registries.percentile(registries.asked_ms(place, 300), 0.99)

    measure(Figure(lambda: slowest(ours)), {"docker-registry": Figure(lambda: slowest(theirs))})


def pip(index: str, target: Path, names: list[str]) -> None:
    shutil.rmtree(target, ignore_errors=True)
    words = [
        "--no-cache-dir",
        "--no-deps",
        "--disable-pip-version-check",
        "-q",
        "--index-url",
        index,
        "--target",
        str(target),
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run([sys.executable, "-m", "pip", "install", *words, *names], check=True, timeout=240,
                   env=environ | {"PIP_CONFIG_FILE": os.devnull})  # fmt: skip
    assert len(list(target.glob("*.dist-info"))) == len(names)


@LONG
@row("consumers/pip-install", "50 small wheels by pip, nothing cached", unit="s")
def test_pip_install(measure, tmp_path):
    twine, pypiserver = (Path(sys.executable).with_name(name) for name in ("twine", "pypi-server"))
    if not twine.exists() or not pypiserver.exists():
        measure.absent("no twine or no pypiserver", "pip install --group clients")
        return
    files = tmp_path / "wheels"
    files.mkdir()
    names = registries.wheels(files, WHEELS)
    with (
        closing(Ports()) as ports,
        registries.lone_node() as node,
        pypi_server(str(pypiserver), files, *ports.hold(1)) as url,
    ):
        subprocess.run(
            [twine, "upload", "--non-interactive", "--disable-progress-bar", "--repository-url",
             f"{node.url}/pypi/legacy/", "-u", "__token__", "-p", node.token, *files.iterdir()],
            check=True, capture_output=True, timeout=240,
        )  # fmt: skip
        measure(
            Timed(lambda: pip(f"{node.url}/pypi/simple/", tmp_path / "a", names)),
            {"pypiserver": Timed(lambda: pip(f"{url}/simple/", tmp_path / "b", names))},
        )


@contextmanager
def pypi_server(program: str, files: Path, port: int) -> Iterator[str]:
    """The URL of pypiserver over `files`."""
    with registries.running([program, "run", "-p", str(port), "-i", "127.0.0.1", str(files)], port):
        yield f"http://127.0.0.1:{port}"


def maven(folder: Path, url: str, *goals: str) -> None:
    settings = folder / "settings.xml"
    settings.write_text(
        f"<settings><mirrors><mirror><id>here</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror></mirrors></settings>"
    )
    words = [
        "-B",
        "-q",
        "-s",
        str(settings),
        "-gs",
        str(settings),
        f"-Dmaven.repo.local={folder / 'm2'}",
        *goals,
    ]
    subprocess.run(["mvn", *words], check=True, timeout=240, cwd=folder)


@LONG
@row(
    "consumers/maven-get", "`mvn dependency:get` of one jar, its plug-in in the repository already", unit="s"
)
def test_maven_get(measure, tmp_path):
    if not shutil.which("mvn") or not (DEBIAN / "org/apache/maven/plugins/maven-dependency-plugin").is_dir():
        measure.absent("no mvn with its plug-ins", "apt-get install maven libmaven-dependency-plugin-java")
        return
    if missing():
        measure.absent(*(missing() or ("", "")))
        return
    tree, user = tmp_path / "tree", tmp_path / "user"
    shutil.copytree(DEBIAN, tree)  # by copies: nginx follows links, but Debian's lead elsewhere
    user.mkdir()
    for file in [*tree.rglob("*.jar"), *tree.rglob("*.pom")]:
        file.with_name(file.name + ".sha1").write_text(hashlib.sha1(file.read_bytes()).hexdigest())  # noqa: S324
    plugin = tree / "org/apache/maven/plugins/maven-dependency-plugin"
    version = max(path.name for path in plugin.iterdir() if path.name != "debian")
    goals = (f"org.apache.maven.plugins:maven-dependency-plugin:{version}:get",
             "-Dartifact=commons-io:commons-io:2.11.0", "-Dtransitive=false")  # fmt: skip
    with registries.lone_node() as node, registries.nginx(tree) as (plain, _):
        for file in sorted((tree / "commons-io/commons-io/2.11.0").glob("*.[jp][ao][rm]")):
            command = ["curl", "-sS", "-f", "-u", f"bench:{node.token}", "-T", str(file)]
            subprocess.run([*command, f"{node.url}/maven2/{file.relative_to(tree)}"], check=True, timeout=60)
        maven(user, plain, *goals)

        def fresh() -> None:
            shutil.rmtree(user / "m2" / "commons-io" / "commons-io" / "2.11.0")

        measure(
            Timed(lambda: maven(user, f"{node.url}/maven2/", *goals), before=fresh),
            {"nginx": Timed(lambda: maven(user, plain, *goals), before=fresh)},
        )
