"""Webhooks over a real log and a real HTTP server: who is called with what, and what the other side may do to us."""

import hashlib
import hmac
import json
import logging
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from pyrsia.config import Webhook
from pyrsia.errors import Refusal, Unavailable
from pyrsia.knowledge import calling
from pyrsia.node.knowledge import webhooks
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.knowledge.webhook_settings import read_webhooks
from pyrsia.node.knowledge.webhooks import Webhooks
from pyrsia.node.pulse import Pulse
from pyrsia.store import layout
from pyrsia.store.rocks import Batch
from pyrsia.units import Limit
from tests.reference.waiting import bounded, until
from tests.reference.words import Words
from tests.unit.builds.outbound.upstream import serving

ROOT = Path(__file__).parents[4]
SECRET = "a secret of thirty-two characters"
PATH = "/services/T0P-53CR37"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(calling, "FIRST_REST_S", Limit(0, "a test's"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


class Node:
    """What webhooks need of one."""

    def __init__(self, folder):
        self.folder, self.world, self.pulse = folder, Words(folder), Pulse()
        (folder / "secret").write_text(SECRET + "\n")
        self.told = Telling(self.world.archive, self.world.genesis, self.pulse)

    def say(self, *what):
        """Facts in a block of their own."""
        for who, kind, subject, variant in what:
            self.world.say(who, kind, subject, variant)
        self.world.seal()
        self.pulse.beat()

    def hooks(self, *settings, database=None):
        return Webhooks(
            read_webhooks(settings, self.folder),
            self.told,
            network="toy",
            size=lambda: self.world.archive.size,
            database=database or self.world.database,
            pulse=self.pulse,
            clock=lambda: self.world.time / 1_000,
            chance=lambda: 0.5,
        )

    def leaves(self, kind="advisory"):
        return [at for at, raw in enumerate(self.world.leaves) if b'"kind":"%s"' % kind.encode() in raw]


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    made.say((0, "review", "pkg:pypi/idna", 0))
    yield made
    made.world.close()


def hook(server, **more):
    return Webhook(server.url + PATH, private=True, **more)


@asynccontextmanager
async def running(hooks):
    with bounded(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hooks.run)
            yield
            nursery.cancel_scope.cancel()


def got(server):
    """Leaves of each call, in order."""
    return [[one["leaf"] for one in json.loads(body)["facts"]] for _, _, _, body in server.asked]


def answers(server, status, body=b"", **headers):
    server.pages[PATH] = (status, headers, body)


async def test_what_is_said_is_told_signed_and_once(node):
    node.say((0, "advisory", "pkg:pypi/idna", 1))
    async with serving() as server:
        answers(server, 204)
        hooks = node.hooks(hook(server, secret_file="secret"))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/other", 2), (1, "licence", "pkg:pypi/other", 1))
            await until(lambda: hooks.told().webhooks[0].delivered == 1)
            node.say((1, "advisory", "pkg:pypi/idna@1.0", 0))
            await until(lambda: hooks.told().webhooks[0].delivered == 2)

    assert got(server) == [[leaf] for leaf in node.leaves()[1:]]  # what was said before it came is history
    method, target, headers, body = server.asked[0]
    assert (method, target) == ("POST", PATH)
    assert headers["content-type"] == "application/json"
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-pyrsia-signature"] == f"sha256={expected}"
    call = json.loads(body)
    assert (call["network"], call["next"]) == ("toy", json.loads(body)["facts"][-1]["leaf"] + 3)
    fact = call["facts"][0]
    assert (fact["kind"], fact["subject"], fact["state"]) == ("advisory", "pkg:pypi/other", "stands")
    assert fact["body"]["advisory"] == "CVE-2"
    assert len({headers["x-pyrsia-delivery"] for _, _, headers, _ in server.asked}) == 2


async def test_what_is_taken_back_is_told_to_whom_it_was_told(node):
    async with serving() as server:
        answers(server, 204)
        hooks = node.hooks(
            hook(server, severity="high"), Webhook(f"{server.url}/none", ("licence",), private=True)
        )
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0), (1, "advisory", "pkg:pypi/other", 1))  # low, high
            for _ in range(2):  # both of them
                node.world.end(1)
            node.world.seal()
            node.pulse.beat()
            await until(lambda: all(one.behind == 0 for one in hooks.told().webhooks))
    rows = [one for _, _, _, body in server.asked for one in json.loads(body)["facts"]]
    assert [one["subject"] for one in rows] == ["pkg:pypi/other"] * 2
    assert rows[0]["ended"] is None
    assert rows[1]["ended"] == rows[0]["body"]
    assert rows[1]["body"]["withdrawn"]


