"""Files on their way: exact bytes or a cut, gone on with after a break, ended when nobody wants them."""

import os

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pyrsia.errors import PyrsiaError, Refusal, Unavailable
from pyrsia.node.upstream import downloading, files
from pyrsia.units import CHUNK_BYTES, Limit
from tests.reference.waiting import bounded, until
from tests.unit.node.upstream.toy import in_front, listening, plain, sha256, whole

pytestmark = pytest.mark.usefixtures("bare_environment")
JAR = "org/acme/lib/1.0/lib-1.0.jar"
TARGET = f"/m2/{JAR}"
LIB = "pkg:maven/org.acme/lib"
BIG = os.urandom(3 * CHUNK_BYTES.value)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(downloading, "RESUME_S", Limit(0, "a test"))


@pytest.fixture
async def up():
    async with listening() as found:
        yield found


@pytest.fixture
async def front(up, tmp_path):
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}) as found:
        yield found


def left(tmp_path):
    """What of a download is still on disk."""
    return list((tmp_path / "proxied" / "partial").iterdir())


async def test_a_reader_has_the_beginning_before_the_end_has_come(up, front):
    go_on = trio.Event()

    async def in_two(stream, _):
        said = plain(BIG)
        await stream.send_all(said[:-10])
        await go_on.wait()
        await stream.send_all(said[-10:])

    up.says[TARGET] = in_two
    arriving = await front.proxy.file(LIB, JAR)
    ready = await arriving.ready(0)
    with arriving.path.open("rb") as file:
        begun = file.read(ready)
    assert 0 < ready <= len(BIG) - CHUNK_BYTES.value
    assert begun == BIG[:ready]
    assert front.proxy.kept(LIB, JAR) is None
    go_on.set()
    assert await whole(arriving) == BIG


@pytest.mark.parametrize("wrong", ["sha256", "sha512"])
async def test_bytes_that_are_not_what_they_must_be_never_become_whole(up, front, tmp_path, wrong):
    up.says[TARGET] = plain(BIG)
    digest = "0" * (64 if wrong == "sha256" else 128)
    arriving = await front.proxy.file(LIB, JAR, **{wrong: digest})
    with pytest.raises(Unavailable, match="another digest"):
        await whole(arriving)

    assert front.proxy.kept(LIB, JAR) is None
    assert front.counters.refused == 1
    await until(lambda: not left(tmp_path))
    assert await whole(await front.proxy.file(LIB, JAR, sha256=sha256(BIG))) == BIG


@pytest.mark.parametrize(
    ("said", "length"),
    [(BIG[:-1], len(BIG)), (BIG[:5], len(BIG)), (b"", 7)],
)
async def test_a_body_that_ends_early_is_cut_and_not_kept(up, front, tmp_path, said, length):
    async def short(stream, _):
        await stream.send_all(plain(said, length=length))
        await stream.aclose()

    up.says[TARGET] = short
    arriving = await front.proxy.file(LIB, JAR)
    with pytest.raises(Unavailable):
        await whole(arriving)

    assert front.proxy.kept(LIB, JAR) is None
    await until(lambda: not left(tmp_path))


