"""One way to reach a running node from outside: over its control socket, or over HTTP.

The target rule is the same for every command: `--node URL|DIR`, then `PYRSIA_NODE`, then the user's
node, then the system's. A directory means the control socket inside it, with its token file.
"""

import os
from pathlib import Path
from typing import Any

import httpx

from pyrsia import config
from pyrsia.errors import Refusal

CONTROL_SOCKET = "control.sock"
CONTROL_TOKEN = "control.token"  # noqa: S105 (a file name)
PATIENCE_S = 30.0  # one answer of a node on this machine or in this network


def resolve(target: str | None) -> str:
    """The target that applies: a URL or a data directory."""
    if target:
        return target
    if os.environ.get("PYRSIA_NODE"):
        return os.environ["PYRSIA_NODE"]
    for folder in (config.user_data_dir(), config.system_data_dir()):
        if (folder / CONTROL_SOCKET).exists():
            return str(folder)
    return str(config.user_data_dir())


class Client:
    """Ask one node; answers are decoded JSON, a no is a `Refusal`."""

    def __init__(self, target: str | None, *, patience_s: float = PATIENCE_S) -> None:
        self.target = resolve(target)
        headers: dict[str, str] = {}
        if self.target.startswith(("http://", "https://")):
            transport, base = None, self.target.rstrip("/")
            token = os.environ.get("PYRSIA_TOKEN")
        else:
            folder = Path(self.target)
            transport, base = httpx.HTTPTransport(uds=str(folder / CONTROL_SOCKET)), "http://localhost"
            token = _token(folder)
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._http = httpx.Client(transport=transport, base_url=base, headers=headers, timeout=patience_s)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int) -> Any:
        return self._json(self._send("GET", path, params=params))

    def get_bytes(self, path: str) -> bytes:
        return self._send("GET", path).content

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._json(self._send("POST", path, json=body))

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **how)
        except (httpx.TransportError, OSError) as error:
            raise Refusal(
                "not-running",
                what=f"no node answers at {self.target}: {type(error).__name__}",
                who="the node, or the address",
                do="start it with `pyrsia node run`, or name another with --node URL|DIR",
            ) from None
        if response.status_code >= 400:
            raise _refusal(response)
        return response

    @staticmethod
    def _json(response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise Refusal(
                "unavailable",
                what="the answer is not JSON",
                who=f"whatever listens at {response.url.host}",
                do="check the address; is it a Pyrsia node?",
            ) from None


def _token(folder: Path) -> str | None:
    try:
        return (folder / CONTROL_TOKEN).read_text(encoding="ascii").strip()
    except OSError:
        return None


def _refusal(response: httpx.Response) -> Refusal:
    try:
        fields = response.json()["error"]
        return Refusal.from_dict({key: str(value) for key, value in fields.items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refusal(
            "unavailable" if response.status_code >= 500 else "not-found",
            what=f"the node answered {response.status_code}",
            who="the node",
            do="look at the address and the spelling",
        )
