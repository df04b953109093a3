"""The addresses of builds, and the pages of what a node built under its own name."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyrsia.serve.app import LIMITS
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.serve.pypi import JSON
from pyrsia.units import MAX_SOURCE_BYTES
from tests.unit.serve.toy import NODE, REQUEST, TOKEN, ToyNode, serving, toy_app

BEARER = {"authorization": f"Bearer {TOKEN}"}
OWNER = "b" * 52


class Owning(ToyNode):
    """Publishes some files under `OWNER`'s own name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.owned: dict[str, list[ProjectFile]] = {}

    def own(self, name: str, data: bytes) -> ProjectFile:
        file = self.publish(f"{name}-1.0-py3-none-any.whl", data, agreeing=("a", "b", "c"))
        self.published.pop(file.sha256)
        mine = ProjectFile(
            **{
                **{key: getattr(file, key) for key in file.__slots__},
                "purl": f"pkg:generic/{OWNER}/pypi/{name}@1.0",
                "verdict": "WITNESSED",
            }
        )
        self.owned.setdefault(f"pkg:generic/{OWNER}/pypi/{name}", []).append(mine)
        return mine

    def packages(self, start: str) -> list[str]:
        return sorted(name for name in self.owned if name.startswith(start))

    def files(self, name: str) -> list[ProjectFile]:
        return self.owned.get(name) or list(super().files(name))

    def file(self, sha256: str) -> ProjectFile | None:
        mine = (one for files in self.owned.values() for one in files if one.sha256 == sha256)
        return next(mine, None) or super().file(sha256)


@pytest.fixture
def node(tmp_path: Path) -> Owning:
    return Owning(tmp_path)


@asynccontextmanager
async def asking(node: ToyNode, **guard: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node, **guard)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client


async def test_what_a_node_built_under_its_own_name_has_an_index_of_its_own(node: Owning) -> None:
    mine = node.own("idna", b"mine")
    node.publish("idna-3.10-py3-none-any.whl", b"everybody's")

    async with asking(node) as client:
        names = (await client.get(f"/pypi/{OWNER}/simple/", headers={"accept": JSON})).json()
        page = await client.get(f"/pypi/{OWNER}/simple/idna/", headers={"accept": JSON})
        everybody = (await client.get("/pypi/simple/idna/", headers={"accept": JSON})).json()
        other = await client.get(f"/pypi/{'c' * 52}/simple/idna/", headers={"accept": JSON})
        (row,) = page.json()["files"]
        path = httpx.URL(str(page.url)).join(row["url"]).path
        got = await client.get(path)

    assert names["projects"] == [{"name": "idna"}]
    assert (row["hashes"]["sha256"], page.json()["versions"]) == (mine.sha256, ["1.0"])
    assert path.startswith(f"/pypi/{OWNER}/files/")
    assert hashlib.sha256(got.content).hexdigest() == mine.sha256
    assert everybody["versions"] == ["3.10"]  # a foreign source never appears under a known name
    assert other.status_code == 404


async def test_a_witnessed_file_is_never_taken_for_rebuilt(node: Owning) -> None:
    node.own("idna", b"mine")
    async with asking(node) as client:
        told = (await client.get(f"/pypi/{OWNER}/simple/idna/", headers={"accept": JSON})).json()
        page = (await client.get(f"/pypi/{OWNER}/simple/idna/")).text
    sentence = "WITNESSED: same bytes seen by 3 nodes, not rebuilt"
    assert told["files"][0]["_pyrsia"]["verdict-in-words"] == sentence
    assert f'data-pyrsia-verdict="{sentence}"' in page


async def test_redirects_stay_below_the_own_name(node: Owning) -> None:
    node.own("idna", b"mine")
    async with asking(node) as client:
        for path in (f"/pypi/{OWNER}/simple", f"/pypi/{OWNER}/simple/Idna", f"/pypi/{OWNER}/simple/Idna/"):
            answer = await client.get(path, follow_redirects=True)
            assert (answer.status_code, f"/pypi/{OWNER}/simple/" in str(answer.url)) == (200, True), path


async def test_a_source_is_taken_whole_and_only_with_the_token(node: Owning) -> None:
    data = b"x" * 300_000  # more than any order may have
    async with asking(node) as client:
        bare = await client.post("/api/v1/builds/sources?file=a-1.tar", content=data)
        took = await client.post("/api/v1/builds/sources?file=a-1.tar", content=data, headers=BEARER)
        odd = await client.post("/api/v1/builds/sources?name=a-1.tar", content=data, headers=BEARER)
    assert (bare.status_code, odd.status_code) == (401, 400)
    assert (took.status_code, took.json()["sha256"], took.json()["size"]) == (
        201, hashlib.sha256(data).hexdigest(), len(data),
    )  # fmt: skip
    assert LIMITS.body_limit("/api/v1/builds/sources") == MAX_SOURCE_BYTES.value
    assert LIMITS.body_limit("/api/v1/builds") < 100_000


async def test_a_log_is_read_over_the_admin_door_only(node: Owning) -> None:
    path = f"/api/v1/builds/{REQUEST}/log"
    async with asking(node, public=True) as client:
        bare = await client.get(path)
        own = await client.get(path, params={"offset": 4}, headers=BEARER)
        bad = [
            (await client.get(path, params=params, headers=BEARER)).status_code
            for params in (
                {"builder": "x"},
                {"offset": "-1"},
                {"what": "1"},
                {"builder": NODE, "offset": "9" * 20},
            )
        ]
    assert (bare.status_code, bare.json()["error"]["code"]) == (401, "unauthenticated")
    assert (own.status_code, own.json()["offset"], own.json()["builder"]) == (200, 4, NODE)
    assert bad == [400, 400, 400, 400]


async def test_a_plan_is_a_dry_run_and_changes_nothing(node: Owning) -> None:
    async with asking(node) as client:
        order = {"purl": "pkg:pypi/idna@3.10", "dry_run": True}
        answer = await client.post("/api/v1/builds", json=order, headers=BEARER)
        bare = await client.post("/api/v1/builds", json=order)
    assert (answer.status_code, answer.json()["plans"][0]["purl"]) == (202, "pkg:pypi/idna@3.10")
    assert (bare.status_code, node.changes) == (401, [])
