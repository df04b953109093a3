"""An unchanged Conan 2 takes packages from a node, pushes its own, and is told why it may not.

The whole table is made on a network: three nodes witness what a Conan remote on loopback has, and a follower that
fetched nothing serves it. clients_evidence.py calls the same:

    async def evidence(folder: Path) -> dict[str, str]      a network of its own below `folder` (40 s)
    async def cells(client: Client, url: str, reference: str, refused: str, other: str, token: str, trust: Path
        ) -> dict[str, str]                                 on a network that runs already

    client      a fresh one, of an empty folder (`Client(folder)`)
    url         the follower's address, `http://127.0.0.1:7888`
    reference   `name/version` with a package for the profile that `Client` writes, or one without settings
    refused     `name/version` that the node's policy refuses
    other       address of a Conan remote that holds `refused` and is reachable; it is put behind a counter
    token       of scope push
    trust       the network's trust file

Either answers a sentence for each of cold, warm, wrong hash, policy refusal, interrupted transfer, push, proofs
(`evidence`: also proxy and upstream cut): what was seen. What is not as it must be fails as an AssertionError.
"""

import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from pyrsia.builds.pip import host
from pyrsia.config import LocalSection
from pyrsia.demo.network import Network, Node
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.conan import pushed
from pyrsia.serve.desks.supply import NoUpstream, Supply
from pyrsia.serve.desks.tokens import TokenOrder
from pyrsia.store.local import LocalStore
from pyrsia.store.rocks import Database
from tests.unit.serve.toy import LIMITS, ToyNode, listen_tcp, serve, toy_app

sys.path.insert(0, str(Path(__file__).parent))
import conans

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[2] / "docs" / "consumers-conan.md"
PAYLOAD = b"".join(hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(40_000))
RECIPE = """
from conan import ConanFile


class Recipe(ConanFile):
    name = {name!r}
    version = {version!r}
    settings = "os", "arch"
    exports_sources = "payload"

    def package(self):
        from conan.tools.files import copy
        copy(self, "payload", self.source_folder, self.package_folder)
"""
PROFILE = "[settings]\nos=Linux\narch=x86_64\nbuild_type=Release\n"


class Client:
    """Conan with a home of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profile = folder / "profile"
        folder.mkdir(parents=True, exist_ok=True)
        self.profile.write_text(PROFILE)
        self.env = conans.clean(folder / "home")

    async def run(self, *words: str, fails: bool = False, env: dict[str, str] | None = None) -> str:
        """What it said; `fails`: it must end with an error."""
        done = await trio.run_process(
            [str(conans.conan()), *words],
            env={**self.env, **(env or {})},
            cwd=self.folder,  # it writes scripts where it stands
            stdin=b"",
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode()
        assert (done.returncode != 0) == fails, said
        return said

    async def only(self, **remotes: str) -> None:
        """These remotes, in this order, and no others."""
        rows = [{"name": name, "url": url, "verify_ssl": True} for name, url in remotes.items()]
        await trio.Path(self.folder / "home").mkdir(exist_ok=True)
        await trio.Path(self.folder / "home" / "remotes.json").write_text(json.dumps({"remotes": rows}))

    async def install(self, reference: str, *, fails: bool = False, env: dict[str, str] | None = None) -> str:
        words = (f"--requires={reference}", f"-pr:a={self.profile}", "--build=never")
        return await self.run("install", *words, fails=fails, env=env)

    @property
    def with_stand_in(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}/bin:{self.env['PATH']}"}

    def fresh(self) -> "Client":
        """Another one that has nothing."""
        number = sum(1 for _ in self.folder.parent.iterdir())
        return Client(self.folder.parent / f"client-{number}")


@dataclass
class Between:
    """Stands between a client and a server.

    Attributes:
        asked: paths of what came.
        lie: of files with this name other bytes are given, as many.
        cut: the first answer with this name ends in its middle.
    """

    asked: list[str] = field(default_factory=list)
    lie: str = ""
    cut: str = ""
    url: str = ""


@contextmanager
def between(target: str) -> Iterator[Between]:
    """Pass requests on to the server at `target`."""
    state, base = Between(), urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            state.asked.append(self.path)
            passed = {
                name: text
                for name, text in self.headers.items()
                if name.lower() not in ("host", "connection")
            }
            server = http.client.HTTPConnection(base.hostname or "", base.port, timeout=30)
            try:
                server.request("GET", base.path + self.path, headers=passed)
                answer = server.getresponse()
                body = answer.read()
            finally:
                server.close()
            self.send_response(answer.status, answer.reason)
            for name, text in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date"):
                    self.send_header(name, text)
            self.end_headers()
            self._give(body)

        def _give(self, body: bytes) -> None:
            file = self.path.rpartition("/")[2]
            if file == state.lie:
                body = body.replace(b"1.0", b"6.6") if b"1.0" in body else body[::-1]
            elif file == state.cut:
                state.cut = ""
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


# -- what is seen of a node, whichever it is ----------------------------------------------------------


async def cells(
    client: Client, url: str, reference: str, refused: str, other: str, token: str, trust: Path
) -> dict[str, str]:
    """See the module's docstring."""
    url = f"{url}/conan"
    return {
        "cold": await cold(client, url, reference),
        "warm": await warm(client, reference),
        "wrong hash": await wrong_hash(client.fresh(), url, reference),
        "policy refusal": await refusal(client.fresh(), url, refused, other),
        "interrupted transfer": await interrupted(client.fresh(), url, reference),
        "push": await push(client.fresh(), client.fresh(), url, token),
        "proofs": await proven(client.fresh(), url, reference, trust),
    }


