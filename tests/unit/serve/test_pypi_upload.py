"""Uploads as twine and uv send them: what is kept, what is refused and leaves nothing."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.serve.pypi import form as module
from pyrsia.serve.pypi.form import Form
from pyrsia.units import Limit
from tests.reference.waiting import bounded
from tests.unit.serve.pypi_toys import Place, basic, digest, place
from tests.unit.serve.toy import toy_wheel

WHEEL, DATA, METADATA = toy_wheel("acme", "1.0")
SDIST = "acme-1.0.tar.gz"


def nothing_is_kept(here: Place, folder: Path) -> bool:
    local = here.supply.local
    files = [one for one in (folder / "local").rglob("*") if one.is_file() and one.name != "rows"]
    return not local.packages("") and not files


async def test_a_wheel_and_an_sdist_are_kept_with_who_pushed_them(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        token = await here.token("pkg:pypi/acme")
        answers = [
            await here.push(
                token, WHEEL, DATA, blake2_256_digest=hashlib.blake2b(DATA, digest_size=32).hexdigest()
            ),
            await here.push(token, SDIST, b"any bytes", requires_python=">=3.9", md5_digest="A" * 0),
        ]
        rows = here.supply.local.rows("pkg:pypi/acme")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [(row.key, row.by, row.more["version"]) for row in rows] == [
        (f"files/{WHEEL}", "t0", "1.0"),
        (f"files/{SDIST}", "t0", "1.0"),
    ]
    assert [row.more["requires-python"] for row in rows] == [">=3.8", ">=3.9"]
    assert rows[0].more["metadata"] == digest(METADATA)


def spelt(filename: str, module: str) -> tuple[str, bytes]:
    """A wheel of acme-tool 1.0 under this name, with content of its own."""
    version = filename.split("-")[1]
    return filename, toy_wheel("acme_tool", version, (module,))[1]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("acme_tool-1.0-py3-none-any.whl", "Acme_Tool-1.0-py3-none-any.whl"),
        ("acme_tool-1.0-py3-none-any.whl", "acme.tool-1.0-py3-none-any.whl"),
        ("acme_tool-1.0-py3-none-any.whl", "acme_tool-1.0.0-py3-none-any.whl"),
        ("acme_tool-1.0.0-py3-none-any.whl", "acme_tool-1-py3-none-any.whl"),
        ("acme_tool-1.0rc1-py3-none-any.whl", "acme_tool-1.0.0.rc1-py3-none-any.whl"),
        ("acme_tool-1.0-py2.py3-none-any.whl", "acme_tool-1.0-py3.py2-none-any.whl"),
        ("acme_tool-1.0-1-py3-none-any.whl", "acme_tool-1.0-01-py3-none-any.whl"),
        ("acme_tool-1.0.tar.gz", "Acme-Tool-1.0.0.tar.gz"),
        ("acme_tool-1.0.tar.gz", "acme_tool-1.0.zip"),
    ],
)
async def test_a_release_does_not_change_under_another_spelling(
    tmp_path: Path, first: str, other: str
) -> None:
    async with place(tmp_path) as here:
        token = await here.token()
        names = {"name": "acme-tool", "filetype": None}
        versions = [one.removesuffix(".tar.gz").removesuffix(".zip").split("-") for one in (first, other)]
        told = [next(one for one in parts if one[0].isdigit()) for parts in versions]
        one, another = spelt(first, "x") if first.endswith("whl") else (first, b"1"), spelt(other, "y")
        kept = await here.push(token, *one, version=told[0], **names)
        again = await here.push(token, other, one[1], version=told[1], **names)
        lie = await here.push(token, *another, version=told[1], sha256_digest=None, **names)
        rows = here.supply.local.rows("pkg:pypi/acme-tool")

    assert (kept.status_code, kept.text) == (200, f"{first} is kept by this node\n")
    assert (again.status_code, again.text) == (200, f"{first} was here already\n")
    assert (lie.status_code, f"{other} is here already as {first}" in lie.text) == (409, True)
    assert [row.key for row in rows] == [f"files/{first}"]


async def test_what_is_another_file_of_a_release_stands_beside_it(tmp_path: Path) -> None:
    names = [
        "acme_tool-1.0-py3-none-any.whl",
        "acme_tool-1.0-1-py3-none-any.whl",
        "acme_tool-1.0-cp311-cp311-linux_x86_64.whl",
        "acme_tool-1.1-py3-none-any.whl",
        "acme_tool-1.0.post0-py3-none-any.whl",
        "acme_tool-10-py3-none-any.whl",
        "acme_tool-1.0.tar.gz",
    ]
    async with place(tmp_path) as here:
        token = await here.token()
        for at, filename in enumerate(names):
            version = filename.removesuffix(".tar.gz").split("-")[1]
            data = spelt(filename, f"m{at}")[1] if filename.endswith("whl") else b"1"
            answer = await here.push(token, filename, data, name="acme-tool", version=version)
            assert answer.status_code == 200, answer.text
        rows = here.supply.local.rows("pkg:pypi/acme-tool")
    assert {row.key for row in rows} == {f"files/{one}" for one in names}


async def test_the_same_bytes_again_are_welcome_and_others_are_not(tmp_path: Path) -> None:
    other = toy_wheel("acme", "1.0", ("x",))[1]
    async with place(tmp_path) as here:
        token = await here.token()
        first, again = await here.push(token, WHEEL, DATA), await here.push(token, WHEEL, DATA)
        told = await here.push(token, WHEEL, other)
        untold = await here.push(token, WHEEL, other, sha256_digest=None)
        rows = here.supply.local.rows("pkg:pypi/acme")

    assert [first.status_code, again.status_code, told.status_code, untold.status_code] == [
        200,
        200,
        409,
        409,
    ]
    assert (
        told.reason_phrase
        == untold.reason_phrase
        == f"{WHEEL} is here already with other bytes: a file never changes"
    )
    assert [row.sha256 for row in rows] == [digest(DATA)]


async def test_what_was_pushed_is_taken_back_by_who_may_push_it_unless_the_operator_says_no(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        token, other = await here.token("pkg:pypi/acme"), await here.token("pkg:pypi/other")
        await here.push(token, WHEEL, DATA)
        address = f"/pypi/legacy/acme/{WHEEL}"
        foreign = await here.client.delete(address, headers=basic(other))
        bare = await here.client.delete(address)
        here.supply.local._pushers_delete = False  # type: ignore[attr-defined] # local.delete of config.toml
        kept = await here.client.delete(address, headers=basic(token))
        assert here.supply.local.owns("pkg:pypi/acme")
        here.supply.local._pushers_delete = True  # type: ignore[attr-defined] # as before
        gone = await here.client.delete(address, headers=basic(token))
        again = await here.client.delete(address, headers=basic(token))
        assert nothing_is_kept(here, tmp_path)
        odd = [
            (await here.client.request(method, path, headers=basic(token))).status_code
            for method, path in (("DELETE", "/pypi/legacy/ACME/x"), ("PUT", address), ("DELETE", "/pypi/legacy/"),
                                 ("DELETE", "/pypi/legacy/a/b/c"))
        ]  # fmt: skip

    codes = [answer.status_code for answer in (foreign, bare, kept, gone, again)]
    assert codes == [403, 401, 403, 200, 404]
    assert odd == [404, 405, 405, 404]


@pytest.mark.parametrize(
    ("pattern", "scope", "status", "why"),
    [
        (None, "", 401, "pushing to this node needs a token"),
        ("", "read", 403, "the token t0 may not push"),
        ("pkg:pypi/other-*", "push", 403, "the token t0 may not push pkg:pypi/acme"),
        ("pkg:maven/*", "push", 403, "the token t0 may not push pkg:pypi/acme"),
    ],
)
async def test_who_may_not_push_is_told_so(
    tmp_path: Path, pattern: str | None, scope: str, status: int, why: str
) -> None:
    async with place(tmp_path) as here:
        token = "" if pattern is None else await here.token(pattern, scope)
        answer = await here.push(token, WHEEL, DATA)
        assert answer.status_code == status
        assert answer.reason_phrase.startswith(why)
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert nothing_is_kept(here, tmp_path)


async def test_without_a_token_no_byte_of_the_body_is_waited_for(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        server = httpx.URL(here.url)
        stream = await trio.open_tcp_stream(server.host, server.port or 0)
        async with stream:
            await stream.send_all(
                b"POST /pypi/legacy/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\r\n"
            )
            with bounded():
                said = await stream.receive_some()
    assert said.startswith(b"HTTP/1.1 401 ")


async def test_nobody_pushes_to_a_name_of_the_network(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.node.publish("acme-9-py3-none-any.whl", b"published")
        answer = await here.push(await here.token(), WHEEL, DATA)
        assert (answer.status_code, answer.reason_phrase) == (
            409,
            "acme is a package of the network: nobody pushes to it",
        )
        assert nothing_is_kept(here, tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {":action": "submit"},
        {":action": None},
        {"protocol_version": "2"},
        {"name": "../acme"},
        {"name": None},
        {"name": "other"},
        {"version": "2.0"},
        {"version": "not a version"},
        {"version": None},
        {"filetype": "sdist"},
        {"filetype": "bdist_egg"},
        {"attestations": "{"},
        {"attestations": '{"a":1}'},
        {"attestations": "[" * 20_000},
    ],
    ids=str,
)
async def test_a_form_that_does_not_fit_its_file_is_a_400(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with place(tmp_path) as here:
        answer = await here.push(await here.token(), WHEEL, DATA, **fields)
        assert answer.status_code == 400, answer.text
        assert answer.reason_phrase not in ("", "Bad Request")
        assert nothing_is_kept(here, tmp_path)


@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("acme-1.0-py3-none-any.whl", b"no zip at all"),
        ("acme-1.0-py3-none-any.whl", toy_wheel("other", "1.0")[1]),
        ("acme-1.0-py3-none-any.whl", toy_wheel("acme", "1.1")[1]),
        ("acme-1.0.exe", b"MZ"),
        ("acme-1.0.whl", DATA),
        ("..-1.0-py3-none-any.whl", DATA),
    ],
)
async def test_a_file_that_is_not_what_its_name_says_leaves_nothing(
    tmp_path: Path, filename: str, data: bytes
) -> None:
    async with place(tmp_path) as here:
        answer = await here.push(await here.token(), filename, data, name="acme", version="1.0")
        assert answer.status_code == 400, answer.text
        assert nothing_is_kept(here, tmp_path)


@pytest.mark.parametrize("name", ["sha256_digest", "blake2_256_digest", "md5_digest"])
async def test_a_digest_that_does_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    async with place(tmp_path) as here:
        answer = await here.push(await here.token(), WHEEL, DATA, **{name: "ab" * 32})
        assert answer.status_code == 422
        assert answer.text.startswith(
            f"the file that arrived has another {name.removesuffix('_digest')} than"
        )
        assert nothing_is_kept(here, tmp_path)


async def test_attestations_are_kept_and_believed_by_nobody(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        answer = await here.push(await here.token(), WHEEL, DATA, attestations='[{"version":1}]')
        (row,) = here.supply.local.rows("pkg:pypi/acme")
        page = await here.page("acme")
    assert answer.status_code == 200
    assert row.more["attestations"] == '[{"version":1}]'
    assert "provenance" not in page["files"][0]
    assert "attestations" not in str(page)


async def test_two_uploads_of_one_file_do_not_overtake_each_other(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        token = await here.token()
        begun = trio.Event()
        codes: list[int] = []

        async def slow() -> None:
            body = _body({":action": "file_upload", "name": "acme", "version": "1.0"}, WHEEL, DATA)

            async def pieces() -> Any:
                yield body[:-50]
                while not begun.is_set():
                    await begun.wait()
                yield body[-50:]

            headers = {**basic(token), "content-type": "multipart/form-data; boundary=b"}
            codes.append(
                (await here.client.post("/pypi/legacy/", content=pieces(), headers=headers)).status_code
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            with bounded():
                while not any((tmp_path / "local" / "partial").iterdir()) and not here.supply.local._uploads:  # type: ignore[attr-defined] # the real shelf
                    await trio.lowlevel.checkpoint()
            second = await here.push(token, WHEEL, toy_wheel("acme", "1.0", ("x",))[1])
            begun.set()

    assert (second.status_code, second.reason_phrase) == (409, f"{WHEEL} is being uploaded")
    assert codes == [200]


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    body = _body({":action": "file_upload", "name": "acme", "version": "1.0"}, WHEEL, DATA + b"x" * 300_000)
    async with place(tmp_path) as here:
        head = (
            f"POST /pypi/legacy/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\n"
            f"Authorization: {basic(await here.token())['authorization']}\r\n\r\n"
        )
        url = httpx.URL(here.url)
        stream = await trio.open_tcp_stream(url.host, url.port or 0)
        await stream.send_all(head.encode() + body[:-1000])
        with bounded():
            while not any((tmp_path / "local" / "partial").iterdir()):
                await trio.lowlevel.checkpoint()
            await stream.aclose()
            while not nothing_is_kept(here, tmp_path):
                await trio.lowlevel.checkpoint()
        assert (await here.push(await here.token(), WHEEL, DATA)).status_code == 200


# -- forms --


def _body(fields: dict[str, str], filename: str, data: bytes, boundary: str = "b") -> bytes:
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    return parts + head.encode() + data + f"\r\n--{boundary}--\r\n".encode()


def read(
    body: bytes, cuts: list[int], kind: bytes = b"multipart/form-data; boundary=b"
) -> tuple[Form, bytes]:
    form = Form(kind, {"name": 20, "note": 100}, "content")
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    pieces = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    return form, b"".join(form.feed(piece) for piece in pieces)


@given(
    data=st.binary(max_size=200)
    | st.lists(st.sampled_from([b"\r\n", b"--b", b"-", b"\r", b"\n", b"--"])).map(b"".join),
    cuts=st.lists(st.integers(0, 1_000), max_size=30),
)
def test_a_form_in_any_pieces_gives_the_same_fields_and_the_same_file(data: bytes, cuts: list[int]) -> None:
    if b"\r\n--b" in b"\r\n" + data:
        data = data.replace(b"--b", b"--c")
    form, found = read(_body({"name": "acme", "more": "dropped", "note": "x"}, "a.whl", data), cuts)
    assert (form.fields, form.filename, form.whole) == ({"name": "acme", "note": "x"}, "a.whl", True)
    assert found == data


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_noise_is_a_refusal_or_no_form(noise: bytes, cuts: list[int]) -> None:
    with suppress(Refusal):  # and nothing else
        form, _ = read(noise, cuts)
        assert not (form.whole and form.filename)


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"text/plain",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"x" * 300,
    ],
)
def test_a_body_that_is_announced_as_no_form_is_refused(kind: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        Form(kind, {}, "content")
    assert caught.value.code == "bad-request"


def test_every_bound_of_a_form_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTS", Limit(5, "a test"))
    monkeypatch.setattr(module, "TOLD_BYTES", Limit(50, "a test"))
    two = _body({}, "a", b"1").removesuffix(b"--\r\n") + b"\r\n" + _body({}, "b", b"2")
    late = _body({}, "a", b"1").removesuffix(b"--b--\r\n") + _body({"name": "n"}, "b", b"2")
    for body, code in (
        (_body({str(number): "" for number in range(6)}, "a", b""), "too-large"),
        (_body({"more": "x" * 51}, "a", b""), "too-large"),
        (_body({"name": "x" * 21}, "a", b""), "too-large"),
        (_body({}, "", b""), "bad-request"),
        (two, "bad-request"),
        (late, "bad-request"),
    ):
        with pytest.raises(Refusal) as caught:
            read(body, [])
        assert caught.value.code == code
