"""Conan packages that are pushed to a node, over a shelf on a disk: half a revision is never seen in any order."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.conan import names, rest
from pyrsia.builds.conan.names import Place
from pyrsia.config import LocalSection
from pyrsia.errors import Refusal
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.conan import ConanApp
from pyrsia.serve.conan import pushed as pushing
from pyrsia.serve.desks.supply import NoUpstream, Supply
from pyrsia.serve.grants import ADMIN, PUSH, READ, Grant
from pyrsia.serve.http.connection import ClientGone
from pyrsia.store.local import LocalStore
from pyrsia.store.rocks import Database
from pyrsia.units import Limit
from tests.unit.serve.toy import ToyNode

RREV, OTHER, PREV, PID = "a1" * 16, "d4" * 16, "b2" * 16, "c3" * 20
R = "v2/conans/mine/1.0/acme/_"
RECIPE, PACKAGE = f"{R}/revisions/{RREV}", f"{R}/revisions/{RREV}/packages/{PID}/revisions/{PREV}"
INFO = b"[settings]\nos=Linux\n"
CI = Grant("ci", PUSH, "pkg:conan/acme/*")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        assert (self.status, self.headers["content-type"]) == (200, "application/json"), self.body
        return json.loads(self.body)


@dataclass
class Remote:
    """The application itself, over a real shelf and a log of dicts, asked without a socket."""

    local: LocalPackages
    node: ToyNode
    app: ConanApp = field(init=False)

    def __post_init__(self) -> None:
        self.app = ConanApp(Supply(self.node, self.local, NoUpstream()))

    async def ask(
        self, method: str, path: str, body: bytes | None = b"", grant: Grant | None = CI, **headers: str
    ) -> Answer:
        """One request. `body` None: the client leaves in the middle of it."""
        parts = [body[at : at + 7] for at in range(0, len(body), 7)] if body else []
        address, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": f"/conan/{address}", "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
            "pyrsia.grant": grant,
        }  # fmt: skip
        status, head, said = 0, {}, b""

        async def receive() -> Mapping[str, Any]:
            await trio.lowlevel.checkpoint()
            if parts:
                return {"type": "http.request", "body": parts.pop(0), "more_body": True}
            return {"type": "http.disconnect"} if body is None else {"type": "http.request", "body": b""}

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status, said
            if message["type"] == "http.response.start":
                status = message["status"]
                head.update({name.decode(): text.decode() for name, text in message["headers"]})
            else:
                said += message.get("body", b"")

        await self.app(scope, receive, send)
        return Answer(status, head, said)

    async def put(self, path: str, data: bytes, **headers: str) -> Answer:
        return await self.ask("PUT", path, data, **headers)

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path, grant=None)

    async def push(self, files: Mapping[str, bytes]) -> None:
        """Every file in the order of a client: sorted, the manifest last of the package's own."""
        for path, data in files.items():
            answer = await self.put(path, data, x_checksum_sha1=sha1(data))
            assert answer.status == 201, answer.body


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def manifest(files: Mapping[str, bytes]) -> bytes:
    rows = [f"{name}: {md5(data)}\n" for name, data in sorted(files.items())]
    return b"1700000000\n" + "".join(rows).encode()


def recipe(at: str = RECIPE, says: bytes = b"class Mine: pass\n") -> dict[str, bytes]:
    told = manifest({"conanfile.py": says, "conandata.yml": b"x"})
    files = {"conan_export.tgz": b"exported", "conanfile.py": says, "conanmanifest.txt": told}
    return {f"{at}/files/{name}": data for name, data in files.items()}


def package(at: str = PACKAGE) -> dict[str, bytes]:
    told = manifest({"conaninfo.txt": INFO, "lib/libmine.a": b"x"})
    files = {"conan_package.tgz": b"packed" * 100, "conaninfo.txt": INFO, "conanmanifest.txt": told}
    return {f"{at}/files/{name}": data for name, data in files.items()}


_MANIFEST = manifest({"conanfile.py": b"it", "conandata.yml": b"x"})