async def cold(client: Client, url: str, reference: str) -> str:
    await client.only(pyrsia=url)
    said = await client.install(reference)
    assert "Package installed" in said
    integrity = await client.run("cache", "check-integrity", f"{reference}:*")
    assert "ERROR" not in integrity
    return "installed, and its own manifests fit"


async def warm(client: Client, reference: str) -> str:
    """The same client again, its remote gone."""
    await client.only()
    said = await client.install(reference)
    assert "Package installed" not in said
    return "nothing was downloaded"


async def wrong_hash(client: Client, url: str, reference: str) -> str:
    """A server that gives other bytes than the log has: an archive that is none; a recipe that says something else."""
    with between(url) as lying:
        await client.only(pyrsia=lying.url)
        lying.lie = "conan_package.tgz"
        broken = await client.install(reference, fails=True)
        assert "Error while extracting" in broken or "gzip" in broken.lower(), broken
        lying.lie = "conanfile.py"
        other = client.fresh()
        plugin(other)
        await other.only(pyrsia=lying.url)
        told = await other.install(reference, fails=True)
    assert "Checksum mismatch for file conanfile.py" in told, told
    assert f"{reference}#" not in await other.run("list", "*:*")
    return "a broken archive fails by itself; a changed recipe fails by the plugin for signatures"


async def refusal(client: Client, url: str, reference: str, other: str) -> str:
    with between(other) as second:
        await client.only(pyrsia=url, second=second.url)
        said = await client.install(reference, fails=True)
        ranged = await client.install(f"{reference.partition('/')[0]}/[*]", fails=True)
        assert second.asked == []
        # It was reachable, and has what was refused.
        await client.run("list", f"{reference}:*", "-r", "second")
        assert second.asked
    assert "Permission denied" in ranged, ranged
    (line,) = [line for line in said.splitlines() if "Permission denied" in line]
    return line.strip()


async def interrupted(client: Client, url: str, reference: str) -> str:
    with between(url) as cutting:
        cutting.cut = "conan_package.tgz"
        await client.only(pyrsia=cutting.url)
        said = await client.install(reference)
        times = sum(path.endswith("conan_package.tgz") for path in cutting.asked)
    assert "Package installed" in said
    assert times == 2
    return "asked for once more, and installed"


async def proven(client: Client, url: str, reference: str, trust: Path) -> str:
    """The guide's plugin with the real `pyrsia verify`: no without a pin, yes with one."""
    plugin(client)
    home = client.folder / "home"
    (home / ".config" / "pyrsia").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "pyrsia" / "policy.toml").write_text('[conan]\nmode = "verified+witnessed"\n')
    await client.only(pyrsia=url)
    unpinned = await client.install(reference, fails=True)
    assert "pin" in unpinned, unpinned
    command = [sys.executable, "-m", "pyrsia", "trust", "add", str(trust)]
    await trio.run_process(command, env=client.env, capture_stdout=True)
    said = await client.install(reference)
    assert "Package installed" in said
    folder = (await client.run("cache", "path", reference, "--folder=metadata")).strip().splitlines()[-1]
    facts = json.loads(await trio.Path(folder, "sign", "pyrsia.json").read_text())
    assert facts["purl"] == f"pkg:conan/{reference.replace('/', '@')}"
    return "every file was verified offline before it was used"