async def test_one_that_fails_is_called_again_with_the_same_call_and_then_told_the_rest(node):
    async with serving() as server:
        answers(server, 503)
        hooks = node.hooks(hook(server))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: len(server.asked) >= 4)
            node.say((0, "advisory", "pkg:pypi/other", 1))
            [row] = hooks.told().webhooks
            assert (row.state, row.trouble, row.delivered) == ("failing", "503", 0)
            [notice] = hooks.notices()
            assert notice.startswith(f"webhook {server.url} has not answered since 20")
            assert notice.endswith("UTC: 503")
            answers(server, 200, b"ok")
            await until(lambda: hooks.told().webhooks[0].delivered == 2)
            assert hooks.notices() == []
    first, second = node.leaves()
    assert got(server) == [[first]] * (len(server.asked) - 1) + [[second]]
    assert len({headers["x-pyrsia-delivery"] for _, _, headers, _ in server.asked}) == 2
    assert "x-pyrsia-signature" not in server.asked[0][2]


async def test_after_a_restart_it_goes_on_where_it_was_with_the_same_call(node):
    async with serving() as server:
        answers(server, 500)
        async with running(node.hooks(hook(server))):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: server.asked)
        node.say((0, "advisory", "pkg:pypi/other", 1))
        answers(server, 200)
        before = len(server.asked)
        hooks = node.hooks(hook(server))
        async with running(hooks):
            await until(lambda: hooks.told().webhooks[0].delivered == 2)
        first, second = node.leaves()
        assert got(server)[before:] == [[first], [second]]
        deliveries = [headers["x-pyrsia-delivery"] for _, _, headers, _ in server.asked]
        assert deliveries[before] == deliveries[0]

        hooks = node.hooks(hook(server))
        async with running(hooks):
            await told_all(hooks)
        assert len(server.asked) == before + 2


async def test_since_names_where_a_new_one_begins_and_one_that_left_begins_anew(node):
    node.say((0, "advisory", "pkg:pypi/idna", 0))
    node.say((0, "advisory", "pkg:pypi/other", 1))
    first, second = node.leaves()
    async with serving() as server:
        answers(server, 200)
        for _ in range(2):
            hooks = node.hooks(hook(server, since=first))
            async with running(hooks):
                await told_all(hooks)
            assert got(server) == [[second]]
        assert len(node.world.database.scan(layout.MISC, b"webhook/", 10, before=b"webhook/\xff")) == 1
        assert node.hooks().told().webhooks == ()
        assert not node.world.database.scan(layout.MISC, b"webhook/", 10, before=b"webhook/\xff")
        hooks = node.hooks(hook(server, since=0, kinds=()))
        async with running(hooks):
            await told_all(hooks)
    assert [leaf for call in got(server)[1:] for leaf in call] == sorted(
        node.leaves() + node.leaves("review")
    )


@pytest.mark.parametrize(("minutes", "told"), [(9, True), (11, False)])
async def test_what_a_node_had_not_yet_when_its_webhook_came_is_new_if_it_is_of_ten_minutes_before(
    node, minutes, told
):
    said_ms = node.world.time
    async with serving() as server:
        answers(server, 200)
        node.world.time += minutes * 60_000
        hooks = node.hooks(hook(server))
        node.world.time = said_ms
        async with running(hooks):
            await told_all(hooks)
            node.say((0, "advisory", "pkg:pypi/idna", 0))  # the log had it before; this node gets it now
            await told_all(hooks)
    assert got(server) == ([node.leaves()] if told else [])


async def test_a_redirect_a_flood_and_silence_are_no_answer_that_hurts(node, monkeypatch):
    monkeypatch.setattr(webhooks, "ANSWER_S", Limit(0.1, "a test's"))
    async with serving() as server, serving() as other:
        answers(server, 307, location=other.url + PATH)
        hooks = node.hooks(hook(server))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: "redirects are not followed" in hooks.told().webhooks[0].trouble)
            answers(server, 200, b"x" * (8 << 20))
            await until(lambda: hooks.told().webhooks[0].delivered == 1)
        assert other.asked == []

    for talk, state, patience_s in ((_promising, "told", 60), (_silent, "failing", 0.3)):
        monkeypatch.setattr(webhooks, "PATIENCE_S", Limit(patience_s, "a test's"))
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, talk, listeners)
            hooks = node.hooks(Webhook(f"http://127.0.0.1:{port}/", private=True))
            async with running(hooks):
                node.say((0, "advisory", "pkg:pypi/idna", 2))
                row = await said(hooks)
            assert row.state == state
            assert row.trouble in ("", "no answer within 0.3 s", "it did not answer in time")
            nursery.cancel_scope.cancel()


