"""Where events go: a command, an address. Delivered means that the other side said so.

Nothing of an event's text is ever part of a command line: the command is split once, as its owner wrote it, and
learns the event from its standard input and from variables.

Source: docs/auditing.md, "Monitor".
"""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import httpx
import trio

from pyrsia import __version__
from pyrsia.audit.events import Event
from pyrsia.audit.follow import Undelivered
from pyrsia.errors import Refusal
from pyrsia.units import Limit
from pyrsia.wire.text import safe

ATTEMPTS = Limit(3, "a hook that trips over a moment's trouble; what lasts is tried again by the next round")
PAUSE_S: Final = (1.0, 4.0)  # between the attempts
EXEC_S = Limit(60, "a script that sends a mail takes seconds; one that hangs must not stop the watch")
KILL_S = Limit(5, "from SIGKILL to the end of a process that waits for a disk")
WEBHOOK_S = Limit(15, "for connecting, sending and the answer together; an honest receiver only takes note")
MAX_VARIABLE_CHARS = Limit(4_000, "the kernel takes 128 KiB a variable, people read a line; stdin has it all")

# Event field -> variable of the command; the rest is on standard input.
_VARIABLES: Final = {
    "event": "PYRSIA_EVENT",
    "log": "PYRSIA_LOG",
    "index": "PYRSIA_INDEX",
    "type": "PYRSIA_TYPE",
    "author": "PYRSIA_AUTHOR",
    "purls": "PYRSIA_PURLS",
    "verdict": "PYRSIA_VERDICT",
    "summary": "PYRSIA_SUMMARY",
    "time_ms": "PYRSIA_TIME_MS",
    "trouble": "PYRSIA_TROUBLE",
    "evidence": "PYRSIA_EVIDENCE",
}


class Outlet(Protocol):
    """Takes one event at a time."""

    def send(self, event: Event) -> None:
        """Return when the other side has taken it.

        Raises:
            Undelivered: it has not, after every attempt.
        """
        ...


class Retried:
    """An outlet with several attempts; `_try` is its own, and raises `Undelivered`."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def send(self, event: Event) -> None:
        for pause_s in (*PAUSE_S, None):
            try:
                self._try(event)
                return
            except Undelivered:
                if pause_s is None:
                    raise
                self._sleep(pause_s)

    def _try(self, event: Event) -> None:
        raise NotImplementedError


class Command(Retried):
    """Runs a command for each event, one at a time; exit code 0 takes it."""

    def __init__(
        self, line: str, *, patience_s: float = EXEC_S.value, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`line`: split as a shell would, and given to none.

        Raises:
            Refusal: `usage`.
        """
        super().__init__(sleep)
        self._argv = _split(line)
        self._patience_s = patience_s

    def _try(self, event: Event) -> None:
        try:
            # Its own session, so that what it started ends with it. Its output is for people, not our answer.
            process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=2, env=_variables(event), start_new_session=True
            )
        except OSError as error:
            raise Undelivered(f"{self._argv[0]}: {error.strerror}") from None
        try:
            process.communicate(json.dumps(event).encode() + b"\n", timeout=self._patience_s)
        except subprocess.TimeoutExpired:
            raise Undelivered(f"{self._argv[0]} did not end within {self._patience_s:.0f} s") from None
        except BrokenPipeError:
            pass  # it reads no input; its exit code decides
        finally:
            _end(process)
        if process.returncode:
            raise Undelivered(f"{self._argv[0]} ended with exit code {process.returncode}")


def _split(line: str) -> Sequence[str]:
    try:
        argv = shlex.split(line)
    except ValueError as error:
        argv, why = [], str(error)
    else:
        why = "it is empty"
    if argv:
        return argv
    raise Refusal(
        "usage",
        what=f"--exec is no command: {why}",
        who="your command",
        do="write --exec 'PROGRAM ARGUMENTS'",
    )


def _variables(event: Event) -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if key not in _VARIABLES.values()}
    for field, name in _VARIABLES.items():
        value = event.get(field, "")
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        found[name] = safe(text)[: MAX_VARIABLE_CHARS.value]
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    """A command that did not end in time ends now, with all that it started; one that did may leave children."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(KILL_S.value)


class Webhook(Retried):
    """POSTs each event as JSON; an answer of 2xx takes it. Redirects are not followed."""

    def __init__(
        self, url: str, *, patience_s: float = WEBHOOK_S.value, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """
        Raises:
            Refusal: `usage`.
        """
        super().__init__(sleep)
        self._url = _checked(url)
        self._patience_s = patience_s

    def _try(self, event: Event) -> None:
        # On a loop of its own: one deadline for all of it, however slowly an answer drips.
        status = trio.run(self._posted, event)
        if not 200 <= status < 300:
            raise Undelivered(f"the webhook answers {status}")

    async def _posted(self, event: Event) -> int:
        headers = {"user-agent": f"pyrsia/{__version__} (log monitor)"}
        try:
            with trio.fail_after(self._patience_s):
                async with httpx.AsyncClient(timeout=self._patience_s, headers=headers) as client:
                    # The answer's body is nobody's business: it is not read, however long it is.
                    async with client.stream("POST", self._url, json=event) as answer:
                        return answer.status_code
        except httpx.HTTPError as error:
            raise Undelivered(f"the webhook does not answer: {type(error).__name__} {error}"[:300]) from None
        except trio.TooSlowError:
            raise Undelivered(f"the webhook gave no answer within {self._patience_s:g} s") from None


def _checked(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL("")
    if url.scheme in ("http", "https") and url.host:
        return url
    raise Refusal(
        "usage",
        what="--webhook is no address",
        who="your command",
        do="write --webhook http(s)://HOST[:PORT]/PATH",
    )
