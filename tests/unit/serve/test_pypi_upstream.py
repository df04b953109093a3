"""A package index in front of another one, through the node's real upstream: uv cold, then with upstream cut."""

from pathlib import Path

import httpx
import pytest

from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.pypi import JSON
from tests.unit.node.upstream.toy import Ours, in_front
from tests.unit.node.upstream.toy import bare_environment as bare_environment
from tests.unit.serve.maven_toys import shelf
from tests.unit.serve.pypi_toys import digest, place
from tests.unit.serve.test_pypi_clients import program, run
from tests.unit.serve.toy import ToyNode, serving, toy_app, toy_wheel

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.mark.clients
async def test_what_upstream_gave_once_is_there_when_upstream_is_gone_and_what_the_log_holds_it_never_gives(
    tmp_path: Path,
) -> None:
    for name in ("upstream", "node"):
        (tmp_path / name).mkdir()
    uv, ours = program("uv"), Ours(held={"pkg:pypi/held": {"1.0"}})
    node = ToyNode(tmp_path / "node")
    async with place(tmp_path / "upstream", proxy=False) as other:
        for name, version, requires in (("app", "1.0", ("lib",)), ("lib", "2.0", ()), ("held", "1.0", ())):
            other.node.publish(*toy_wheel(name, version, requires))
        other.node.publish(*toy_wheel("held", "2.0"))
        node.publish(*toy_wheel("held", "1.0", ("app",)))
        ups = {"pip": (f"{other.url}/pypi/simple",)}
        async with in_front(tmp_path / "node", ups, ours=ours) as front:
            with shelf(tmp_path / "node") as local:
                async with serving(toy_app(node, Supply(node, local, front.proxy))) as server:
                    index = f"{server.url}/pypi/simple/"

                    async def install(target: str, *wanted: str) -> tuple[int, str]:
                        (tmp_path / target).mkdir()
                        told = ("--target", tmp_path / target, "--default-index", index)
                        return await run(tmp_path / target, uv, "pip", "install", *told, *wanted)

                    cold = await install("cold", "held==1.0")
                    async with httpx.AsyncClient(base_url=server.url) as client:
                        page = await client.get("/pypi/simple/held/", headers={"accept": JSON})
                        theirs = toy_wheel("held", "1.0")
                        dodge = await client.get(f"/pypi/proxied/held/{digest(theirs[1])}/{theirs[0]}")
                    asked = len(other.seen)
                    other.node.published.clear()  # its server goes on, so that asking would be seen
                    warm = await install("warm", "held==1.0")

    assert cold[0] == 0, cold[1]
    assert [(one["filename"], one["_pyrsia"]["origin"]) for one in page.json()["files"]] == [
        ("held-1.0-py3-none-any.whl", "network"),
        ("held-2.0-py3-none-any.whl", "proxied"),
    ]
    assert dodge.status_code == 404
    assert not [one for one in other.seen if "held-1.0" in one]
    assert warm[0] == 0, warm[1]
    assert (tmp_path / "warm" / "lib.py").read_text() == "version = '2.0'\n"
    assert len(other.seen) == asked  # pages were fresh, files kept
