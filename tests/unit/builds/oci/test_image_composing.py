"""Images out of files: what comes to lie where, the same bytes always, and nothing but what came in."""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.members import Hostile
from pyrsia.builds.oci import documents, layer, lock, worker
from pyrsia.builds.oci.compose import Shown, without_ignored
from pyrsia.builds.oci.lock import Locked
from pyrsia.errors import Malformed

sys.path.insert(0, str(Path(__file__).parent))
from images import HELLO, SCRATCH, SDE, Desk, packed

FILES = {"a.txt": b"a", "b.txt": b"b", "d/x": b"x", "d/e/y": b"y", ".hidden": b"h"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_image_is_a_manifest_a_configuration_and_layers_by_digest(desk: Desk):
    desk.composed(packed(HELLO, executable=["app"]))

    (row,) = desk.manifest["layers"]
    assert desk.manifest["mediaType"] == documents.MANIFEST
    assert row["mediaType"] == documents.LAYER
    assert desk.config["rootfs"]["diff_ids"] == [row["digest"]]
    assert (desk.config["architecture"], desk.config["os"]) == ("amd64", "linux")
    assert desk.config["created"] == "2023-11-14T22:13:20Z"
    (item,) = desk.layer().values()
    assert (item.name, item.mode, item.uid, item.gid, item.mtime) == ("app", 0o755, 0, 0, SDE)
    for name in (path.name for path in (desk.work / "out").iterdir()):
        assert hashlib.sha256((desk.work / "out" / name).read_bytes()).hexdigest() == name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a.txt /", ["a.txt"]),
        ("COPY a.txt /srv/new", ["srv/new"]),
        ("COPY a.txt b.txt /srv/", ["srv/a.txt", "srv/b.txt"]),
        ("COPY *.txt /srv/", ["srv/a.txt", "srv/b.txt"]),
        ("COPY ?.txt /srv/", ["srv/a.txt", "srv/b.txt"]),
        ("COPY [!b].txt /srv/", ["srv/a.txt"]),
        ("COPY d /srv", ["srv/e/y", "srv/x"]),
        ("COPY d/ /srv/", ["srv/e/y", "srv/x"]),
        ("COPY d/*/y /srv/", ["srv/y"]),
        ("COPY . /srv/", ["srv/.hidden", "srv/Dockerfile", "srv/a.txt", "srv/b.txt", "srv/d/e/y", "srv/d/x"]),
        ("WORKDIR /w\nCOPY a.txt .", ["w/a.txt"]),
        ("WORKDIR /w\nWORKDIR v\nCOPY a.txt x", ["w/v/x"]),
        ("COPY a.txt /x\nCOPY b.txt /x", ["x", "x"]),
    ],
)
def test_copy_puts_files_where_docker_would(desk: Desk, line: str, expected: list[str]):
    assert desk.placed(line, FILES) == expected


def test_a_copy_of_nothing_is_refused_with_its_line(desk: Desk):
    text = b"FROM scratch\n\nCOPY missing /x\n"

    told = desk.composed(packed({"Dockerfile": text}))["dockerfile"]

    assert told["line"] == 3
    assert "nothing in the source matches 'missing'" in told["what"]


def test_a_working_folder_exists_even_where_nothing_is_copied_into_it(desk: Desk):
    desk.composed(packed({"Dockerfile": b"FROM scratch\nCOPY Dockerfile /f\nWORKDIR /srv/x\n"}))

    assert [name for name, item in desk.layer(1).items() if item.isdir()] == ["srv", "srv/x"]
    assert desk.config["config"]["WorkingDir"] == "/srv/x"


def test_a_dockerignore_leaves_things_out_and_takes_them_back():
    found = [
        Shown(path, Path(path), False) for path in ("a.log", "d/b.log", "d/keep.log", "d/x", "e/f/g.tmp")
    ]

    assert [one.path for one in without_ignored(found, "# no logs\n**/*.log\n!d/keep.log\n/e\n\n")] == [
        "d/keep.log",
        "d/x",
    ]
    assert [one.path for one in without_ignored(found, "d")] == ["a.log", "e/f/g.tmp"]
    assert without_ignored(found, "") == found