async def test_a_break_is_gone_on_with_by_a_range_of_the_same_file(up, front):
    breaks = [1_000, 300_000, 300_001]

    async def breaking(stream, asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        head = {"etag": '"v1"'} | (
            {"content_range": f"bytes {start}-{len(BIG) - 1}/{len(BIG)}"} if start else {}
        )
        status = "206 Partial Content" if start else "200 OK"
        said = plain(BIG[start:], status, **head)
        if breaks:
            end = breaks.pop(0) - start + len(said) - len(BIG) + start
            await stream.send_all(said[:end])
            await stream.aclose()
        else:
            await stream.send_all(said)

    up.says[TARGET] = breaking
    assert await whole(await front.proxy.file(LIB, JAR)) == BIG
    assert [one.headers.get("range") for one in up.asked] == [
        None, "bytes=1000-", "bytes=300000-", "bytes=300001-"
    ]  # fmt: skip
    assert {one.headers.get("if-range") for one in up.asked[1:]} == {'"v1"'}


@pytest.mark.parametrize(
    "rest",
    [
        plain(BIG),
        plain(BIG[1_000:], "206 Partial Content", content_range=f"bytes 1000-{len(BIG) - 1}/{len(BIG)}", etag='"v2"'),
        plain(BIG[1_000:], "206 Partial Content", content_range=f"bytes 999-{len(BIG) - 2}/{len(BIG)}", etag='"v1"'),
        plain(BIG[1_000:], "206 Partial Content", content_range=f"bytes 1000-{len(BIG)}/{len(BIG) + 1}", etag='"v1"'),
        plain(BIG[1_000:], "206 Partial Content", etag='"v1"'),
        plain(b"", "404 Not Found"),
    ],
    ids=["whole again", "another file", "another place", "another length", "no range", "gone"],
)  # fmt: skip
async def test_what_is_not_the_rest_of_the_same_file_is_not_put_behind_it(up, front, rest):
    async def breaking(stream, asked):
        if "range" in asked.headers:
            await stream.send_all(rest)
            return
        said = plain(BIG, etag='"v1"')
        await stream.send_all(said[: 1_000 - len(BIG)])
        await stream.aclose()

    up.says[TARGET] = breaking
    arriving = await front.proxy.file(LIB, JAR)
    with pytest.raises(Unavailable):
        await whole(arriving)

    assert front.proxy.kept(LIB, JAR) is None


async def test_without_a_validator_only_an_expected_digest_lets_it_go_on(up, front):
    async def breaking(stream, asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        if not start:
            await stream.send_all(plain(BIG)[: 1_000 - len(BIG)])
            await stream.aclose()
            return
        span = f"bytes {start}-{len(BIG) - 1}/{len(BIG)}"
        await stream.send_all(plain(BIG[start:], "206 Partial Content", content_range=span))

    up.says[TARGET] = breaking
    with pytest.raises(Unavailable):
        await whole(await front.proxy.file(LIB, JAR))
    assert len(up.asked) == 1
    assert await whole(await front.proxy.file(LIB, JAR, sha256=sha256(BIG))) == BIG


async def test_a_file_without_a_length_is_given_when_it_is_whole(up, front):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (BIG[:7], BIG[7:])) + b"0\r\n\r\n"
    up.says[TARGET] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    arriving = await front.proxy.file(LIB, JAR)

    assert (arriving.size, arriving.sha256) == (len(BIG), sha256(BIG))
    assert await whole(arriving) == BIG


async def test_an_endless_body_ends_at_the_quota(up, tmp_path):
    async def endless(stream, _):
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    up.says[TARGET] = endless
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}, quota=40 << 20) as front:
        with pytest.raises(Refusal) as caught:
            await front.proxy.file(LIB, JAR)
        assert caught.value.code == "too-large"
        await until(lambda: not left(tmp_path))
        assert front.copies.used == 0
        (await front.copies.room(40 << 20)).drop()


async def test_a_length_beyond_the_quota_is_refused_before_a_byte_is_written(up, front, tmp_path):
    async def huge(stream, _):
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000000\r\n\r\nx")
        await trio.sleep_forever()

    up.says[TARGET] = huge
    with pytest.raises(Refusal) as caught:
        await front.proxy.file(LIB, JAR)

    assert caught.value.code == "too-large"
    assert left(tmp_path) == []


async def test_a_drip_counts_as_a_broken_line(up, front, monkeypatch):
    monkeypatch.setattr(downloading, "WINDOW_S", Limit(0, "a test"))

    async def dripping(stream, _):
        await stream.send_all(plain(BIG)[: 500 - len(BIG)])
        await trio.sleep_forever()

    up.says[TARGET] = dripping
    with pytest.raises((Unavailable, Refusal), match="bytes in 0 s"):
        await whole(await front.proxy.file(LIB, JAR))


async def test_when_the_last_reader_has_left_the_download_ends(up, front, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LINGER_S", Limit(0, "a test"))
    gone = trio.Event()

    async def slowly(stream, _):
        await stream.send_all(plain(BIG)[:-5])
        await stream.receive_some(1)  # which comes back when the other side is gone
        gone.set()

    up.says[TARGET] = slowly
    one, two = await front.proxy.file(LIB, JAR), await front.proxy.file(LIB, JAR)
    one.close()
    await wait_all_tasks_blocked()
    assert not gone.is_set()
    assert await two.ready(0) > 0
    two.close()
    two.close()
    with bounded():
        await gone.wait()
    await until(lambda: not left(tmp_path))
    assert len(up.asked) == 1


async def test_one_that_comes_back_soon_finds_it_going_on(up, front):
    go_on = trio.Event()

    async def slowly(stream, _):
        await stream.send_all(plain(BIG)[:-5])
        await go_on.wait()
        await stream.send_all(BIG[-5:])

    up.says[TARGET] = slowly
    first = await front.proxy.file(LIB, JAR)
    await first.ready(0)
    first.close()
    await wait_all_tasks_blocked()
    second = await front.proxy.file(LIB, JAR)
    go_on.set()

    assert await whole(second) == BIG
    assert len(up.asked) == 1


async def test_who_asks_and_leaves_before_an_answer_leaves_nothing_behind(up, front, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "LINGER_S", Limit(0, "a test"))
    gone = trio.Event()

    async def silent(stream, _):
        await stream.receive_some(1)
        gone.set()

    up.says[TARGET] = silent
    with trio.move_on_after(5) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.proxy.file, LIB, JAR)
            await until(lambda: up.asked)
            nursery.cancel_scope.cancel()
    with bounded():
        await gone.wait()
    assert not scope.cancelled_caught
    assert left(tmp_path) == []