async def push(author: Client, reader: Client, url: str, token: str) -> str:
    """Create, log in, upload, list, search, install elsewhere, delete."""
    name = "ours/2.0@acme"
    recipe = source(author.folder / "ours", "ours", "2.0").parent
    await author.only(pyrsia=url)
    await author.run("create", str(recipe), "--user=acme", f"-pr:a={author.profile}")
    anonymous = await author.run(
        "upload", name, "-r", "pyrsia", "-c", "-cc", "core:non_interactive=True", fails=True
    )
    assert "pyrsia" in anonymous
    wrong = await author.run("remote", "login", "pyrsia", "ci", "-p", "no-such-token", fails=True)
    assert "Wrong user or password" in wrong, wrong
    await author.run("remote", "login", "pyrsia", "ci", "-p", token)
    said = await author.run("upload", name, "-r", "pyrsia", "-c")
    assert "Uploading package" in said, said
    again = await author.run("upload", name, "-r", "pyrsia", "-c")
    assert "already in server, skipping upload" in again, again
    await reader.only(pyrsia=url)
    listed = await reader.run("list", f"{name}:*", "-r", "pyrsia", "--format=compact")
    assert re.search(r"ours/2\.0@acme#[0-9a-f]{32}:[0-9a-f]{40}", listed), listed
    assert name in await reader.run("search", "ours", "-r", "pyrsia")
    assert "Package installed" in await reader.install(name)
    await author.run("remove", name, "-r", "pyrsia", "-c")
    gone = await reader.run("search", "ours", "-r", "pyrsia")
    assert name not in gone
    return "created, uploaded once, listed, found, installed elsewhere, deleted"


def source(folder: Path, name: str = "data", version: str = "1.0") -> Path:
    """A recipe that needs no compiler; the path of its conanfile.py."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conanfile.py").write_text(RECIPE.format(name=name, version=version))
    (folder / "payload").write_bytes(PAYLOAD)
    return folder / "conanfile.py"


def plugin(client: Client) -> Path:
    """Install the plugin that docs/consumers-conan.md shows."""
    found = re.search(r"^```python sign\.py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    path = client.folder / "home" / "extensions" / "plugins" / "sign" / "sign.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found[1])
    return path


# -- a toy node ---------------------------------------------------------------------------------------


@dataclass
class Published(ToyNode):
    """A log of whatever was made by `conan create`."""

    def packages(self, start: str) -> list[str]:
        return sorted({file.name for file in self.published.values() if file.name.startswith(start)})


@asynccontextmanager
async def shelf(folder: Path, node: ToyNode) -> AsyncIterator[tuple[LocalPackages, str]]:
    """The toy node with a shelf of its own; the shelf and the node's address."""
    await trio.Path(folder).mkdir()
    database = Database.open(folder / "db")
    try:
        local = LocalPackages(LocalStore(folder / "local", database), LocalSection())
        app = toy_app(node, Supply(node, local, NoUpstream()))
        async with trio.open_nursery() as nursery:
            listener = await listen_tcp("127.0.0.1", 0)
            await nursery.start(partial(serve, app, [listener], limits=LIMITS))
            yield local, f"http://127.0.0.1:{listener.port}"
            nursery.cancel_scope.cancel()
    finally:
        database.close()


@dataclass(frozen=True)
class Made:
    """What Conan made of a recipe: published name -> bytes."""

    files: dict[str, bytes]

    def publish(self, node: Published, name: str) -> None:
        """As the log would, under a purl."""
        for file, data in self.files.items():
            row = node.publish(f"{name}-1.0", data)
            node.published[row.sha256] = replace(
                row, name=f"pkg:conan/{name}", purl=f"pkg:conan/{name}@1.0", filename=file, version="1.0"
            )