def wheel(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def test_published_packages_are_copied_out_of_or_as_they_are(desk: Desk):
    data = wheel({"pkg/__init__.py": b"1", "pkg-1.dist-info/METADATA": b"m"})
    digest = desk.artifact("pkg-1-py3-none-any.whl", data)
    lines = (
        f"COPY --from=sha256:{digest} . /site/\nCOPY --from=sha256:{digest} pkg-1-py3-none-any.whl /wheels/"
    )

    found = desk.placed(lines, {})

    assert found == ["site/pkg-1.dist-info/METADATA", "site/pkg/__init__.py", "wheels/pkg-1-py3-none-any.whl"]
    assert desk.content("wheels/pkg-1-py3-none-any.whl", 1) == data


def test_a_published_file_that_is_another_one_is_refused(desk: Desk):
    digest = desk.artifact("x.whl", wheel({"a": b"a"}))
    (desk.inputs / digest).write_bytes(wheel({"a": b"evil"}))

    with pytest.raises(Hostile, match="not what its digest says"):
        desk.placed(f"COPY --from=sha256:{digest} . /x/", {})


def test_a_name_that_hides_files_of_other_layers_is_refused(desk: Desk):
    with pytest.raises(Hostile, match="hide"):
        desk.placed("COPY . /x/", {".wh.passwd": b""})


def test_a_folder_of_ours_does_not_replace_a_link_of_a_merged_root(desk: Desk):
    root = documents.Layer(documents.LAYER, "0" * 64, 10_240, "0" * 64)
    merged = SCRATCH | {"layers": [root], "merged": True}
    text = b"FROM rootfs:" + b"0" * 64 + b"\nCOPY Dockerfile /lib/x\n"

    desk.composed(packed({"Dockerfile": text}), bases={"linux/amd64": merged})
    assert [name for name, item in desk.layer(1).items() if item.isreg()] == ["usr/lib/x"]
    assert desk.manifest["layers"][0]["digest"] == "sha256:" + "0" * 64

    unknown = Desk(desk.work / "second").composed(
        packed({"Dockerfile": text}), bases={"linux/amd64": merged | {"merged": None}}
    )
    assert unknown["dockerfile"]["line"] == 2


def test_several_platforms_are_one_index_of_manifests_that_share_equal_layers(desk: Desk):
    text = b"FROM scratch\nARG TARGETARCH\nCOPY common /c\nCOPY app-$TARGETARCH /app\n"
    source = {"Dockerfile": text, "common": b"c", "app-amd64": b"1", "app-arm64": b"2"}

    desk.composed(packed(source), ["linux/amd64", "linux/arm64"])

    index = desk.manifest
    assert index["mediaType"] == documents.INDEX
    assert [row["platform"] for row in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    first, second = (desk.document(row["digest"]) for row in index["manifests"])
    assert first["layers"][0] == second["layers"][0]
    assert first["layers"][1] != second["layers"][1]
    assert {row["digest"].removeprefix("sha256:") for row in index["manifests"]} == set(
        desk.answer["manifests"]
    )


def everything(desk: Desk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (desk.work / "out").iterdir()}


names = st.from_regex(r"[a-zA-Z0-9_]{1,12}", fullmatch=True)
# Two names that differ only in case are refused (the test below): here they are not what is asked about.
contents = st.dictionaries(names, st.binary(max_size=400), min_size=1, max_size=5).filter(
    lambda files: len({name.lower() for name in files}) == len(files)
)


def test_names_that_differ_only_in_case_are_refused(desk: Desk):
    source = {"Dockerfile": b"FROM scratch\nCOPY . /x/\n", "f/W": b"", "f/w": b""}
    with pytest.raises(Hostile, match="differ only in case"):
        desk.composed(packed(source))


@settings(max_examples=30, deadline=None)  # it writes files
@given(contents, st.sampled_from([0o022, 0o077]))
def test_the_bytes_depend_on_the_files_alone(files: dict[str, bytes], mask: int):
    """Not on the order of the archive, its times, the umask, or the order in which folders are made."""
    source = {"Dockerfile": b"FROM scratch\nCOPY . /x/\n"} | {
        f"f/{name}": data for name, data in files.items()
    }
    shuffled = dict(reversed(source.items()))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = Desk(Path(one) / "a"), Desk(Path(two) / "a-longer-name")
        first.composed(packed(source))
        before = os.umask(mask)
        try:
            second.composed(packed(shuffled, time=SDE - 1_000), vary=True)
        finally:
            os.umask(before)
        assert everything(first) == everything(second)


def test_another_file_another_mode_or_another_time_is_another_image(desk: Desk, tmp_path: Path):
    desk.composed(packed(HELLO))
    others = [
        Desk(tmp_path / "1").composed(packed(HELLO | {"app": b"other"})),
        Desk(tmp_path / "2").composed(packed(HELLO, executable=["app"])),
        Desk(tmp_path / "3").composed(packed(HELLO), sde=SDE + 1),
        Desk(tmp_path / "4").composed(packed(HELLO), ["linux/arm64"]),
    ]

    assert len({desk.answer["top"], *(one["top"] for one in others)}) == 5


# -- inspection --


def inspected(desk: Desk, source: bytes) -> dict[str, Any]:
    layers = [row["digest"].removeprefix("sha256:") for row in desk.manifest["layers"]]
    for digest in layers:
        (desk.inputs / digest).write_bytes((desk.work / "out" / digest).read_bytes())
    work = desk.work / "second"
    work.mkdir()
    return worker.inspect(desk.job(source, layers=layers), desk.inputs, work)["layers"]


def test_every_file_of_an_honest_layer_is_in_the_source_or_a_published_package(desk: Desk):
    digest = desk.artifact("pkg-1-py3-none-any.whl", wheel({"pkg/__init__.py": b"1"}))
    text = f"FROM scratch\nCOPY --from=sha256:{digest} . /site/\nCOPY app /app\n".encode()
    source = packed(HELLO | {"Dockerfile": text})
    desk.composed(source)

    found = inspected(desk, source)

    assert {row["containment"] for row in found.values()} == {"full"}
    assert {tuple(row["missing"]) for row in found.values()} == {()}
    assert {tuple(row["normalised"]) for row in found.values()} == {()}


def test_a_file_that_came_from_nowhere_is_named(desk: Desk):
    desk.composed(packed(HELLO | {"app": b"injected"}))

    (row,) = inspected(desk, packed(HELLO)).values()

    assert (row["containment"], row["missing"]) == ("none", ["app"])


def test_a_layer_that_is_not_in_our_form_is_refused(desk: Desk):
    desk.composed(packed(HELLO))
    digest = desk.manifest["layers"][0]["digest"].removeprefix("sha256:")
    (desk.work / "out" / digest).write_bytes(tarred([("app", b"#!/bin/sh\n", 0o644, 5)]))

    with pytest.raises(Hostile, match="canonical"):
        inspected(desk, packed(HELLO))


def tarred(rows: list[tuple[str, bytes, int, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content, mode, mtime in rows:
            item = tarfile.TarInfo(path)
            item.size, item.mode, item.mtime = len(content), mode, mtime
            archive.addfile(item, io.BytesIO(content))
    return buffer.getvalue()


def normalised(data: bytes) -> tuple[layer.Normalised, bytes]:
    out = io.BytesIO()
    return layer.normalise(io.BytesIO(data), io.BytesIO(), out, SDE), out.getvalue()


def test_layers_of_other_tools_have_one_canonical_form_and_say_what_was_taken_away():
    rows = [("b", b"b", 0o644, 1), ("a/x", b"x", 0o700, 2)]

    (first, one), (second, two) = normalised(tarred(rows)), normalised(tarred(rows[::-1]))

    assert one == two
    assert first.stable == second.stable
    assert first.notes == ["oci-mode:1", "oci-order:1", "oci-time:2"]
    assert normalised(one)[0].notes == []


def test_the_exec_bit_and_the_content_are_never_normalised_away():
    base = [("a", b"x", 0o644, SDE)]
    found = {
        normalised(tarred(rows))[0].stable
        for rows in (base, [("a", b"x", 0o755, SDE)], [("a", b"y", 0o644, SDE)])
    }

    assert len(found) == 3


def test_a_compressed_layer_has_the_form_of_the_plain_one():
    data = tarred([("a", b"x" * 1_000, 0o644, SDE)])

    assert normalised(gzip.compress(data)) == normalised(data)


def test_a_layer_of_another_tool_is_judged_alone(desk: Desk):
    source = packed({"a": b"a", "b": b"b"})
    job = desk.job(source) | {"operation": "normalise"}
    (desk.inputs / "layer").write_bytes(tarred([("srv/a", b"a", 0o600, 1), ("srv/c", b"c", 0o600, 1)]))

    found = worker.normalise(job, desk.inputs, desk.work)

    assert found["containment"] == "partial"
    assert found["normalised"] == ["oci-mode:2", "oci-time:2"]
    assert (desk.work / "canonical").stat().st_size > 0


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("../x", b"", 0o644, 0)], "traversal"),
        ([("x", b"", 0o4755, 0)], "setuid"),
        ([("x", b"", 0o644, 0), ("x", b"", 0o644, 0)], "duplicate"),
        ([("x", b"", 0o644, 0), ("X", b"", 0o644, 0)], "case"),
    ],
)
def test_a_hostile_layer_is_refused(rows: list[tuple[str, bytes, int, int]], why: str):
    with pytest.raises(Hostile, match=why):
        normalised(tarred(rows))


def test_devices_and_hard_links_are_no_part_of_a_layer():
    for kind in (tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            item = tarfile.TarInfo("x")
            item.type, item.linkname = kind, "y"
            archive.addfile(item)
        with pytest.raises(Hostile, match="hard link, device"):
            normalised(buffer.getvalue())


# -- the Dockerfile of a source, documents, the lock --


def test_a_source_says_its_base_its_digests_and_its_newest_time(desk: Desk):
    text = (
        f"FROM scratch\nCOPY --from=sha256:{'1' * 64} . /x/\nCOPY --from=sha256:{'0' * 64} . /y/\n".encode()
    )

    found = worker.read(desk.job(packed({"Dockerfile": text})), desk.inputs, desk.work)

    assert found == {
        "newest": SDE,
        "recipes": [{"base": "scratch", "line": 1, "origins": ["0" * 64, "1" * 64]}],
    }


def test_a_source_without_a_dockerfile_is_told_where_it_was_looked_for(desk: Desk):
    found = worker.read(desk.job(packed({"a": b""})), desk.inputs, desk.work)

    assert "has no such file" in found["dockerfile"]["what"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"schemaVersion":2,"layers":[]}', documents.MANIFEST),
        (b'{"schemaVersion":2,"manifests":[]}', documents.INDEX),
        (documents.index([]), documents.INDEX),
        (b'{"schemaVersion":2,"mediaType":"text/html","layers":[]}', ""),
        (b'{"schemaVersion":1,"layers":[]}', ""),
        (b'{"schemaVersion":2,"mediaType":7}', ""),
        (b"[]", ""),
        (b"{", ""),
    ],
)
def test_a_manifest_is_what_it_says_or_what_its_fields_make_it(data: bytes, kind: str):
    assert documents.media_type(data) == kind


