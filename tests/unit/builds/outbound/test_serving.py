"""One connection with a hostile end: whatever it sends, it gets HTTP or a close, and nothing is raised."""

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.outbound.serving import BODY_BYTES, HEAD_BYTES, Asked, Reply, serve

GOOD = b"GET /central/a HTTP/1.1\r\nhost: 127.0.0.1:7999\r\n\r\n"
PIECES = st.one_of(
    st.sampled_from(
        [
            GOOD, GOOD[:20], b"POST /s/git-upload-pack HTTP/1.1\r\nhost: localhost\r\n", b"content-length: 3\r\n",
            b"\r\n",
            b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"expect: 100-continue\r\n", b"abc",
            b"host: x\r\n",
            b"connection: upgrade\r\nupgrade: h2c\r\n", b"HEAD /a/b HTTP/1.1\r\nhost: 127.0.0.1\r\n", b"\0" * 30,
            b"GET /" + b"a" * 20_000, b"x: " + b"y" * 5_000 + b"\r\n", b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        ]
    ),
    st.binary(max_size=30),
)  # fmt: skip


def talk(pieces, reply, *, ends=True, slowly=False):
    """(what came back, what was asked, what was refused) of one connection that sends `pieces`."""
    asked, refused, back = [], [], bytearray()

    async def answer(one):
        asked.append(one)
        return reply

    async def main():
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, server, answer, refused.append)
            nursery.start_soon(read, client)
            try:
                for piece in pieces:
                    await client.send_all(piece)
                    if slowly:
                        await trio.testing.wait_all_tasks_blocked()
                if ends:
                    await client.send_eof()
            except trio.BrokenResourceError:
                pass  # it has hung up

    async def read(client):
        try:
            while piece := await client.receive_some():
                back.extend(piece)
        except trio.BrokenResourceError:
            pass

    # Whoever says nothing more is waited for by a clock that jumps.
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return bytes(back), asked, refused


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=8), st.booleans())
def test_whatever_is_sent_the_answer_is_http_or_nothing(pieces, ends):
    back, asked, _ = talk(pieces, Reply(200, words="yes"), ends=ends)

    for one in asked:
        assert isinstance(one, Asked)
        assert one.method in ("GET", "HEAD", "POST")
        assert one.body == b"" or one.method == "POST"
        assert len(one.body) <= BODY_BYTES.value
    assert back == b"" or back.startswith(b"HTTP/1.1 ")
    assert back.count(b"HTTP/1.1 200 ") == len(asked)


def test_a_good_request_behind_good_ones_is_answered_and_a_bad_one_ends_it():
    back, asked, refused = talk([GOOD * 3, b"nonsense\r\n\r\n", GOOD], Reply(200, words="yes"))

    assert (back.count(b"HTTP/1.1 200 "), back.count(b"HTTP/1.1 400 "), len(asked)) == (3, 1, 3)
    assert len(refused) == 1


def test_a_head_and_a_body_have_bounds():
    head = talk([GOOD[:-2], b"x: " + b"y" * HEAD_BYTES.value], Reply(200))
    start = b"POST /s/git-upload-pack HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    body = talk([start, *[chunk] * 17], Reply(200))

    assert head[0].startswith(b"HTTP/1.1 431 ")
    assert body[0].startswith(b"HTTP/1.1 413 ")
    assert (head[1], body[1]) == ([], [])


def test_who_waits_to_be_let_in_is_let_in():
    start = b"POST /s/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
    back, asked, _ = talk([start, b"abc"], Reply(200, words="yes"), slowly=True)

    assert back.startswith(b"HTTP/1.1 100 ")
    assert [one.body for one in asked] == [b"abc"]


def test_a_file_that_is_gone_when_it_is_sent_ends_the_connection_and_nothing_else(tmp_path):
    back, asked, _ = talk([GOOD, GOOD], Reply(200, file=tmp_path / "gone", size=5))

    assert back.startswith(b"HTTP/1.1 200 ")
    assert len(asked) == 1


def test_a_file_that_is_shorter_than_it_said_ends_the_connection(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    back, asked, _ = talk([GOOD, GOOD], Reply(200, file=tmp_path / "short", size=5))

    assert back.endswith(b"abc")
    assert len(asked) == 1