async def made_by(folder: Path) -> Made:
    """Create a package and push it: what arrives is what a builder would have published."""
    conans.conan()
    node = Published(folder)
    await node.keyring.make(TokenOrder(scope="push", name="ci"))
    async with shelf(folder / "shelf", node) as (local, url):
        client = Client(folder / "client")
        await client.only(pyrsia=f"{url}/conan")
        recipe = source(client.folder / "data").parent
        await client.run("create", str(recipe), f"-pr:a={client.profile}")
        await client.run("remote", "login", "pyrsia", "ci", "-p", "push-ci")
        await client.run("upload", "data/1.0", "-r", "pyrsia", "-c")
        files = {}
        for row in local.rows("pkg:conan/data"):
            known, path = pushed.read_key(row.key), local.path(row.sha256)
            assert known is not None
            assert path is not None
            files[str(known[1])] = path.read_bytes()
    return Made(files)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return trio.run(made_by, tmp_path_factory.mktemp("made"))


@pytest.fixture
def node(made: Made, tmp_path: Path) -> Published:
    (tmp_path / "toy").mkdir()
    found = Published(tmp_path / "toy")
    made.publish(found, "data")
    return found


async def test_a_push_to_a_name_of_the_network_says_why_and_what_to_do(node: Published, tmp_path: Path):
    await node.keyring.make(TokenOrder(scope="push", name="ci"))
    async with shelf(tmp_path / "one", node) as (local, url):
        author = Client(tmp_path / "clients" / "client-0")
        await author.only(pyrsia=f"{url}/conan")
        recipe = source(author.folder / "data")
        recipe.write_text(recipe.read_text() + "\n# changed\n")
        await author.run("create", str(recipe.parent), f"-pr:a={author.profile}")
        await author.run("remote", "login", "pyrsia", "ci", "-p", "push-ci")
        said = await author.run("upload", "data/1.0", "-r", "pyrsia", "-c", fails=True)

    assert "the network owns the name pkg:conan/data" in said
    assert "--user acme" in said
    assert not local.owns("pkg:conan/data")


async def test_the_plugin_of_the_guide_asks_about_every_file_before_it_is_used(
    node: Published, tmp_path: Path
):
    for row in node.published.values():
        node.proofs[row.sha256] = b"a proof of " + row.filename.encode()
    async with shelf(tmp_path / "one", node) as (_, url):
        client = Client(tmp_path / "clients" / "client-0")
        plugin(client)
        asked = stand_in(client, accepts=True)
        await client.only(pyrsia=f"{url}/conan")
        said = await client.install("data/1.0", env=client.with_stand_in)

        other = client.fresh()
        plugin(other)
        stand_in(other, accepts=False)
        await other.only(pyrsia=f"{url}/conan")
        refused = await other.install("data/1.0", fails=True, env=other.with_stand_in)

    assert "Package installed" in said
    told = [json.loads(line) for line in asked.read_text().splitlines()]
    assert {Path(one["file"]).name for one in told} == {
        "conanfile.py", "conanmanifest.txt", "conan_package.tgz", "conaninfo.txt",
    }  # fmt: skip
    assert all(one["proof"].startswith("a proof of ") and one["as"] == "pkg:conan/data@1.0" for one in told)
    assert "no log says so" in refused


def stand_in(client: Client, *, accepts: bool) -> Path:
    """A `pyrsia` that says yes or no, and what it was asked."""
    asked = client.folder / "asked"
    program = client.folder / "bin" / "pyrsia"
    program.parent.mkdir()
    program.write_text(
        f"""#!{sys.executable} -IS
import json, sys
_, verify, file, _, proof, _, purl = sys.argv
assert verify == "verify"
with open({str(asked)!r}, "a") as out:
    print(json.dumps({{"file": file, "proof": open(proof).read(), "as": purl}}), file=out)
print("no log says so")
sys.exit({0 if accepts else 1})
"""
    )
    program.chmod(0o755)
    return asked


# -- a network ----------------------------------------------------------------------------------------


