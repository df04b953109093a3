"""The original's build pipeline as a backend: asked, polled within bounds, and never believed beyond its bytes."""

import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyrsia.builds.model import NamedFile, SourceMapping, Want
from pyrsia.builds.pipeline import contract
from pyrsia.builds.pipeline.plugin import LOCK, PROGRAM, PipelinePlugin, made_from
from pyrsia.builds.sandbox import BuildLimits, Outcome, Usage
from pyrsia.builds.sources.git import GitArchive
from pyrsia.errors import Refusal
from tests.unit.builds.taken import taken

TARGET = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"}
ENVIRONMENT = "host:" + "e" * 64
COMMIT = "c" * 40
NOW_MS = 1_760_000_000_000


def jar() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("org/demo/A.class"), b"class")
    return out.getvalue()


class FakePipeline:
    """Answers as the original's does; a test changes `states` and `artifacts`."""

    def __init__(self):
        self.asked, self.states, self.id = [], ["Running"], '"build-1"'
        self.artifacts = {"lib-1.0.jar": jar(), "lib-1.0.pom": b"<project/>"}
        self.urls = None

    def __enter__(self):
        pipeline = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_PUT(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                pipeline.asked.append((self.path, json.loads(body)))
                self.say(200, pipeline.id.encode())

            def do_GET(self):
                name = self.path.rpartition("/")[2]
                if "/artifacts/" in self.path:
                    found = pipeline.artifacts.get(name)
                    self.say(200 if found is not None else 404, found or b"")
                else:
                    self.say(200, json.dumps({"id": "build-1", "status": pipeline.state()}).encode())

            def say(self, status, data):
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=lambda: self.server.serve_forever(0.02), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()

    def state(self):
        if self.states:
            return self.states.pop(0)
        urls = (
            self.urls if self.urls is not None else [f"build/build-1/artifacts/{n}" for n in self.artifacts]
        )
        return {"Success": {"artifact_urls": urls}}


class Sandbox:
    """Runs the worker's module in this process: what is tested here is the plug-in, not the sandbox."""

    isolation = "namespace"

    def python(self):
        return ("python",)

    def inside(self, path):
        return path

    async def run(self, job):
        from pyrsia.builds.pipeline import worker
        from pyrsia.builds.unpack import serve

        folders = {mount.target: mount.source for mount in job.mounts}
        code = serve({"inspect": worker.inspect}, Path(folders["/in"]), Path(folders["/build"]))
        return Outcome(code, "exit", b"", False, Usage())


class Git:
    def __init__(self, folder):
        self.commit, self.folder = COMMIT, folder

    async def mapped(self, mapping, *, name, version):
        path = self.folder / "source.tar"
        path.write_bytes(b"source")
        sha256 = hashlib.sha256(b"source").hexdigest()
        return GitArchive(
            NamedFile(f"{name}-{version}.tar", path),
            sha256,
            6,
            self.commit,
            f"v{version}",
            "d" * 64,
            1_700_000_000,
        )


@pytest.fixture
def pipeline(monkeypatch):
    monkeypatch.setattr(contract, "POLL_S", SimpleNamespace(value=0.01))
    with FakePipeline() as made:
        yield made


def plugin(folder: Path, url: str, *, wall_s: float = 20.0, mapped: bool = True) -> PipelinePlugin:
    mapping = SourceMapping("pkg:maven/org.demo/lib", "https://git.example/lib.git", "v*", {}, 1)
    shop = SimpleNamespace(
        sandbox=Sandbox(),
        limits=BuildLimits(wall_s=wall_s),
        scratch=folder / "scratch",
        results=folder / "results",
        cache=folder / "cache",
        admitted=lambda: (ENVIRONMENT,),
        mapping=lambda purl: mapping if mapped and purl == mapping.purl else None,
        git=Git(folder),
        pipeline_url=url,
    )
    return PipelinePlugin(shop, TARGET)


def request(planned):
    return taken(planned)


async def built(one: PipelinePlugin):
    (planned,) = await one.plan(Want("org.demo:lib", "1.0"), NOW_MS)
    assert await one.relock(request(planned)) == planned.lock == LOCK
    inputs = await one.prefetch(request(planned), LOCK)
    return await one.build(request(planned), inputs)


async def test_a_pipeline_is_told_the_mapping_and_its_files_are_looked_at_in_the_sandbox(tmp_path, pipeline):
    result = await built(plugin(tmp_path, pipeline.url))
    assert pipeline.asked == [
        (
            "/build",
            {
                "package_type": "Maven2",
                "package_specific_id": "org.demo:lib:1.0",
                "source_repository": {
                    "Git": {"url": "https://git.example/lib.git", "tag": "v1.0", "commit": COMMIT}
                },
                "build_spec_url": None,
            },
        )
    ]
    assert (result.outcome, result.source, [one.name for one in result.outputs]) == (
        "built", "mapping", ["lib-1.0.jar", "lib-1.0.pom"],
    )  # fmt: skip
    listed = json.loads(result.outputs[0].raw.members.path.read_bytes())
    assert [one["path"] if isinstance(one, dict) else one[0] for one in listed] == ["org/demo/A.class"]
    assert "whose isolation is its own" in result.log.path.read_text()


async def test_its_isolation_is_told_as_the_weakest_word_so_it_counts_nowhere_where_namespace_is_asked_for(
    tmp_path, pipeline
):
    result = await built(plugin(tmp_path, pipeline.url))
    assert result.isolation == "confined"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"states": [{"Failure": "mvn said no"}]}, "mvn said no"),
        ({"id": "7"}, "no id of a build"),
        ({"id": '"../../etc"'}, "no id of a build"),
        ({"id": "no json"}, "no JSON"),
        ({"states": ["Dreaming"]}, "no state of a build"),
        ({"states": [{"Success": {}}]}, "names no files"),
        ({"urls": []}, "made 0 files"),
        ({"urls": [f"build/build-1/artifacts/{n}.jar" for n in range(30)]}, "made 30 files"),
        ({"urls": ["http://169.254.169.254/latest/meta-data"]}, "a file elsewhere"),
        ({"urls": ["build/build-1/artifacts/.hidden"]}, "a file elsewhere"),
        ({"urls": ["build/build-1/artifacts/absent.jar"]}, "404"),
        ({"urls": ["build/build-1/artifacts/lib-1.0.jar"] * 2}, "two files of one name"),
        ({"artifacts": {"lib-1.0.jar": b"no zip"}}, "normalise"),
    ],
    ids=str,
)
async def test_whatever_it_answers_is_a_failed_build_with_its_reason(tmp_path, pipeline, change, told):
    for name, value in change.items():
        setattr(pipeline, name, value)
    result = await built(plugin(tmp_path, pipeline.url))
    assert (result.outcome, result.outputs) == ("failed", ())
    assert told in result.why


