"""Tokens and pushes on real nodes: made over the socket, used by an unchanged client, kept through kill -9."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.serve.toy import toy_wheel

pytestmark = pytest.mark.processes


def pyrsia(node, *words):
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", *words, "--node", str(node.data), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def answer(node, path, token, data=None, kind="application/json"):
    """The answer over TCP, with a token as password."""
    auth = ("any", token) if token else None
    headers = {"accept": "application/vnd.pypi.simple.v1+json, */*"}
    with httpx.Client(base_url=node.http, auth=auth, headers=headers, timeout=30) as client:
        if data is None:
            return client.get(path)
        return client.post(path, content=data, headers={"content-type": kind})


def push(node, token, filename, data):
    return answer(node, "/pypi/legacy/", token, form(filename, data), "multipart/form-data; boundary=b")


def form(filename, data, **fields):
    told = {":action": "file_upload", "name": "acme", "version": "1.0", **fields}
    head = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in told.items()
    )
    head += f'--b\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    return head.encode() + data + b"\r\n--b--\r\n"


def blob_names(node):
    return {path.name for path in (Path(node.data) / "blobs").rglob("*") if path.is_file()}


def test_an_acknowledged_push_is_there_after_kill_9_and_nowhere_else(network):
    node, other = network.follower, network.nodes[0]
    filename, data, _ = toy_wheel("acme", "1.0")
    made = pyrsia(node, "keys", "token", "--scope", "push", "--package", "pkg:pypi/acme", "--name", "ci")
    token = made["token"]
    motion = answer(node, "/api/v1/motions", token, b'{"motion":{}}')
    pushed = push(node, token, filename, data)
    network.kill(node)
    network.start(node)
    network.wait_ready(node)

    (file,) = answer(node, "/pypi/simple/acme/", "").json()["files"]
    got = answer(node, f"/pypi/simple/acme/{file['url']}", "")
    again = push(node, token, filename, data)
    listed = pyrsia(node, "keys", "token", "list")
    pyrsia(node, "keys", "token", "revoke", "ci")
    revoked = push(node, token, filename, data)

    assert motion.status_code == 403
    assert pushed.status_code == 200, pushed.text
    assert got.content == data
    assert again.status_code == 200
    assert [(one["name"], one["scope"], one["package"]) for one in listed["tokens"]] == [
        ("ci", "push", "pkg:pypi/acme")
    ]
    assert token not in json.dumps(listed)
    assert revoked.status_code == 401
    # It is this node's alone: not among the bytes that peers are offered, and no other node knows the name.
    assert file["hashes"]["sha256"] not in blob_names(node)
    assert answer(other, "/pypi/simple/acme/", "").status_code == 404