async def evidence(folder: Path) -> dict[str, str]:
    """See the module's docstring."""
    folder = Path(folder)
    network = Network.create(isolation="namespace", environment=host.environment())
    follower = network.follower
    try:
        async with upstream(folder) as other:
            with between(other) as asked:
                await trio.to_thread.run_sync(witnessed, network, folder / "conan", asked.url)
                asked.asked.clear()
                words = ("keys", "token", "--scope", "push", "--json")
                token = json.loads(await trio.to_thread.run_sync(pyrsia, follower, *words))["token"]
                client = Client(folder / "clients" / "client-0")
                about = ("data/1.0", "evil/1.0", other, token, network.trust)
                seen = await cells(client, follower.http, *about)
                assert asked.asked == []
                seen["proxy"] = await proxied(client.fresh(), network, "only/1.0", asked)
        await cold(client.fresh(), f"{follower.http}/conan", "data/1.0")
        network.check_alive()
        return {**seen, "upstream cut": "a fresh client installs the same"}
    finally:
        await trio.to_thread.run_sync(network.stop_all)
        network.remove()


@asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[str]:
    """A Conan remote that has data/1.0, evil/1.0 and only/1.0, pushed by Conan itself; its address."""
    node = Published(folder)
    await node.keyring.make(TokenOrder(scope="push", name="ci"))
    async with shelf(folder / "upstream", node) as (_, url):
        author = Client(folder / "author")
        await author.only(up=f"{url}/conan")
        await author.run("remote", "login", "up", "ci", "-p", "push-ci")
        for name in ("data", "evil", "only"):
            recipe = source(author.folder / name, name).parent
            await author.run("create", str(recipe), f"-pr:a={author.profile}")
            await author.run("upload", f"{name}/1.0", "-r", "up", "-c")
        yield f"{url}/conan"


def witnessed(network: Network, home: Path, remote: str) -> None:
    """Start the network with this remote, and have three nodes witness what it has; the follower refuses `evil`."""
    home.mkdir()
    rows = [{"name": "up", "url": remote, "verify_ssl": True}]
    (home / "remotes.json").write_text(json.dumps({"remotes": rows}))
    network.variables = {"CONAN_HOME": str(home)}
    rules = '[conan]\nmode = "verified+witnessed"\ndeny = ["pkg:conan/evil"]\n'
    (network.follower.data / "policy.toml").write_text(rules)
    network.start_all()
    network.wait(lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 60, "no links")
    for name in ("data", "evil"):
        words = ("build", "request", f"pkg:conan/{name}@1.0", "--as", "witness", "--wait")
        assert "WITNESSED" in pyrsia(network.nodes[0], *words)


async def proxied(client: Client, network: Network, reference: str, asked: Between) -> str:
    """Once the mode is `proxy`, what only upstream has; what the network holds or refuses is still not asked for."""
    follower = network.follower
    rules = '[conan]\nmode = "proxy"\ndeny = ["pkg:conan/evil"]\n'
    await trio.Path(follower.data / "policy.toml").write_text(rules)
    name, _, version = reference.partition("/")
    latest = f"{follower.http}/conan/v2/conans/{name}/{version}/_/_/latest"
    with trio.fail_after(60):
        while (answer := await trio.to_thread.run_sync(httpx.get, latest)).status_code == 404:
            network.check_alive()
            await trio.sleep(0.1)  # the node looks at its policy every two seconds
    assert (answer.status_code, answer.headers["x-pyrsia-verified"]) == (200, "no")
    await client.only(pyrsia=f"{follower.http}/conan")
    assert "Package installed" in await client.install(reference)
    await client.install("data/1.0")
    await client.install("evil/1.0", fails=True)
    assert {path.split("/")[3] for path in asked.asked} == {name}
    return "what only upstream has is given, marked unverified; nothing else is asked for"


def pyrsia(node: Node, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", *words],
        env=os.environ | {"PYRSIA_NODE": str(node.data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_an_unchanged_conan_has_all_of_it_from_a_follower_that_fetched_nothing(tmp_path: Path):
    """Cold, warm, wrong hash, refused beside a second remote, interrupted, pushed, proven, and with upstream cut."""
    seen = await evidence(tmp_path)

    assert "policy refuses pkg:conan/evil@1.0" in seen["policy refusal"]
    assert set(seen) == {
        "cold", "warm", "wrong hash", "policy refusal", "interrupted transfer", "push", "proofs", "proxy",
        "upstream cut",
    }  # fmt: skip