def test_documents_are_sorted_compact_and_end_without_a_line():
    data = documents.encoded({"b": [1, "ä"], "a": {}})

    assert data == '{"a":{},"b":[1,"ä"]}'.encode()
    assert json.loads(data) == {"a": {}, "b": [1, "ä"]}


LINE = Locked("click", "8.1.7", "click-8.1.7-py3-none-any.whl", "ae" * 32, 97_941)


def test_a_lock_has_one_form():
    root = Locked(lock.ROOTFS, "0" * 12, "sha256~" + "0" * 64, "0" * 64, 5)

    data = lock.encode([root, LINE, LINE])

    assert data == lock.encode([LINE, root])
    assert lock.decode(data) == (LINE, root)
    assert data.splitlines()[1] == f"click 8.1.7 click-8.1.7-py3-none-any.whl {'ae' * 32} 97941".encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"pyrsia lock pip v1\n",
        b"pyrsia lock oci v1\nx\n",
        lock.encode([LINE]) + lock.encode([LINE])[len(lock.HEADER) + 1 :],
        lock.encode([LINE])[:-1],
        b"pyrsia lock oci v1\n\xff\n",
    ],
)
def test_what_encode_would_not_write_is_no_lock(data: bytes):
    with pytest.raises(Malformed):
        lock.decode(data)
