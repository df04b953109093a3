"""A node that answers with the real handlers over a real log, for commands that ask one."""

from types import SimpleNamespace
from urllib.parse import urlsplit

import trio
from starlette.requests import Request

from pyrsia.errors import ANSWERS, Refusal
from pyrsia.node.inspecting.search import Inspector
from pyrsia.serve.api.inspect import INSPECT_ROWS
from pyrsia.serve.http.connection import Message
from tests.reference.fakenode import FakeNode


class InspectedNode(FakeNode):
    """`world`: a `Kept` one. `work`: leaves that one answer looks at."""

    def __init__(self, world, *, work=20_000):
        super().__init__()
        inspector = Inspector(world.archive, world.genesis, clock=lambda: world.time / 1000, work=work)
        self.admin = SimpleNamespace(inspecting=inspector)
        node = self

        class Answers(dict):
            def get(self, path, default):
                rows = {row.path: row for row in INSPECT_ROWS}
                if path not in rows:
                    return default
                _, target, _, body = node.seen[-1]
                return node.answer(rows[path], target, body)

        self.answers = Answers()

    def answer(self, row, target, body):
        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {
            "type": "http",
            "method": row.method,
            "path": row.path,
            "query_string": urlsplit(target).query.encode(),
            "headers": [],
        }
        try:
            found = trio.run(row.handler, self.admin, Request(scope, receive))
        except Refusal as refusal:
            return ANSWERS[refusal.code].http, {"error": refusal.as_dict()}
        return 200, getattr(found, "body", found)
