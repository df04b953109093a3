"""Unchanged clients pull from a node, push to it, and hear why they may not, as their users see it.

skopeo runs here against a small node in this process. For other clients and another node, `make evidence` calls

    await row(kind, folder, netloc, given="team/app:1.0", refused="team/denied:1.0", reason="...",
              token="", mirror=False, second="")
        -> dict[str, str]: a sentence for each of CASES, what was seen

    kind        one of `ocis.CLIENTS`; ask `kind.missing()` first
    folder      an empty one, whose path is short (a socket lies in it)
    netloc      host:port of the node, over plain HTTP
    given       an image that the node gives; with `mirror`, one of Docker Hub's
    refused     one that its policy refuses, with words of the reason that the client must print
    token       of scope push for `pkg:docker/pushed-by/*`; "" leaves pushing out
    mirror      ask as Docker Hub's mirror (containerd, dockerd)
    second      host:port of another registry, which gives `refused` under the same name; it is asked 0 times, but by
                dockerd with `mirror`, whose second mirror it is then: a mirror enforces nothing there

An AssertionError says which case failed, with what the client printed.
"""

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import trio

from pyrsia.builds.oci import documents
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.app import LIMITS

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "serve"))
import ocis
import talk
from oci_toys import PUSHES, Images, descriptor, digest, shelf, whole

pytestmark = pytest.mark.clients
CASES = ("cold", "warm", "wrong digest", "policy refusal", "interrupted transfer", "push")
REASON = "only WITNESSED, and this node wants REPRODUCED"