@contextmanager
def opened(folder: Path) -> Iterator[Remote]:
    database = Database.open(folder / "db")
    try:
        (folder / "toy").mkdir(exist_ok=True)
        local = LocalPackages(LocalStore(folder / "local", database), LocalSection(), now_ms=lambda: 5)
        yield Remote(local, ToyNode(folder / "toy"))
    finally:
        database.close()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    with opened(tmp_path) as made:
        yield made


def left(remote: Remote) -> list[str]:
    return [row.key for row in remote.local.rows("pkg:conan/acme/mine")]


async def test_what_was_pushed_is_found_listed_and_given_marked_as_local(remote: Remote):
    await remote.push({**recipe(), **package()})

    assert (await remote.get(f"{R}/latest")).value["revision"] == RREV
    assert set((await remote.get(f"{RECIPE}/files")).value["files"]) == {
        "conan_export.tgz", "conanfile.py", "conanmanifest.txt",
    }  # fmt: skip
    assert (await remote.get(f"{R}/search?list_only=False")).value == {PID: {"content": INFO.decode()}}
    assert (await remote.get("v2/conans/search?q=mine*")).value["results"] == ["mine/1.0@acme"]
    file = await remote.get(f"{PACKAGE}/files/conan_package.tgz")
    assert (file.status, file.body) == (200, b"packed" * 100)
    assert (file.headers["x-pyrsia-verified"], file.headers["content-length"]) == ("local", "600")
    assert file.headers["cache-control"] == "no-cache"
    again = await remote.ask("GET", f"{PACKAGE}/files/conan_package.tgz", if_none_match=file.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert {row.by for row in remote.local.rows("pkg:conan/acme/mine")} == {"ci"}


async def test_a_download_that_was_interrupted_goes_on(remote: Remote):
    await remote.push({**recipe(), **package()})

    rest_of_it = await remote.ask("GET", f"{PACKAGE}/files/conan_package.tgz", range="bytes=590-")

    assert (rest_of_it.status, rest_of_it.body) == (206, (b"packed" * 100)[590:])
    assert rest_of_it.headers["content-range"] == "bytes 590-599/600"


async def test_it_is_there_after_a_restart(tmp_path: Path):
    with opened(tmp_path) as remote:
        await remote.push(recipe())
    with opened(tmp_path) as again:
        assert (await again.get(f"{R}/latest")).value["revision"] == RREV


async def test_nothing_of_a_revision_is_seen_or_owned_before_its_manifest(remote: Remote):
    *before, (path, told) = recipe().items()
    await remote.push(dict(before))

    assert (await remote.get(f"{R}/latest")).status == 404
    assert (await remote.get(f"{RECIPE}/files/conanfile.py")).status == 404
    assert not remote.local.owns("pkg:conan/acme/mine")
    assert (await remote.put(path, told)).status == 201
    assert (await remote.get(f"{R}/latest")).value["revision"] == RREV


async def test_the_revision_whose_manifest_came_last_is_the_latest_even_within_a_millisecond(remote: Remote):
    newer = f"{R}/revisions/{OTHER}"

    await remote.push(recipe(newer, b"newer"))
    await remote.push(recipe())
    assert (await remote.get(f"{R}/latest")).value["revision"] == RREV
    await remote.push({f"{newer}/files/metadata/log.txt": b"added later"})

    found = (await remote.get(f"{R}/revisions")).value["revisions"]
    assert [row["revision"] for row in found] == [RREV, OTHER]


WHOLE = {**recipe(), **package()}


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(sorted(WHOLE)), again=st.integers(0, 3))
def test_whatever_the_order_half_a_revision_is_never_shown(order: list[str], again: int):
    """Each file is pushed in any order, and all of them some times more as a client does that begins again."""

    async def check(remote: Remote) -> None:
        for path in order + again * sorted(WHOLE):
            data = WHOLE[path]
            answer = await remote.put(path, data)
            assert answer.status == 201 or (answer.status == 400 and path.endswith(names.MANIFEST))
            await whole_or_nothing(remote)
        if again:
            assert (await remote.get(f"{PACKAGE}/files")).status == 200

    with TemporaryDirectory() as folder, opened(Path(folder)) as remote:
        trio.run(check, remote)


