"""Unchanged clients of image registries, each with a folder of its own, and a line to a node that lies or breaks.

A client has `pull`, `push` and `forget`; `good` says whether it must succeed, and what it prints is what its user sees.
Whatever it started ends with `close`.
"""

import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PATIENCE_S = 60


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients leave in the middle, as they do."""


class Between:
    """A proxy before a node that changes or cuts what it passes on.

    Attributes:
        lie: a path that has this in it comes with its last byte changed.
        cut: the first answer for a path that has this in it ends half-way.
        asked: method and path of every request.
    """

    def __init__(self, netloc: str) -> None:
        self.lie = self.cut = ""
        self.asked: list[str] = []
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                between.asked.append(f"{self.command} {self.path}")
                link = http.client.HTTPConnection(netloc, timeout=PATIENCE_S)
                link.putrequest(
                    self.command, self.path, skip_accept_encoding=True
                )  # `Host` is the node's then
                for name, value in self.headers.items():  # an Accept line for each kind
                    if name.lower() != "host":
                        link.putheader(name, value)
                link.endheaders()
                answer = link.getresponse()
                data = answer.read()
                link.close()
                self.send_response(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self._pass_on(data)

            do_HEAD = do_GET

            def _pass_on(self, data: bytes) -> None:
                if between.lie and between.lie in self.path and data:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if between.cut and between.cut in self.path and len(data) > 1:
                    between.cut = ""
                    data, self.close_connection = data[: len(data) // 2], True
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.netloc = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def blobs(self) -> list[str]:
        """Blobs that were asked for, and forget them."""
        found = [one for one in self.asked if one.startswith("GET ") and "/blobs/" in one]
        self.asked.clear()
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def between(netloc: str) -> Iterator[Between]:
    found = Between(netloc)
    try:
        yield found
    finally:
        found.close()


class Client:
    """One program. `needs`: what must be on PATH."""

    name = ""
    needs: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.env = os.environ | {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
        }

    @classmethod
    def missing(cls) -> str:
        """Why it cannot run here, "" if it can."""
        lacking = [one for one in cls.needs if shutil.which(one) is None]
        return f"{', '.join(lacking)} is not installed" if lacking else ""

    def start(self) -> None:
        """What must run before it is asked."""

    def close(self) -> None:
        """Also after a start that failed."""
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(30)

    def run(self, *words: str, good: bool = True, given: str = "") -> str:
        done = subprocess.run(
            words, env=self.env, input=given, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        printed = done.stdout + done.stderr
        assert (done.returncode == 0) == good, f"{' '.join(words)}\n{printed[-3_000:]}"
        return printed

    def pull(self, reference: str, *, good: bool = True) -> str:
        raise NotImplementedError

    def push(self, reference: str, token: str, *, good: bool = True) -> str:
        """What was pulled last, under another name."""
        raise NotImplementedError

    def forget(self) -> None:
        raise NotImplementedError


class Skopeo(Client):
    name = "skopeo"
    needs = ("skopeo",)
    words = ("--preserve-digests",)  # or it packs plain layers, and knows none of them again

    def pull(self, reference: str, *, good: bool = True) -> str:
        place = f"oci:{self.folder / 'images'}:latest"
        return self.run(
            "skopeo", "copy", *self.words, "--src-tls-verify=false", f"docker://{reference}", place, good=good
        )

    def push(self, reference: str, token: str, *, good: bool = True) -> str:
        place = f"oci:{self.folder / 'images'}:latest"
        login = ("--dest-creds", f"ci:{token}") if token else ()
        return self.run(
            "skopeo",
            "copy",
            *self.words,
            "--dest-tls-verify=false",
            *login,
            place,
            f"docker://{reference}",
            good=good,
        )

    def forget(self) -> None:
        shutil.rmtree(self.folder / "images", ignore_errors=True)


class Podman(Client):
    name = "podman"
    needs = ("podman",)
    words: tuple[str, ...] = ("podman", "--storage-driver=vfs")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.env |= {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
        self.pulled = ""

    def words_for(self, *words: str) -> tuple[str, ...]:
        return (
            *self.words,
            "--root",
            str(self.folder / "root"),
            "--runroot",
            str(self.folder / "run"),
            *words,
        )

    def pull(self, reference: str, *, good: bool = True) -> str:
        self.pulled = reference
        return self.run(*self.words_for("pull", "--tls-verify=false", reference), good=good)

    def push(self, reference: str, token: str, *, good: bool = True) -> str:
        login = ("--creds", f"ci:{token}") if token else ()
        words = self.words_for("push", "--tls-verify=false", *login, self.pulled, f"docker://{reference}")
        return self.run(*words, good=good)

    def forget(self) -> None:
        self.run(*self.words_for("rmi", "--all", "--force"))


class Buildah(Podman):
    name = "buildah"
    needs = ("buildah",)
    words = ("buildah", "--storage-driver", "vfs")


class Containerd(Client):
    """`ctr` and a daemon of its own; the registry stands in hosts.toml, as the only one for `name`."""

    name = "containerd"
    needs = ("containerd", "ctr")

    def start(self) -> None:
        self.socket = self.folder / "c.sock"
        config = self.folder / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.folder / "root"}"\nstate = "{self.folder / "state"}"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self.socket}"\n'
        )
        log = (self.folder / "containerd.log").open("w")
        self.daemons.append(subprocess.Popen(["containerd", "-c", str(config)], stdout=log, stderr=log))
        answers(self.socket)

    def hosts(self, name: str, netloc: str) -> None:
        """Whatever is asked of the registry `name` is asked of a node, and of nobody else."""
        folder = self.folder / "hosts" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(
            f'server = "http://{netloc}"\n[host."http://{netloc}"]\n  capabilities = ["pull", "resolve"]\n'
        )

    def pull(self, reference: str, *, good: bool = True) -> str:
        self.pulled = reference
        host = reference.partition("/")[0]
        if not (self.folder / "hosts" / host).exists():
            self.hosts(host, host)
        hosts = ("--hosts-dir", str(self.folder / "hosts"), "--snapshotter", "native")
        return self._ctr("images", "pull", *hosts, reference, good=good)

    def push(self, reference: str, token: str, *, good: bool = True) -> str:
        assert token, "ctr of containerd 1.6 waits for ever where it is told to log in and cannot"
        return self._ctr(
            "images", "push", "--plain-http", "-u", f"ci:{token}", reference, self.pulled, good=good
        )

    def forget(self) -> None:
        for one in self._ctr("images", "ls", "-q").split():
            self._ctr("images", "rm", "--sync", one)

    def _ctr(self, *words: str, good: bool = True) -> str:
        return self.run("ctr", "-a", str(self.socket), *words, good=good)


class Dockerd(Client):
    """Debian's dockerd with a containerd and a data folder of its own; needs root."""

    name = "dockerd"
    needs = ("containerd", "docker")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.env |= {"DOCKER_CONFIG": str(folder)}
        self._containerd: Containerd | None = None
        self.mirrors: tuple[str, ...] = ()  # of Docker Hub, asked one after the other
        self.pulled = ""

    @classmethod
    def missing(cls) -> str:
        return super().missing() or ("" if os.geteuid() == 0 else "dockerd needs root")

    def start(self) -> None:
        self._containerd = Containerd(self.folder / "ctd")
        self._containerd.start()
        self.socket = self.folder / "d.sock"
        (self.folder / "none.json").write_text("{}")
        words = [
            *(
                dockerd(self.folder),
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ),
            *(
                "--storage-driver=vfs",
                "--data-root",
                str(self.folder / "data"),
                "--exec-root",
                str(self.folder / "exec"),
            ),
            *("-H", f"unix://{self.socket}"),
            *("--pidfile", str(self.folder / "d.pid")),
            *("--containerd", str(self._containerd.socket), "--config-file", str(self.folder / "none.json")),
            *(f"--registry-mirror=http://{one}" for one in self.mirrors),
        ]
        log = (self.folder / "dockerd.log").open("w")
        self.daemons.append(subprocess.Popen(words, stdout=log, stderr=log, env=self.env))
        answers(self.socket)

    def close(self) -> None:
        super().close()
        if self._containerd is not None:
            self._containerd.close()

    def pull(self, reference: str, *, good: bool = True) -> str:
        self.pulled = reference
        return self._docker("pull", reference, good=good)

    def push(self, reference: str, token: str, *, good: bool = True) -> str:
        if token:
            host = reference.partition("/")[0]
            self._docker("login", "-u", "ci", "--password-stdin", host, given=token)
        self._docker("tag", self.pulled, reference)
        return self._docker("push", reference, good=good)

    def forget(self) -> None:
        for one in self._docker("images", "-aq").split():
            self._docker("rmi", "-f", one)

    def _docker(self, *words: str, good: bool = True, given: str = "") -> str:
        return self.run("docker", "-H", f"unix://{self.socket}", *words, good=good, given=given)


CLIENTS: tuple[type[Client], ...] = (Skopeo, Podman, Buildah, Containerd, Dockerd)


def dockerd(folder: Path) -> str:
    """The daemon of this machine, or that of Debian's package, unpacked and not installed."""
    found = shutil.which("dockerd")
    if found is None:
        unpacked = folder / "debian"
        unpacked.mkdir()
        subprocess.run(
            ["apt-get", "download", "-q", "docker.io"], cwd=unpacked, check=True, capture_output=True
        )
        package = next(unpacked.glob("docker.io_*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True, capture_output=True)
        found = str(unpacked / "usr" / "sbin" / "dockerd")
    return found


def answers(path: Path) -> None:
    """Wait until a daemon takes connections at its socket."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(path))
                return
            except OSError:
                assert time.monotonic() < end, f"nothing answers at {path}"
                time.sleep(0.05)
