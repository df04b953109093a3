"""An image registry made of a dict, over real HTTP: with tokens if a test wants them, and lies where it tells some."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class FakeRegistry:
    """Use `with`. `forged`: path -> bytes answered whatever is right; `token`: what pulls need, "" for none."""

    def __init__(self):
        self.token = ""
        self.forged: dict[str, bytes] = {}
        self.answers: dict[str, tuple[str, bytes]] = {}

    def __enter__(self):
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                registry.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=lambda: self.server.serve_forever(0.02), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()

    def answer(self, handler):
        path = urlsplit(handler.path).path
        if path == "/token":
            return self.send(handler, 200, "application/json", json.dumps({"token": self.token}).encode())
        if self.token and handler.headers.get("authorization") != f"Bearer {self.token}":
            handler.send_response(401)
            handler.send_header("www-authenticate", f'Bearer realm="{self.url}/token",service="toy"')
            handler.send_header("content-length", "0")
            handler.end_headers()
            return None
        if path == "/v2/":
            return self.send(handler, 200, "application/json", b"{}")
        if path in self.forged:
            return self.send(handler, 200, MANIFEST, self.forged[path])
        if path in self.answers:
            return self.send(handler, 200, *self.answers[path])
        return self.send(handler, 404, "application/json", b"{}")

    def send(self, handler, status, kind, data):
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def put(self, name, what, kind, data):
        digest = hashlib.sha256(data).hexdigest()
        self.answers[f"/v2/{name}/{what}/sha256:{digest}"] = kind, data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def image(self, name, tag, *, layers):
        """A two-platform index with these layers for amd64; the hex digest of the index."""
        config = self.put(
            name, "blobs", "application/vnd.oci.image.config.v1+json", b'{"architecture":"amd64"}'
        )
        parts = [
            self.put(name, "blobs", "application/vnd.oci.image.layer.v1.tar+gzip", one) for one in layers
        ]
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": parts})
        mine = self.put(name, "manifests", MANIFEST, manifest.encode())
        other = {**mine, "digest": "sha256:" + "9" * 64, "platform": {"os": "linux", "architecture": "arm64"}}
        listed = [other, {**mine, "platform": {"os": "linux", "architecture": "amd64"}}]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        top = self.put(name, "manifests", INDEX, index)
        self.answers[f"/v2/{name}/manifests/{tag}"] = INDEX, index
        return top["digest"].removeprefix("sha256:")