async def whole_or_nothing(remote: Remote) -> None:
    for at, files in ((RECIPE, recipe()), (PACKAGE, package())):
        listed = await remote.get(f"{at}/files")
        if listed.status == 404:
            for path in files:
                assert (await remote.get(path)).status == 404
            continue
        assert {f"{at}/files/{name}" for name in listed.value["files"]} == set(files)
        for path, data in files.items():
            assert (await remote.get(path)).body == data


async def test_two_clients_that_push_one_revision_at_once_leave_one_whole(remote: Remote):
    theirs = recipe(says=b"theirs")
    seed = random.Random(7)

    async def push(files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            for _ in range(seed.randrange(5)):
                await trio.lowlevel.checkpoint()
            await remote.put(path, data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(push, recipe())
        nursery.start_soon(push, theirs)

    conanfile = await remote.get(f"{RECIPE}/files/conanfile.py")
    told = await remote.get(f"{RECIPE}/files/conanmanifest.txt")
    if conanfile.status == 200:
        assert md5(conanfile.body).encode() in told.body
    else:
        assert left(remote) == []


async def test_a_manifest_that_the_files_do_not_fit_makes_nothing_visible(remote: Remote):
    files = recipe()
    files[f"{RECIPE}/files/conanfile.py"] = b"changed on the way"
    *before, (path, told) = files.items()
    await remote.push(dict(before))

    answer = await remote.put(path, told)

    assert answer.status == 400
    assert b"the MD5 of conanfile.py is not what the manifest says" in answer.body
    assert left(remote) == []


@pytest.mark.parametrize("lost", ["conan_export.tgz", "conanfile.py", "conan_sources.tgz"])
async def test_a_manifest_names_the_archives_that_must_come_before_it(remote: Remote, lost: str):
    says = b"class Mine: pass"
    told = manifest({"conanfile.py": says, "conandata.yml": b"x", "export_source/a.c": b"y"})
    files = {"conan_export.tgz": b"e", "conan_sources.tgz": b"s", "conanfile.py": says}
    for name, data in files.items():
        if name != lost:
            assert (await remote.put(f"{RECIPE}/files/{name}", data)).status == 201

    first = await remote.put(f"{RECIPE}/files/conanmanifest.txt", told)
    await remote.put(f"{RECIPE}/files/{lost}", files[lost])
    then = await remote.put(f"{RECIPE}/files/conanmanifest.txt", told)

    assert (first.status, then.status) == (400, 201)
    assert lost.encode() in first.body


@given(
    told=st.binary(max_size=120)
    | st.builds(
        lambda at, byte: _MANIFEST[:at] + bytes([byte]) + _MANIFEST[at + 1 :],
        st.integers(0, 90),
        st.integers(0, 255),
    )
)
def test_a_manifest_is_taken_only_where_it_says_what_came(told: bytes):
    came = pushing.Staged("", md5(b"it"), "", None)
    files = {"conanfile.py": came, "conan_export.tgz": pushing.Staged("", "", "", None)}
    code = "taken"
    with suppress(Refusal):
        code = "bad-request"
        pushing._fits(told, files, package=False)
        code = "taken"

    says = f"conanfile.py: {md5(b'it')}".encode() in told
    assert says or code == "bad-request"
    assert code == "taken" or told != _MANIFEST


@pytest.mark.parametrize(
    "told", [b"", b"x", b"1700000000\nconanfile.py\n", b"\xff\xfe\n", b"now\na: " + b"0" * 32]
)
async def test_a_manifest_that_is_none_is_refused(remote: Remote, told: bytes):
    *before, (path, _) = recipe().items()
    await remote.push(dict(before))

    answer = await remote.put(path, told)

    assert answer.status == 400
    assert left(remote) == []


async def test_other_bytes_than_the_announced_digest_are_dropped(remote: Remote):
    for announced in ("0" * 40, "nonsense"):
        answer = await remote.put(f"{RECIPE}/files/conanfile.py", b"x", x_checksum_sha1=announced)
        assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")

    *_, (path, told) = recipe(says=b"x").items()
    assert (await remote.put(path, told)).status == 400  # nothing came before it


async def test_a_visible_revision_does_not_change_and_may_be_pushed_once_more(remote: Remote):
    await remote.push({**recipe(), **package()})
    later = recipe()[f"{RECIPE}/files/conanmanifest.txt"].replace(b"1700000000", b"1800000000")

    await remote.push({**recipe(), **package()})
    assert (await remote.put(f"{RECIPE}/files/conanmanifest.txt", later)).status == 201
    for path in (f"{PACKAGE}/files/conan_package.tgz", f"{PACKAGE}/files/conan_package.txz"):
        answer = await remote.put(path, b"other")
        assert (answer.status, b"a revision does not change" in answer.body) == (403, True)

    assert (await remote.get(f"{PACKAGE}/files/conan_package.tgz")).body == b"packed" * 100
    assert (await remote.get(f"{RECIPE}/files/conanmanifest.txt")).body.startswith(b"1700000000")


async def test_metadata_may_come_before_and_change_after(remote: Remote):
    path = f"{RECIPE}/files/metadata/logs/build.log"
    await remote.push({path: b"one", **recipe()})
    assert (await remote.get(path)).body == b"one"

    await remote.push({path: b"two"})

    assert (await remote.get(path)).body == b"two"
    assert "metadata/logs/build.log" in (await remote.get(f"{RECIPE}/files")).value["files"]


async def test_metadata_of_a_recipe_with_many_packages_is_bounded_by_its_own_files(remote: Remote):
    await remote.push(recipe())
    for number in range(pushing.FILES.value // 3 + 2):
        await remote.push(package(PACKAGE.replace(PID, f"{number:040x}")))

    await remote.push({f"{RECIPE}/files/metadata/logs/build.log": b"text"})

    assert "metadata/logs/build.log" in (await remote.get(f"{RECIPE}/files")).value["files"]


async def test_bytes_that_are_here_need_no_second_journey(remote: Remote):
    files = {**recipe(), **package()}
    await remote.push(files)
    other = f"{R.replace('1.0', '2.0')}/revisions/{RREV}"

    for path, data in recipe(other).items():
        answer = await remote.put(path, b"", x_checksum_deploy="true", x_checksum_sha1=sha1(data))
        assert answer.status == 201
    missing = await remote.put(f"{other}/files/x", b"", x_checksum_deploy="true", x_checksum_sha1="0" * 40)

    assert (await remote.get(f"{other}/files/conanfile.py")).body == files[f"{RECIPE}/files/conanfile.py"]
    assert missing.status == 400
    none = f"{other}/files/metadata/x"
    assert (await remote.put(none, b"", x_checksum_deploy="true", x_checksum_sha1="0" * 40)).status == 404


async def test_bytes_of_another_package_are_not_told_to_be_here(remote: Remote):
    """A push token for one package must not learn, or take, what stands under another."""
    await remote.push(recipe())
    path = "v2/conans/theirs/1.0/acme/_/revisions/" + RREV + "/files/conanfile.py"
    known = sha1(b"class Mine: pass\n")

    assert (await remote.put(path, b"", x_checksum_deploy="true", x_checksum_sha1=known)).status == 404


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (f"{PACKAGE}", 3),
        (f"{RECIPE}/packages/{PID}", 3),
        (f"{RECIPE}/packages", 3),
        (RECIPE, 0),
        (R, 0),
    ],
)
async def test_what_is_deleted_is_gone_and_the_rest_stays(remote: Remote, target: str, kept: int):
    await remote.push({**recipe(), **package()})

    assert (await remote.ask("DELETE", target)).status == 200

    assert len(left(remote)) == kept
    assert (await remote.get(f"{R}/latest")).status == (200 if kept else 404)
    assert (await remote.get(f"{PACKAGE}/files")).status == 404
    assert (await remote.ask("DELETE", target)).status == 404
    await remote.push({**recipe(), **package()})
    assert len(left(remote)) == 6


async def test_where_push_tokens_take_nothing_back_only_an_admin_s_does(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
):
    await remote.push(recipe())
    monkeypatch.setattr(remote.local, "pushers_delete", lambda: False)

    answer = await remote.ask("DELETE", RECIPE)

    assert (answer.status, answer.body[:37]) == (403, b"push tokens take nothing back on this")
    assert (await remote.get(f"{R}/latest")).status == 200
    assert (await remote.ask("DELETE", RECIPE, grant=Grant("boss", ADMIN))).status == 200


async def test_what_policy_denies_of_what_was_pushed_is_a_403_and_no_version_that_is_found(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
):
    def refusal(package: str, version: str) -> Refusal | None:
        return (
            Refusal("denied", what=f"no {version}", who="policy.toml", do="ask") if version == "1.0" else None
        )

    await remote.push({**recipe(), **package(), **recipe(RECIPE.replace("1.0", "2.0"))})
    monkeypatch.setattr(remote.local, "refusal", refusal)

    for path in (f"{R}/latest", f"{RECIPE}/files", f"{PACKAGE}/files/conaninfo.txt"):
        answer = await remote.get(path)
        assert (answer.status, answer.body) == (403, b"no 1.0; ask")
    assert (await remote.get("v2/conans/search?q=mine/*")).value["results"] == ["mine/2.0@acme"]


async def test_a_search_reads_the_keys_of_what_changed_and_no_more(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
):
    other = RECIPE.replace("mine", "theirs")
    await remote.push({**recipe(), **package(), **recipe(other)})
    asked = []
    keys = remote.local.keys
    monkeypatch.setattr(
        remote.local, "keys", lambda package, start="": asked.append(package) or keys(package)
    )

    found = (await remote.get("v2/conans/search?q=*")).value["results"]
    await remote.push(recipe(other.replace("1.0", "2.0")))
    more = (await remote.get("v2/conans/search?q=*")).value["results"]

    assert found == ["mine/1.0@acme", "theirs/1.0@acme"]
    assert more == ["mine/1.0@acme", "theirs/1.0@acme", "theirs/2.0@acme"]
    assert asked == ["pkg:conan/acme/mine", "pkg:conan/acme/theirs", "pkg:conan/acme/theirs"]


async def test_what_an_interrupted_deletion_left_is_in_nobodys_way(remote: Remote):
    await remote.push({**recipe(), **package()})
    await remote.local.delete(
        "pkg:conan/acme/mine", pushing.key_of("1.0", Place(RREV, names.MANIFEST, PID, PREV))
    )
    assert (await remote.get(f"{PACKAGE}/files")).status == 404
    files = package()
    files = {f"{PACKAGE}/files/conan_package.tzst": files.pop(f"{PACKAGE}/files/conan_package.tgz"), **files}

    await remote.push(files)

    assert set((await remote.get(f"{PACKAGE}/files")).value["files"]) == {
        "conan_package.tzst", "conaninfo.txt", "conanmanifest.txt",
    }  # fmt: skip


async def test_one_file_is_not_deleted_alone(remote: Remote):
    await remote.push(recipe())

    assert (await remote.ask("DELETE", f"{RECIPE}/files/conanfile.py")).status == 400
    assert len(left(remote)) == 3


@pytest.mark.parametrize(
    ("grant", "status"),
    [(None, 401), (Grant("reader", READ), 403), (Grant("other", PUSH, "pkg:conan/other/*"), 403)],
)
async def test_who_may_not_push_is_told_before_a_byte_is_read(
    remote: Remote, grant: Grant | None, status: int
):
    """A client that leaves in the middle of its body would show that the body was read."""
    for method, path in (("PUT", f"{RECIPE}/files/conanfile.py"), ("DELETE", RECIPE)):
        answer = await remote.ask(method, path, None, grant)
        assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
        assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(remote: Remote):
    with pytest.raises(ClientGone):
        await remote.ask("PUT", f"{RECIPE}/files/conanfile.py", None)

    assert left(remote) == []
    assert list((Path(remote.node.folder).parent / "local" / "partial").iterdir()) == []


async def test_the_catalogue_does_not_hear_of_names_that_are_pushed(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
):
    """It may ask the network for what it lacks."""

    def heard(name: str) -> list[Any]:
        raise AssertionError(f"the catalogue was asked for {name}")

    monkeypatch.setattr(remote.node, "files", heard)
    await remote.push(recipe())

    assert (await remote.get(f"{R}/latest")).status == 200
    assert (await remote.get("v2/conans/mine/9.9/acme/_/latest")).status == 404
    assert (await remote.ask("DELETE", RECIPE)).status == 200


@pytest.mark.parametrize(
    "file",
    [
        "x", "conanfile.py/x", "metadata/../x", "metadata//x", "metadata/", "conaninfo.txt", "metadata/" + "x" * 400,
        "metadata/sign/pyrsia.json", "metadata/sign/conanfile.py.tlog-proof", "metadata/logs/x.intoto.jsonl",
        "metadata/\x1b[31m", "conan_package.tgz", ".tlog-proof", "..", "conan_export.zip",
    ],
)  # fmt: skip
async def test_a_file_that_no_client_pushes_is_refused(remote: Remote, file: str):
    answer = await remote.put(f"{RECIPE}/files/{file}", b"x")

    assert answer.status == 400
    assert b"\x1b" not in answer.body
    assert left(remote) == []


@pytest.mark.parametrize(
    "path",
    [
        f"{R}/revisions/XX/files/conanfile.py",
        f"{RECIPE}/packages/x/revisions/{PREV}/files/conaninfo.txt",
        RECIPE,
    ],
)
async def test_an_address_of_no_revision_takes_nothing(remote: Remote, path: str):
    assert (await remote.put(path, b"x")).status == 400
    assert (await remote.put(f"{'b' * 51}a/{path}", b"x")).status == 403


async def test_revisions_that_never_end_make_room_for_others(remote: Remote, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pushing, "STAGED", Limit(4, "small"))
    for number in range(10):
        await remote.put(f"{R}/revisions/{number:032}/files/conanfile.py", b"x")
    await remote.push(recipe())

    assert (await remote.get(f"{R}/latest")).value["revision"] == RREV
    assert len(list((Path(remote.node.folder).parent / "local" / "partial").iterdir())) <= 4


async def test_a_login_gives_the_token_back_and_names_its_holder(remote: Remote):
    basic = "Basic " + base64.b64encode(b"me:secret-token").decode()

    token = await remote.ask("GET", "v2/users/authenticate", authorization=basic)
    who = await remote.ask("GET", "v2/users/check_credentials", authorization="Bearer secret-token")
    nobody = await remote.ask("GET", "v2/users/check_credentials", grant=None)

    assert (token.status, token.body, token.headers["content-type"]) == (
        200, b"secret-token", "text/plain; charset=utf-8",
    )  # fmt: skip
    assert (who.status, who.body) == (200, b"ci")
    assert (nobody.status, nobody.headers["www-authenticate"]) == (401, 'Basic realm="pyrsia"')


async def test_a_local_name_hides_what_the_network_publishes_under_it_later(remote: Remote):
    await remote.push(recipe())
    file = remote.node.publish("mine-1.0-py3-none-any.whl", b"x")
    remote.node.published[file.sha256] = replace(file, name="pkg:conan/acme/mine")

    assert (await remote.get(f"{R}/latest")).value["revision"] == RREV
    assert (await remote.ask("DELETE", RECIPE)).status == 200


_PART = st.sampled_from(
    ["1.0", "revisions", RREV, "files", "packages", PID, PREV, "metadata", "..", "", "a b", names.INFO]
)


@given(path=st.text(max_size=60) | st.lists(_PART, max_size=9).map("/".join))
def test_only_keys_that_this_node_writes_are_read(path: str):
    place = pushing.place_of(rest.Target(names.ref("aa", "1"), RREV, file="metadata/a b/c.log"))
    assert pushing.read_key(pushing.key_of("1.0", place)) == ("1.0", place)
    for key in (path, f"1.0/revisions/{RREV}/files/{path}"):
        found = pushing.read_key(key)
        assert found is None or pushing.key_of(*found) == key