async def test_a_pipeline_that_never_ends_is_given_up_at_the_builds_limit(tmp_path, pipeline):
    pipeline.states = ["Running"] * 10_000
    result = await built(plugin(tmp_path, pipeline.url, wall_s=0.2))
    assert (result.outcome, "not done after" in result.why) == ("failed", True)


async def test_another_commit_than_the_requests_is_no_build(tmp_path, pipeline):
    one = plugin(tmp_path, pipeline.url)
    (planned,) = await one.plan(Want("pkg:maven/org.demo/lib", "1.0"), NOW_MS)
    one._shop.git.commit = "d" * 40
    with pytest.raises(Refusal) as caught:
        await one.relock(request(planned))
    assert (caught.value.code, pipeline.asked) == ("digest-mismatch", [])
    one._shop.git.commit = COMMIT
    changed = request(planned) | {"recipe": {**planned.recipe, "sde": 1}}
    with pytest.raises(Refusal) as recipe:
        await one.relock(changed)
    assert recipe.value.code == "lock-mismatch"


@pytest.mark.parametrize(
    ("name", "version", "mapped", "code"),
    [
        ("org.demo:lib", "1.0", False, "package-unknown"),
        ("org.demo:lib", None, True, "bad-request"),
        ("pkg:pypi/idna", "1.0", True, "bad-request"),
        ("pkg:nothing", "1.0", True, "bad-request"),
    ],
)
async def test_what_no_pipeline_builds_is_refused(tmp_path, pipeline, name, version, mapped, code):
    with pytest.raises(Refusal) as caught:
        await plugin(tmp_path, pipeline.url, mapped=mapped).plan(Want(name, version), NOW_MS)
    assert caught.value.code == code


def test_a_node_without_a_pipeline_has_no_such_plug_in():
    assert made_from(SimpleNamespace(pipeline_url=""), TARGET) == ()
    assert PROGRAM.hostile == frozenset()