def image(filler: bytes) -> dict[str, bytes]:
    """An image that every client takes: one layer with two files in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in (("hello", filler), ("noise", hashlib.shake_256(filler).digest(200_000))):
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(data), 0o755
            archive.addfile(item, io.BytesIO(data))
    layer = buffer.getvalue()
    kept = documents.Layer(
        documents.LAYER, hashlib.sha256(layer).hexdigest(), len(layer), hashlib.sha256(layer).hexdigest()
    )
    config = documents.configuration({"Cmd": ["/hello"]}, [kept], [], "linux/amd64", 1_700_000_000)
    return {"config": config, "layer": layer, "manifest": documents.manifest(config, [kept])}


def publish(node: Images, name: str, tag: str, made: dict[str, bytes]) -> None:
    for part in ("config", "layer"):
        node.add(name, tag, f"sha256~{hashlib.sha256(made[part]).hexdigest()}", made[part])
    node.add(name, tag, f"manifest~{tag}", made["manifest"])


@asynccontextmanager
async def standing(
    folder: Path, local: LocalPackages | None = None, *, strict: bool = True
) -> AsyncIterator[str]:
    """A node that gives `team/app:1.0` and `library/alp:3`, and, if `strict`, refuses `denied:1.0` of both."""
    node = Images(folder)
    publish(node, "team/app", "1.0", image(b"hello"))
    publish(node, "library/alp", "3", image(b"alpine"))
    for name in ("team/denied", "library/denied"):
        denied = image(name.encode())
        publish(node, name, "1.0", denied)
        for part in denied.values() if strict else ():
            node.refuse(part, what=REASON)
    async with talk.serving(whole(node, local), limits=LIMITS) as server:
        yield f"{server.listeners[0].host}:{server.listeners[0].port}"


async def row(
    kind: type[ocis.Client],
    folder: Path,
    netloc: str,
    *,
    given: str = "team/app:1.0",
    refused: str = "team/denied:1.0",
    reason: str = REASON,
    token: str = "",
    mirror: bool = False,
    second: str = "",
) -> dict[str, str]:
    """Every case of one client, one after the other; each in a thread, since the node may run in this process."""
    case = Case(given, refused, reason, token, mirror)
    work = partial(_row, kind, folder, netloc, case, second)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


@dataclass(frozen=True)
class Case:
    """What `row` was told."""

    given: str
    refused: str
    reason: str
    token: str
    mirror: bool


def _row(kind: type[ocis.Client], folder: Path, netloc: str, case: Case, second: str) -> dict[str, str]:
    with ocis.between(netloc) as line, ocis.between(second or netloc) as other:
        client = kind(folder)
        start = f"{line.netloc}/"
        if case.mirror:
            start = "docker.io/"
            assert isinstance(client, ocis.Containerd | ocis.Dockerd), "others are told by registries.conf"
            if isinstance(client, ocis.Dockerd):
                client.mirrors = (line.netloc, other.netloc) if second else (line.netloc,)
            else:
                client.hosts("docker.io", line.netloc)
        try:
            client.start()
            told = {
                "cold": cold(client, line, start + case.given),
                "warm": warm(client, line, start + case.given),
                "policy refusal": refusal(client, line, other if second else None, case),
                "interrupted transfer": interrupted(client, line, start + case.given),
            }
            if case.token:
                told["push"] = push(client, netloc, start + case.given, case.token)
            # Last: containerd keeps what was wrong until it has failed once more.
            asks_on = bool(second) and isinstance(client, ocis.Dockerd) and case.mirror
            told["wrong digest"] = wrong_digest(client, line, start + case.given, asks_on=asks_on)
        finally:
            client.close()
    return told


def cold(client: ocis.Client, line: ocis.Between, reference: str) -> str:
    client.pull(reference)
    asked = len(line.asked)
    blobs = line.blobs()
    assert blobs, "no blob was asked for"
    return f"{asked} requests, {len(blobs)} of them for blobs"


def warm(client: ocis.Client, line: ocis.Between, reference: str) -> str:
    client.pull(reference)
    blobs = line.blobs()
    assert len(set(blobs)) <= 1, (
        f"layers that are here were asked for again: {blobs}"
    )  # a configuration may be
    return f"{len(set(blobs))} blobs were asked for again"


def wrong_digest(client: ocis.Client, line: ocis.Between, reference: str, *, asks_on: bool = False) -> str:
    client.forget()
    line.lie = "/blobs/"
    printed = client.pull(reference, good=asks_on)
    assert line.blobs(), "no blob was asked for, so nobody lied"
    line.lie = ""
    if asks_on:
        return "it threw away what it got, and took it from the second mirror"
    elsewhere = (
        "registry-1.docker.io",
        "denied",
        "not found",
        "unknown",
    )  # what dockerd heard where it asked on
    return last_line(printed, ("digest", "checksum", "did not match", "verif", *elsewhere))


def refusal(client: ocis.Client, line: ocis.Between, other: ocis.Between | None, case: Case) -> str:
    """Every client prints the reason and asks nobody else; dockerd asks on where the node is only its mirror."""
    advice = case.mirror and isinstance(client, ocis.Dockerd)
    if other is not None:
        place, _, tag = case.refused.partition(":")
        asking = Request(
            f"http://{other.netloc}/v2/{place}/manifests/{tag}", headers={"Accept": documents.MANIFEST}
        )
        with urlopen(asking) as answer:  # noqa: S310
            assert answer.status == 200, (
                "the other registry does not give what is refused: the test would prove nothing"
            )
        other.asked.clear()
    line.asked.clear()
    reference = ("docker.io/" if case.mirror else f"{line.netloc}/") + case.refused
    printed = client.pull(reference, good=advice and other is not None)
    assert not line.blobs(), "a refused image's blob was asked for"
    asked = 0 if other is None else len(other.asked)
    if advice:
        return f"a mirror only advises: what it refuses is asked for elsewhere, {asked} requests to the second mirror"
    assert asked == 0, other
    return f"{last_line(printed, (case.reason,))}; the other registry was asked {asked} times"


def interrupted(client: ocis.Client, line: ocis.Between, reference: str) -> str:
    """The line breaks in a blob: the client goes on by itself, or its next run does."""
    client.forget()
    line.asked.clear()
    line.cut = "/blobs/"
    try:
        client.pull(reference)
        told = "it went on by itself"
    except AssertionError:
        client.pull(reference)
        told = "it failed, and the next run got it"
    assert not line.cut, "nothing was cut"
    return f"{told}, {len(line.blobs())} requests for blobs"


def push(client: ocis.Client, netloc: str, reference: str, token: str) -> str:
    """Straight to the node, and back."""
    mine = f"{netloc}/pushed-by/{client.name}:1"
    said = "not tried without a token: ctr waits for ever then"
    if not isinstance(client, ocis.Containerd):
        refused = client.push(mine, "", good=False)
        assert "needs a token" in refused or "unauthorized" in refused.lower(), refused
        said = "refused without a token"
    client.push(mine, token)
    client.forget()
    client.pull(mine)
    client.pull(reference)
    return f"{said}; taken with one, and pulled again"


def last_line(printed: str, words: tuple[str, ...]) -> str:
    """The last line that has one of `words`; what a user reads."""
    found = [line for line in printed.splitlines() if any(word in line for word in words)]
    assert found, printed[-3_000:]
    return found[-1].strip()[-300:]


async def test_skopeo_pulls_pushes_lists_and_hears_why_not(tmp_path: Path):
    if why := ocis.Skopeo.missing():
        pytest.skip(why)
    (tmp_path / "second").mkdir()
    with shelf(tmp_path) as local:
        async with standing(tmp_path, local) as netloc, standing(tmp_path / "second", strict=False) as second:
            told = await row(ocis.Skopeo, tmp_path / "s", netloc, token=PUSHES, second=second)
            client = ocis.Skopeo(tmp_path / "s")

            async def skopeo(*words: str) -> str:
                run = partial(client.run, "skopeo", *words)
                return await trio.to_thread.run_sync(run, abandon_on_cancel=True)

            listed = await skopeo("list-tags", "--tls-verify=false", f"docker://{netloc}/pushed-by/skopeo")
            seen = await skopeo("inspect", "--tls-verify=false", f"docker://{netloc}/team/app:1.0")
            conf = tmp_path / "registries.conf"
            conf.write_text(
                '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'
                f'[[registry.mirror]]\nlocation = "{netloc}/dockerhub"\ninsecure = true\n'
            )
            place = f"dir:{tmp_path / 'mirrored'}"
            await skopeo("--registries-conf", str(conf), "copy", "docker://docker.io/library/alp:3", place)

    assert set(told) == set(CASES)
    assert REASON in told["policy refusal"]
    assert told["policy refusal"].endswith("was asked 0 times")
    assert json.loads(listed)["Tags"] == ["1"]
    assert json.loads(seen)["Digest"] == digest(image(b"hello")["manifest"])
    mirrored = json.loads((tmp_path / "mirrored" / "manifest.json").read_bytes())
    assert mirrored["layers"][0]["digest"] == descriptor(image(b"alpine")["layer"], "")["digest"]


async def test_what_stands_between_a_client_and_a_node_lies_and_cuts_once(tmp_path: Path):
    """The table's own tool: a case that passes without a lie would prove nothing."""
    import httpx

    made = image(b"hello")
    async with standing(tmp_path) as netloc:
        with ocis.between(netloc) as line:
            place = f"http://{line.netloc}/v2/team/app/blobs/{digest(made['layer'])}"
            async with httpx.AsyncClient() as web:
                plain = await web.get(place)
                line.lie = "/blobs/"
                lied = await web.get(place)
                line.lie, line.cut = "", "/blobs/"
                with pytest.raises(httpx.RemoteProtocolError):
                    await web.get(place)
                again = await web.get(place)

    assert plain.content == again.content == made["layer"]
    assert lied.content != made["layer"]
    assert len(lied.content) == len(made["layer"])
