"""A name that is pushed here is told to nobody: not even to the catalogue, which asks the network for what it lacks."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyrsia.serve.grants import asked_by_a_pusher
from tests.unit.serve.pypi_toys import Place, place
from tests.unit.serve.toy import toy_wheel


async def pip(here: Place, token: str) -> list[httpx.Response]:
    name, data, _ = toy_wheel("secret", "1.0")
    return [await here.push(token, name, data)]


async def maven(here: Place, token: str) -> list[httpx.Response]:
    path = "/maven2/org/secret/lib/1.0/lib-1.0.jar"
    return [await here.client.put(path, content=b"x", headers={"authorization": f"Bearer {token}"})]


async def conan(here: Place, token: str) -> list[httpx.Response]:
    path = f"/conan/v2/conans/secret/1.0/_/_/revisions/{'a' * 32}/files/conanfile.py"
    return [await here.client.put(path, content=b"x", headers={"authorization": f"Bearer {token}"})]


async def oci(here: Place, token: str) -> list[httpx.Response]:
    headers = {"authorization": f"Bearer {token}"}
    path, digest = "/v2/secret/app/blobs/uploads/", "sha256:" + hashlib.sha256(b"x").hexdigest()
    mount = await here.client.post(f"{path}?mount={digest}&from=secret/other", headers=headers)
    whole = await here.client.post(f"{path}?digest={digest}", content=b"x", headers=headers)
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    config = {"config": {"mediaType": "application/json", "digest": digest, "size": 1}, "layers": []}
    headers["content-type"] = manifest["mediaType"]
    path = "/v2/secret/app/manifests/1"
    put = await here.client.put(path, json={**manifest, **config}, headers=headers)
    return [mount, whole, put]


async def test_who_looks_for_a_name_before_the_push_is_known_where_the_catalogue_is_asked(
    tmp_path: Path,
) -> None:
    """docker asks for blobs, Maven for a snapshot's list."""
    said: list[bool] = []
    async with place(tmp_path) as here:
        token, other = await here.token("pkg:pypi/secret"), await here.token("pkg:pypi/other")
        real = here.node.files

        def files(name: str) -> Any:
            said.append(asked_by_a_pusher("pkg:pypi/secret"))
            return real(name)

        object.__setattr__(here.node, "files", files)
        for one, pushes in ((token, True), (other, False), ("", False)):
            headers = {"authorization": f"Bearer {one}"} if one else {}
            assert (await here.client.get("/pypi/simple/secret/", headers=headers)).status_code == 404
            assert set(said) == {pushes}
            said.clear()


@pytest.mark.parametrize("push", [pip, maven, conan, oci])
async def test_the_first_push_of_a_name_asks_the_network_for_nothing(tmp_path: Path, push: Any) -> None:
    heard: list[str] = []
    async with place(tmp_path) as here:
        token = await here.token()
        for method in ("files", "refused"):
            real = getattr(here.node, method)

            def told(name: str, real: Any = real) -> Any:
                heard.append(name)
                return real(name)

            object.__setattr__(here.node, method, told)
        object.__setattr__(here.node, "holds", lambda package: False)
        answers = await push(here, token)

    assert {answer.status_code // 100 for answer in answers} == {2}, [answer.text for answer in answers]
    assert [name for name in heard if "secret" in name] == []