async def test_a_file_that_is_read_is_not_evicted_and_one_that_is_not_goes(up, tmp_path):
    names = {number: f"org/acme/lib/{number}/lib-{number}.jar" for number in range(4)}
    for number, path in names.items():
        up.says[f"/m2/{path}"] = plain(bytes([number]) * 1_000)
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}, quota=2_500) as front:
        reading = await front.proxy.file(LIB, names[0])
        await reading.ready(0)
        with reading.path.open("rb"):
            await whole(await front.proxy.file(LIB, names[1]))
            await until(lambda: front.under_way == 1)
            front.later(100)
            await whole(await front.proxy.file(LIB, names[2]))
            assert front.proxy.kept(LIB, names[0]).read_bytes() == bytes(1_000)
            assert front.proxy.kept(LIB, names[1]) is None
        reading.close()


async def test_who_has_an_old_file_does_not_wait_for_a_silent_server(up, front, monkeypatch):
    monkeypatch.setattr(files, "UPSTREAM_PATIENCE_S", Limit(0, "a test"))
    path = "org/acme/lib/1-SNAPSHOT/lib-1-SNAPSHOT.jar"

    async def silent(stream, _):
        await trio.sleep_forever()

    up.says[f"/m2/{path}"] = plain(b"old")
    assert await whole(await front.proxy.file(LIB, path)) == b"old"
    front.later(601)
    up.says[f"/m2/{path}"] = silent

    assert await whole(await front.proxy.file(LIB, path)) == b"old"
    assert front.counters.stale == 1


async def test_the_disk_says_no_and_readers_are_cut(up, front, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloading.os, "pwrite", full)
    up.says[TARGET] = plain(BIG)
    with pytest.raises(Unavailable, match="cannot be written"):
        await whole(await front.proxy.file(LIB, JAR))
    monkeypatch.undo()
    assert await whole(await front.proxy.file(LIB, JAR)) == BIG


PIECES = st.lists(st.integers(1, 400), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 1_500),
    announced=st.one_of(st.none(), st.integers(0, 2_000)),
    cuts=PIECES,
    flip=st.booleans(),
    lie=st.sampled_from(["", "digest", "etag", "range", "status"]),
    known=st.booleans(),
)
def test_whatever_upstream_sends_a_reader_has_exact_bytes_or_a_cut(
    tmp_path_factory, size, announced, cuts, flip, lie, known
):
    """Lengths that lie, breaks anywhere, parts of other files, other bytes on the second try."""
    data = bytes(number % 251 for number in range(size))
    lengths = list(cuts)

    async def say(stream, asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        body = data[start:]
        if flip and start:
            body = bytes(255 - one for one in body)
        total = announced if announced is not None else size
        head = {"etag": '"1"' if lie != "etag" or not start else '"2"'}
        status = "200 OK"
        if start:
            at = start + (lie == "range")
            status = "206 Partial Content" if lie != "status" else "200 OK"
            head["content_range"] = f"bytes {at}-{total - 1}/{total}"
        said = plain(body, status, length=total - start if total >= start else 0, **head)
        if lengths:
            cut = len(said) - len(body) + lengths.pop(0)
            await stream.send_all(said[:cut])
        else:
            await stream.send_all(said)
        await stream.aclose()

    async def run():
        folder = tmp_path_factory.mktemp("any")
        async with listening() as up, in_front(folder, {"maven": (f"{up.url}/m2",)}) as front:
            up.says[TARGET] = say
            promised = {"sha256": "0" * 64 if lie == "digest" else sha256(data)} if known else {}
            try:
                found = await whole(await front.proxy.file(LIB, JAR, **promised))
            except PyrsiaError:
                assert front.proxy.kept(LIB, JAR) is None
            else:
                assert lie != "digest" or not known
                if known or not flip:
                    assert found == data[: len(found)]
                assert not known or found == data
                assert announced is None or len(found) == announced
                kept = front.proxy.kept(LIB, JAR)
                assert kept.read_bytes() == found
            assert front.copies.used == sum(one.stat().st_size for one in (folder / "proxied").glob("??/*"))

    trio.run(run)