async def told_all(hooks):
    await until(lambda: hooks.told().webhooks[0].behind == 0)


async def said(hooks):
    """Its row, once it was called."""
    await until(lambda: any(one.failures or one.delivered for one in hooks.told().webhooks))
    return hooks.told().webhooks[0]


async def _promising(stream):
    """Says yes, and promises a gigabyte that never comes."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nyes")
    await trio.sleep_forever()


async def _silent(_):
    await trio.sleep_forever()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 999 \xff\xfe\r\nretry-after: \xff99999999999999999999\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 no\r\nretry-after: Thu, 99 Foo 99999 99:99:99\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 no\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 300 no\r\nlocation: \x00\x01\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 no\r\n" + b"x: " + b"y" * 300_000,
        b"\x15\x03\x01\x00\x02\x02\x16" * 100,
    ],
)
async def test_whatever_a_receiver_answers_the_next_call_is_made(node, raw):
    first = [raw]

    async def talk(stream):
        await stream.receive_some(65_536)
        with suppress(trio.BrokenResourceError):
            yes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\nno chunk"
            await stream.send_all(first.pop() if first else yes)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        hooks = node.hooks(Webhook(f"http://127.0.0.1:{port}/", private=True))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 1))
            await until(lambda: hooks.told().webhooks[0].delivered == 1)
        nursery.cancel_scope.cancel()
    assert first == []


async def test_one_that_is_gone_is_told_to_the_operator_and_called_no_more(node):
    async with serving() as server:
        answers(server, 410)
        hooks = node.hooks(hook(server))
        with bounded(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hooks.run)
                await until(lambda: hooks.told().webhooks[0].state == "told")
                node.say((0, "advisory", "pkg:pypi/idna", 0))
                await until(lambda: hooks.told().webhooks[0].state == "stopped")
        assert len(server.asked) == 1
        assert hooks.notices() == [
            f"webhook {server.url} answered 410: it is told of nothing more until this node restarts"
        ]


async def test_a_dead_one_holds_up_nobody_and_no_secret_is_written_anywhere(node, caplog):
    caplog.set_level(logging.DEBUG, logger="pyrsia")
    async with serving() as server:
        answers(server, 200)
        dead = Webhook("http://127.0.0.1:1" + PATH + "?token=T0K3N", private=True, secret_file="secret")
        hooks = node.hooks(dead, hook(server))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: hooks.told().webhooks[1].delivered == 1)
            await until(lambda: hooks.notices())
        rows = hooks.told().webhooks
        assert rows[0].state == "failing"
        assert rows[0].signed
        assert "T0K3N" not in repr(rows)
    said = caplog.text + "".join(hooks.notices()) + rows[0].trouble
    assert "webhook http://127.0.0.1:1 did not take a call" in said
    for secret in (SECRET, "T0P-53CR37", "T0K3N"):
        assert secret not in said


async def test_a_name_that_leads_into_a_private_network_is_not_called(node, monkeypatch):
    async def resolve(*_, **__):
        return [(2, 1, 6, "", ("127.0.0.1", server.port))]

    async with serving() as server:
        monkeypatch.setattr(trio.socket, "getaddrinfo", resolve)
        hooks = node.hooks(Webhook(f"https://rebinding.example:{server.port}/"))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: hooks.told().webhooks[0].failures >= 1)
        assert "private or link-local address" in hooks.told().webhooks[0].trouble
        assert server.asked == []


async def test_a_fault_with_one_ends_neither_the_node_nor_the_others_and_is_tried_again(
    node, monkeypatch, caplog
):
    whole, faults = Webhooks.page, []

    async def page(self, one, first):
        if "bad" in one.target.url and len(faults) < 2:
            faults.append(first)
            raise UnicodeError("label empty or too long")
        return await whole(self, one, first)

    monkeypatch.setattr(Webhooks, "page", page)
    async with serving() as server:
        answers(server, 204)
        server.pages["/bad"] = (204, {}, b"")
        hooks = node.hooks(Webhook(f"{server.url}/bad", private=True), hook(server))
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: all(one.delivered == 1 for one in hooks.told().webhooks))
        assert {one.state for one in hooks.told().webhooks} == {"told"}
    assert len(faults) == 2
    assert "met a fault of ours" in caplog.text


async def test_a_disk_that_takes_nothing_costs_calls_that_come_twice(node):
    class Full:
        def __getattr__(self, name):
            return getattr(node.world.database, name)

        def write(self, batch):
            raise Unavailable("no space left on device")

    async with serving() as server:
        answers(server, 200)
        node.hooks(hook(server))
        hooks = node.hooks(hook(server), database=Full())
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 0))
            await until(lambda: hooks.told().webhooks[0].delivered == 1)
        hooks = node.hooks(hook(server))
        async with running(hooks):
            await until(lambda: hooks.told().webhooks[0].delivered == 1)
    assert got(server) == [node.leaves()] * 2


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"url": "https://user:pw@hooks.example/"}, "user name or password"),
        ({"url": "http://hooks.example/"}, "use https"),
        ({"url": "http://8.8.8.8/", "private": True}, "use https"),
        ({"url": "https://127.0.0.1/"}, "private = true"),
        ({"url": "https://localhost/"}, "private = true"),
        ({"url": "https://[::1]/"}, "private = true"),
        ({"url": "https://169.254.169.254/"}, "private = true"),
        ({"url": "https://2130706433/"}, "private = true"),
        ({"url": "https://hooks.example/#x"}, "fragment"),
        ({"url": "https://hooks.example/a b"}, "a space"),
        ({"url": "ftp://hooks.example/"}, "neither http nor https"),
        ({"url": "hooks.example"}, "neither http nor https"),
        ({"url": "https://hooks..example/x"}, "empty or too long"),
        ({"url": f"https://{'a' * 64}.example/x"}, "empty or too long"),
        ({"url": "https://hooks.example/", "kinds": ("rumour",)}, "no kind of fact"),
        ({"url": "https://hooks.example/", "packages": ("idna",)}, "package pattern"),
        ({"url": "https://hooks.example/", "secret_file": "nowhere"}, "cannot be read"),
        ({"url": "https://hooks.example/", "secret_file": "short"}, "less than 16 bytes"),
        ({"url": "https://hooks.example/", "secret_file": "long"}, "more than 4096 bytes"),
        ({"url": "https://hooks.example/", "secret_file": "."}, "cannot be read"),
    ],
)
def test_a_webhook_that_may_not_be_is_refused_with_a_sentence(tmp_path, settings, word):
    (tmp_path / "short").write_text("  secret  ")
    (tmp_path / "long").write_text("x" * 5_000)
    with pytest.raises(Refusal, match="webhook 2 is not valid") as caught:
        read_webhooks([Webhook("https://one.example/"), Webhook(**settings)], tmp_path)
    assert caught.value.code == "config-invalid"
    assert word in caught.value.what
    assert "pw" not in caught.value.what


def test_one_url_stands_there_once(tmp_path):
    with pytest.raises(Refusal, match="twice"):
        read_webhooks([Webhook("https://one.example/")] * 2, tmp_path)


def test_a_place_that_cannot_be_read_begins_at_the_end(node):
    settings = Webhook("https://one.example/")
    assert node.hooks(settings).told().webhooks[0].next == node.world.archive.size
    [(key, _)] = node.world.database.scan(layout.MISC, b"webhook/", 10, before=b"webhook/\xff")
    node.world.database.write(Batch().put(layout.MISC, key, b"\xc1"))
    assert node.hooks(settings).told().webhooks[0].next == node.world.archive.size


async def test_the_receiver_of_the_documentation_takes_calls_and_refuses_forged_ones(
    node, monkeypatch, capsys
):
    section = (ROOT / "docs" / "knowledge.md").read_text().partition("\n## Webhooks\n")[2]
    code = section.partition("```python\n")[2].partition("```")[0].rpartition("\nHTTPServer(")[0]
    monkeypatch.chdir(node.folder)
    found = {}
    exec(compile(code, "docs/knowledge.md", "exec"), found)  # noqa: S102 (our own documentation)
    server = found["HTTPServer"](("127.0.0.1", 0), found["Receiver"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        hooks = node.hooks(
            Webhook(url, private=True, secret_file="secret"), Webhook(url + "forged", private=True)
        )
        async with running(hooks):
            node.say((0, "advisory", "pkg:pypi/idna", 1))
            await until(lambda: hooks.told().webhooks[0].delivered == 1)
            await until(lambda: hooks.told().webhooks[1].trouble == "403")
    finally:
        await trio.to_thread.run_sync(server.shutdown)
        server.server_close()
        thread.join()
    assert capsys.readouterr().out == f"{node.leaves()[0]} pkg:pypi/idna CVE-1 high said\n"
