"""The Conan 2 REST API over the log: addresses, forms, and a node's own names; `tests/e2e` has the real client."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.conan import names
from pyrsia.builds.conan.names import Place
from pyrsia.errors import Refusal
from pyrsia.serve.desks.views import ProjectFile, Refused

sys.path.insert(0, str(Path(__file__).parent))
from toy import TOKEN, ToyNode, dial, read_answer, say, serving, toy_app

OWNER = "b" * 51 + "a"
RREV, PREV, PID = "a1" * 16, "b2" * 16, "c3" * 20
R = "/v2/conans/tiny/1.0/_/_"
INFO = b"[settings]\nos=Linux\n"
LISTS = ("metadata/sign/pyrsia.json", "metadata/sign/pkgsign-manifest.json")


class Node(ToyNode):
    """A toy node whose catalogue knows packages by their versionless purls."""

    asked = 0

    def packages(self, start: str) -> list[str]:
        return sorted({file.name for file in self.published.values() if file.name.startswith(start)})

    def files(self, name: str) -> list[ProjectFile]:
        self.asked += 1
        return [
            file
            for file in self.published.values()
            if file.name == name and file.sha256 not in self.kept_back
        ]

    def file(self, sha256: str) -> ProjectFile | None:
        return next((file for file in self.published.values() if file.sha256 == sha256), None)

    def put(self, purl: str, filename: str, data: bytes, version: str = "1.0", time_ms: int = 1_000) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        (self.folder / sha256).write_bytes(data)
        self.published[f"{purl} {version} {filename} {len(self.published)}"] = ProjectFile(
            filename=filename, sha256=sha256, size=len(data), upload_time_ms=time_ms, purl=f"{purl}@{version}",
            name=purl, version=version, verdict="REPRODUCED", log_index=len(self.published),
        )  # fmt: skip
        return sha256

    def package(self, purl: str, version: str = "1.0") -> None:
        for file in names.RECIPE_FILES:
            self.put(purl, str(Place(RREV, file)), f"{file} of {version}".encode(), version)
        for file in names.PACKAGE_FILES:
            data = INFO if file == names.INFO else f"package's {file}".encode()
            self.put(purl, str(Place(RREV, file, PID, PREV)), data, version)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    found = Node(tmp_path)
    found.package("pkg:conan/tiny")
    return found


async def get(
    node: Node, path: str, method: str = "GET", more: str = ""
) -> tuple[int, dict[str, str], bytes]:
    async with serving(toy_app(node)) as server:
        stream = await dial(server)
        async with stream:
            text = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{more}Connection: close\r\n\r\n"
            await stream.send_all(text.encode())
            return await read_answer(stream, bytearray())


async def value(node: Node, path: str) -> Any:
    status, headers, body = await get(node, f"/conan{path}")
    assert status == 200, body
    assert headers["content-type"] == "application/json"  # Conan takes no other spelling
    return json.loads(body)


async def listed(node: Node, revision: str) -> set[str]:
    return set((await value(node, f"{revision}/files"))["files"])


async def test_an_address_with_too_many_parameters_is_a_bad_request(node: Node):
    status, _, body = await get(node, "/conan/v2/conans/search?" + "&".join(["a=1"] * 21))

    assert (status, body) == (400, b"the address has too many parameters")


async def test_a_ping_says_that_revisions_are_spoken(node: Node):
    for prefix in ("/conan", f"/conan/{OWNER}"):
        status, headers, body = await get(node, f"{prefix}/v1/ping")
        assert (status, body, headers["x-conan-server-capabilities"]) == (
            200,
            b"",
            "revisions,checksum_deploy",
        )


async def test_a_fresh_install_finds_recipe_and_package(node: Node):
    assert (await value(node, f"{R}/latest"))["revision"] == RREV
    assert await listed(node, f"{R}/revisions/{RREV}") == {*names.RECIPE_FILES, *LISTS}
    at = f"{R}/revisions/{RREV}/packages/{PID}"
    assert (await value(node, f"{at}/latest")) == {
        "revision": PREV,
        "time": "1970-01-01T00:00:01.000000+00:00",
    }
    assert await listed(node, f"{at}/revisions/{PREV}") == {*names.PACKAGE_FILES, *LISTS}
    status, headers, body = await get(node, f"/conan{at}/revisions/{PREV}/files/conan_package.tgz")
    assert (status, body) == (200, b"package's conan_package.tgz")
    assert headers["content-length"] == str(len(body))
    assert "content-encoding" not in headers


async def test_packages_are_told_with_their_settings(node: Node):
    assert await value(node, f"{R}/search?list_only=True") == {PID: {}}
    assert await value(node, f"{R}/revisions/{RREV}/search") == {PID: {"content": INFO.decode()}}


async def test_an_interrupted_download_goes_on(node: Node):
    path = f"/conan{R}/revisions/{RREV}/files/conanfile.py"

    status, headers, body = await get(node, path, more="Range: bytes=4-\r\n")

    assert (status, body) == (206, b"nfile.py of 1.0")
    assert headers["content-range"] == "bytes 4-18/19"


async def test_what_a_node_claims_stands_below_its_name_and_nowhere_else(node: Node):
    node.package(f"pkg:generic/{OWNER}/conan/mine")
    node.package(f"pkg:generic/{OWNER}/conan/team/stable/mine", "2.0")
    own = f"/{OWNER}/v2/conans"

    assert (await value(node, f"{own}/mine/1.0/_/_/latest"))["revision"] == RREV
    assert (await value(node, f"{own}/mine/2.0/team/stable/latest"))["revision"] == RREV
    assert (await value(node, f"{own}/search?q=*"))["results"] == ["mine/1.0", "mine/2.0@team/stable"]
    assert (await value(node, "/v2/conans/search?q=*"))["results"] == ["tiny/1.0"]
    mine = "/v2/conans/mine/1.0/_/_/latest"
    for path in (f"/{OWNER}{R}/latest", f"/{'c' * 52}{mine}", mine):
        assert (await get(node, f"/conan{path}"))[0] == 404


async def test_what_is_not_there_is_a_short_text_that_conan_prints(node: Node):
    none, upper, half = (
        "/v2/conans/none/1/_/_/latest",
        "/v2/conans/UPPER/1/_/_/latest",
        f"{R}/revisions/{PREV}/files",
    )
    for path in ("", "/x", none, upper, half):
        status, headers, body = await get(node, f"/conan{path or '/'}")
        assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert body
        assert b"\n" not in body
        assert b"{" not in body


async def test_a_wrong_token_and_a_foreign_name_are_told_as_text(node: Node):
    wrong = await get(node, "/conan/v2/users/authenticate", more="Authorization: Basic bWU6bm9uZQ==\r\n")
    async with serving(toy_app(node)) as server:
        foreign = await say(server, b"GET /conan/v1/ping HTTP/1.1\r\nHost: other.example\r\n\r\n")

    assert (wrong[0], wrong[1]["content-type"]) == (401, "text/plain; charset=utf-8")
    assert wrong[1]["www-authenticate"] == 'Basic realm="pyrsia"'
    assert b"{" not in wrong[2]
    assert foreign.startswith(b"HTTP/1.1 421")
    assert b"content-type: text/plain" in foreign


async def test_terminal_escapes_of_a_name_do_not_come_back(node: Node):
    _, _, body = await get(node, "/conan/v2/conans/%1b%5b31m/1/_/_/latest")

    assert b"\x1b" not in body


async def test_what_the_network_owns_is_neither_pushed_to_nor_deleted(node: Node):
    before = dict(node.published)
    for method in ("PUT", "DELETE"):
        path = f"/conan{R}/revisions/{RREV}/files/conanfile.py"
        assert (await get(node, path, method, "Content-Length: 0\r\n"))[0] == 401
        with_token = f"Content-Length: 0\r\nAuthorization: Bearer {TOKEN}\r\n"
        status, headers, body = await get(node, path, method, with_token)
        assert (status, headers["content-type"]) == (403, "text/plain; charset=utf-8")
        assert b"the network owns the name pkg:conan/tiny" in body
        assert b"--user" in body
    assert node.published == before


async def test_the_first_file_of_a_name_is_what_is_served(node: Node):
    node.put("pkg:conan/tiny", str(Place(RREV, names.CONANFILE)), b"another", time_ms=9_000)

    _, _, body = await get(node, f"/conan{R}/revisions/{RREV}/files/conanfile.py")

    assert body == b"conanfile.py of 1.0"


async def test_a_file_that_peers_hold_is_brought_and_one_that_nobody_has_is_told(node: Node):
    place = str(Place(RREV, names.CONANFILE))
    sha256 = next(file.sha256 for file in node.published.values() if file.filename == place)
    node.absent.add(sha256)
    path = f"/conan{R}/revisions/{RREV}/files/conanfile.py"

    assert (await get(node, path))[2] == b"conanfile.py of 1.0"
    node.lost.add(sha256)
    status, headers, body = await get(node, path)

    assert (status, headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert (
        body
        == b"nobody gives this file now: no peer has it; try again; `pyrsia peers` shows who is connected"
    )


async def test_proof_and_attestations_stand_beside_each_file_and_are_listed_where_plugins_look(node: Node):
    place = str(Place(RREV, names.CONANFILE))
    sha256 = next(file.sha256 for file in node.published.values() if file.filename == place)
    node.proofs[sha256] = b"a proof"
    path = f"/conan{R}/revisions/{RREV}/files"

    for where in (f"{path}/", f"{path}/metadata/sign/"):
        assert (await get(node, f"{where}conanfile.py.tlog-proof"))[2] == b"a proof"
        assert (await get(node, f"{where}conanfile.py.intoto.jsonl"))[0] == 200
    for beside in (
        f"/conan{R}/latest.tlog-proof",
        f"{path}/x.intoto.jsonl",
        f"{path}/metadata/sign/x.tlog-proof",
    ):
        status, headers, _ = await get(node, beside)
        assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
    manifest = await get(node, f"{path}/conanmanifest.txt.tlog-proof")
    assert (manifest[0], manifest[1]["content-type"]) == (404, "text/plain; charset=utf-8")  # not covered yet
    beside = {f"metadata/sign/conanfile.py{suffix}" for suffix in (".tlog-proof", ".intoto.jsonl")}
    assert await listed(node, f"{R}/revisions/{RREV}") == {*names.RECIPE_FILES, *LISTS, *beside}


async def test_settings_that_nobody_gives_now_are_left_out_of_a_search(node: Node):
    other = "d4" * 20
    for file in names.PACKAGE_FILES:
        sha256 = node.put("pkg:conan/tiny", str(Place(RREV, file, other, PREV)), f"other {file}".encode())
        if file == names.INFO:
            node.absent.add(sha256)
            node.lost.add(sha256)

    assert set(await value(node, f"{R}/revisions/{RREV}/search?list_only=True")) == {PID, other}
    assert set(await value(node, f"{R}/revisions/{RREV}/search")) == {PID}


async def test_every_file_that_a_list_names_is_given(node: Node):
    """A client fails as a whole at one that is not."""
    for sha256 in list({file.sha256 for file in node.published.values()}):
        node.proofs[sha256] = b"a proof"
    recipe = f"{R}/revisions/{RREV}"

    for revision in (recipe, f"{recipe}/packages/{PID}/revisions/{PREV}"):
        for file in await listed(node, revision):
            assert (await get(node, f"/conan{revision}/files/{file}"))[0] == 200


async def test_the_lists_for_plugins_hold_what_the_log_says_of_each_file(node: Node):
    at = f"{R}/revisions/{RREV}/packages/{PID}/revisions/{PREV}"

    facts = await value(node, f"{at}/files/{LISTS[0]}")
    digests = await value(node, f"{at}/files/{LISTS[1]}")

    _, headers, info = await get(node, f"/conan{at}/files/conaninfo.txt")
    assert headers["x-pyrsia-verified"] == "yes"
    assert (facts["purl"], facts["revision"]) == ("pkg:conan/tiny@1.0", PREV)
    assert set(facts["files"]) == set(names.PACKAGE_FILES)
    about = facts["files"]["conaninfo.txt"]
    assert about["sha256"] == hashlib.sha256(info).hexdigest()
    assert (about["verdict"], about["log_index"], about["size"]) == ("REPRODUCED", 4, len(info))
    assert {"file": "conaninfo.txt", "sha256": about["sha256"]} in digests["files"]


def keep_back(node: Node, *files: str, code: str = "denied") -> None:
    """The policy denies these published names."""
    for file in node.published.values():
        if file.filename in files:
            why = Refusal(code, what="nobody may have it", who="policy.toml", do="ask its author")
            node.kept_back[file.sha256] = Refused(file, why)


@pytest.mark.parametrize("code", ["denied", "withdrawn", "disputed"])
async def test_what_policy_refuses_is_a_403_with_the_reason_at_the_first_question(node: Node, code: str):
    keep_back(node, str(Place(RREV, names.CONANFILE)), code=code)
    at = f"{R}/revisions/{RREV}"
    package = f"{at}/packages/{PID}"

    for path in (
        f"{R}/latest", f"{R}/revisions", f"{at}/files", f"{at}/files/conanfile.py", f"{at}/search",
        f"{package}/latest", f"{package}/revisions/{PREV}/files/conaninfo.txt",
    ):  # fmt: skip
        status, headers, body = await get(node, f"/conan{path}")
        assert (status, body) == (403, b"nobody may have it; ask its author"), path
        assert headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_refused_package_of_an_allowed_recipe_is_refused_alone(node: Node):
    keep_back(node, str(Place(RREV, names.PACKAGE, PID, PREV)))
    at = f"{R}/revisions/{RREV}"

    assert (await value(node, f"{R}/latest"))["revision"] == RREV
    assert await value(node, f"{at}/search") == {}
    assert (await get(node, f"/conan{at}/packages/{PID}/latest"))[0] == 403
    assert (await get(node, f"/conan{at}/packages/{'d4' * 20}/latest"))[0] == 404


async def test_ranges_find_refused_versions_only_where_no_other_is_left(node: Node):
    """So that a client comes and hears why, and does not go on to its next remote."""
    node.package("pkg:conan/tiny", "2.0")
    old = [file.sha256 for file in node.published.values() if file.version == "1.0"]
    why = Refusal("denied", what="no", who="policy.toml", do="ask")
    for file in list(node.published.values()):
        if file.version == "1.0":
            node.kept_back[file.sha256] = Refused(file, why)

    some = (await value(node, "/v2/conans/search?q=tiny/*"))["results"]
    for file in list(node.published.values()):
        node.kept_back[file.sha256] = Refused(file, why)
    node.publish("other-1.0-py3-none-any.whl", b"x")  # the catalogue changed
    none = (await value(node, "/v2/conans/search?q=tiny/*"))["results"]

    assert old
    assert some == ["tiny/2.0"]
    assert none == ["tiny/1.0", "tiny/2.0"]


async def test_a_range_looks_at_the_packages_of_its_name_alone(node: Node):
    for name in ("lib+c", "other", "team/lib+c", "xlib+c"):
        node.package(f"pkg:conan/{name.replace('+', '%2B')}")
    node.asked = 0

    found = (await value(node, "/v2/conans/search?q=lib%2Bc/*"))["results"]

    assert found == ["lib+c/1.0", "lib+c/1.0@team"]
    assert node.asked == 4  # twice for each: its versions, and the files of the one that it has


async def test_a_name_that_the_log_does_not_hold_says_how_to_ask_for_a_build(node: Node):
    status, _, body = await get(node, "/conan/v2/conans/none/1/_/_/latest")

    assert (status, body) == (
        404, b"the network has no none/1; ask for a build: pyrsia build request pkg:conan/none@1",
    )  # fmt: skip


async def test_between_two_blocks_the_catalogue_is_asked_once(node: Node):
    async with serving(toy_app(node)) as server:
        for _ in range(3):
            stream = await dial(server)
            async with stream:
                await stream.send_all(f"GET /conan{R}/latest HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                assert (await read_answer(stream, bytearray()))[0] == 200
        assert node.asked == 1
        node.put("pkg:conan/tiny", str(Place(PREV, names.CONANFILE)), b"new", time_ms=9_000)
        node.put("pkg:conan/tiny", str(Place(PREV, names.MANIFEST)), b"new", time_ms=9_000)
        stream = await dial(server)
        async with stream:
            await stream.send_all(f"GET /conan{R}/latest HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            _, _, body = await read_answer(stream, bytearray())
        assert json.loads(body)["revision"] == PREV
