"""A signed log in files, and a web server that serves them truthfully until a test says otherwise."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pyrsia.audit.fetching import Address, Fetcher, Patience
from pyrsia.audit.heads import NamedKeys
from pyrsia.audit.sources import HttpSource
from pyrsia.keys import KeyPair
from pyrsia.log import note, tiles
from pyrsia.log.checkpoint import Checkpoint, log_key, log_line
from pyrsia.log.note import SignedNote
from pyrsia.log.tiles import Bundle
from tests.unit.log.logs import Log, numbered

ORIGIN = "example.org/log"
KEY = KeyPair(b"k" * 32)
VKEY = str(log_key(ORIGIN, KEY.public))
RULE = NamedKeys((log_key(ORIGIN, KEY.public),))
HASTY = Patience(connect_s=5, silence_s=0.4, object_s=0.8, attempts=2, pause_s=0)


def signed_text(text, key=KEY, name=ORIGIN):
    """A note of any text with a signature that holds."""
    return SignedNote(text, (note.sign_line(text, name, key.sign, key.public),)).encode()


def noted(size, root):
    head = Checkpoint(ORIGIN, size, root)
    return SignedNote(head.text(), (log_line(head, KEY.sign, KEY.public),)).encode()


def objects(entries):
    """Path -> bytes of every file of a log with these entries."""
    log = Log(entries)
    size = log.frontier.size
    found = {"checkpoint": noted(size, log.frontier.root())}
    for tile in tiles.tiles_of(size):
        found[tile.path] = log.tiles[tile.level, tile.index][: 32 * tile.width]
        if tile.level == 0:
            bundle = Bundle(tile.index, tile.width)
            found[bundle.path] = log.bundle(bundle)
    return found


def write(folder: Path, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def read(folder: Path):
    """Path -> bytes of every file below, without what begins with a dot."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def log_in(folder: Path, size, prefix=b""):
    return write(folder, objects([prefix + one for one in numbered(size)]))


class Site:
    """A loopback server of `files`; `on[path]` answers instead, with the handler in its hand."""

    def __init__(self, files):
        self.files = dict(files)
        self.on = {}
        self.asked = []
        self.headers = []
        self.closing = threading.Event()
        self._sources = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                path = self.path.removeprefix("/")
                site.asked.append(path)
                site.headers.append(dict(self.headers))
                try:
                    site.answer(self, path)
                except (ConnectionError, OSError):
                    self.close_connection = True

            def log_message(self, *_):
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/"

    def answer(self, handler, path):
        if path in self.on:
            self.on[path](handler)
        elif path in self.files:
            send(handler, self.files[path])
        else:
            send(handler, b"no such thing", status=404)

    def source(self, patience=HASTY):
        return self.closed_at_the_end(HttpSource(Fetcher(Address.parse(self.url), patience=patience)))

    def closed_at_the_end(self, source):
        self._sources.append(source)
        return source

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        for source in self._sources:
            source.close()
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


def send(handler, body, *, status=200, length=None, **headers):
    """A whole answer; `length` is what it says of itself."""
    handler.send_response(status)
    handler.send_header("content-length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
