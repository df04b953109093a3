"""Hooks: real commands and a real port; no text of the log ever reaches a shell."""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pyrsia.audit.follow import Undelivered
from pyrsia.audit.outlets import ATTEMPTS, PAUSE_S, Command, Webhook
from pyrsia.errors import Refusal

EVIL = "$(touch pwned) `id` ; rm -rf x \n\x1b[31m\0 'quoted' \"twice\""
EVENT = {
    "event": "entry",
    "log": "test/abc",
    "index": 7,
    "type": "fact.add",
    "purls": ["pkg:pypi/a@1", "pkg:pypi/b"],
    "summary": EVIL,
    "leaf": EVIL,
    "time_ms": 5,
    "verdict": "",
}


@pytest.fixture
def slept():
    return []


def script(tmp_path, text):
    path = tmp_path / "a hook.py"
    path.write_text(text)
    return f"{sys.executable} '{path}' '$HOME' ';'"


def test_a_command_learns_the_event_and_no_shell_does(tmp_path, slept):
    out = tmp_path / "told"
    line = script(
        tmp_path,
        "import json, os, sys\n"
        "told = {'argv': sys.argv[1:], 'stdin': json.load(sys.stdin), 'env': dict(os.environ)}\n"
        f"open({str(out)!r}, 'w').write(json.dumps(told))\n",
    )
    Command(line, sleep=slept.append).send(EVENT)
    told = json.loads(out.read_text())
    assert told["argv"] == ["$HOME", ";"]
    assert told["stdin"] == EVENT
    assert told["env"]["PYRSIA_INDEX"] == "7"
    assert told["env"]["PYRSIA_PURLS"] == "pkg:pypi/a@1 pkg:pypi/b"
    assert told["env"]["PYRSIA_TROUBLE"] == ""
    assert "\\x1b[31m\\x00" in told["env"]["PYRSIA_SUMMARY"]
    assert "$(touch pwned)" in told["env"]["PYRSIA_SUMMARY"]
    assert not Path("pwned").exists()
    assert slept == []


def test_a_command_that_fails_is_run_again_and_then_undelivered(tmp_path, slept):
    count = tmp_path / "count"
    line = script(tmp_path, f"open({str(count)!r}, 'a').write('x'); raise SystemExit(3)")
    with pytest.raises(Undelivered, match="exit code 3"):
        Command(line, sleep=slept.append).send(EVENT)
    assert len(count.read_text()) == ATTEMPTS.value == len(PAUSE_S) + 1
    assert tuple(slept) == PAUSE_S


def test_a_command_that_reads_nothing_is_judged_by_its_exit_code(tmp_path, slept):
    event = EVENT | {"leaf": "x" * 5_000_000}
    Command(script(tmp_path, "import os; os.close(0)"), sleep=slept.append).send(event)
    assert slept == []


def test_a_command_that_hangs_ends_with_everything_it_started(tmp_path, slept):
    pids = tmp_path / "pids"
    line = script(
        tmp_path,
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} {{child.pid}} ')\n"
        "time.sleep(600)\n",
    )
    patience_s, started = 1.0, []
    while len(started) < 2:  # on a busy machine it may be ended before it has begun
        with pytest.raises(Undelivered, match="did not end"):
            Command(line, patience_s=patience_s, sleep=slept.append)._try(EVENT)
        started = pids.read_text().split() if pids.exists() else []
        patience_s *= 2
        assert patience_s < 100, "it never began"
    for pid in map(int, started):
        end_s = time.monotonic() + 5
        while _runs(pid):
            assert time.monotonic() < end_s, "a process lives on"


def _runs(pid):
    """Whether it is there and no zombie that only init has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("line", ["", "   ", "'unclosed"])
def test_what_is_no_command_is_refused_before_anything_runs(line):
    with pytest.raises(Refusal) as refused:
        Command(line)
    assert refused.value.code == "usage"


def test_a_program_that_is_not_there_is_undelivered(slept):
    with pytest.raises(Undelivered, match="No such file"):
        Command("/nowhere/hook", sleep=slept.append).send(EVENT)
    assert len(slept) == 2


# -- webhooks --


class Receiver:
    """A web server that answers what it is told to, in turn; the last answer for ever."""

    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                receiver.seen.append((self.path, fields, json.loads(body)))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if answer == "hang up":
                    self.close_connection = True
                    return
                self.send_response(answer)
                if answer == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?a=1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def test_a_webhook_gets_the_event_as_json(slept):
    with Receiver(204) as receiver:
        Webhook(receiver.url, sleep=slept.append).send(EVENT)
    ((path, headers, body),) = receiver.seen
    assert (path, body) == ("/hook?a=1", EVENT)
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("pyrsia/")


def test_a_webhook_that_stumbles_is_called_again(slept):
    with Receiver(503, "hang up", 200) as receiver:
        Webhook(receiver.url, sleep=slept.append).send(EVENT)
    assert len(receiver.seen) == 3
    assert tuple(slept) == PAUSE_S


@pytest.mark.parametrize("answer", [302, 400, 404, 500])
def test_only_an_answer_of_2xx_takes_an_event(slept, answer):
    with Receiver(answer) as receiver:
        with pytest.raises(Undelivered, match=str(answer)):
            Webhook(receiver.url, sleep=slept.append).send(EVENT)
    assert [path for path, _, _ in receiver.seen] == ["/hook?a=1"] * 3


def test_a_webhook_that_is_not_there_is_undelivered(slept):
    with Receiver(200) as receiver:
        pass
    with pytest.raises(Undelivered, match="does not answer"):
        Webhook(receiver.url, sleep=slept.append).send(EVENT)


@pytest.mark.parametrize(
    "url", ["", "example.com/hook", "ftp://x/y", "http://", "http://[::1", "file:///etc/passwd"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(Refusal) as refused:
        Webhook(url)
    assert refused.value.code == "usage"
