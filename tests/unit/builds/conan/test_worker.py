"""What the worker says of a finished build: revisions computed anew, lies refused, upstream compared."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.conan import names, pack, worker
from pyrsia.builds.members import Hostile, decode

EPOCH = 1_700_000_000
INFO = b"[settings]\nos=Linux\n"
PID = hashlib.sha1(INFO, usedforsecurity=False).hexdigest()
LEFT = {
    "export/conanfile.py": b"class Recipe: pass\n",
    "export/conanmanifest.txt": b"9\nwhatever the build says\n",
    "export/conandata.yml": b"sources: {}\n",
    "sources/src/a.c": b"int a;\n",
    "package-0/conaninfo.txt": INFO,
    "package-0/conanmanifest.txt": b"8\nwhatever the build says\n",
    "package-0/include/a.h": b"int a;\n",
    "package-0/lib/liba.a": b"\x7fcode",
}
SOURCE = {
    "conanfile.py": LEFT["export/conanfile.py"],
    "conandata.yml": b"sources: {}\n",
    "src/a.c": b"int a;\n",
}


def tar(files: dict[str, bytes], path: Path, *, packed: bool = False) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 5
            out.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(raw.getvalue()) if packed else raw.getvalue())
    return path


def inspected(folder: Path, left: dict[str, bytes], **job: Any) -> dict[str, Any]:
    inputs, work = folder / "in", folder / "work"
    inputs.mkdir()
    work.mkdir()
    tar(left, inputs / worker.LEFT)
    tar({f"a-1.0/{name}": data for name, data in SOURCE.items()}, inputs / "source.tar.gz", packed=True)
    for name, data in job.pop("files", {}).items():
        (inputs / name).write_bytes(data)
    asked = {
        "operation": "inspect", "source": "source.tar.gz", "recipe": False, "archives": [], "rrev": "",
        "packages": [PID], "theirs": {}, "epoch": EPOCH, **job,
    }  # fmt: skip
    return worker.inspect(asked, inputs, work)


def revision(prefix: str) -> str:
    sums = {
        name: hashlib.md5(data, usedforsecurity=False).hexdigest()
        for name, data in LEFT.items()
        if not name.endswith("conanmanifest.txt")
    }
    if prefix == "package-0/":
        return pack.revision({name[10:]: md5 for name, md5 in sums.items() if name.startswith(prefix)})
    return pack.revision(
        {name[7:]: md5 for name, md5 in sums.items() if name.startswith("export/")}
        | {f"export_source/{name[8:]}": md5 for name, md5 in sums.items() if name.startswith("sources/")}
    )


def test_outputs_are_named_by_revisions_that_are_computed_here(tmp_path: Path):
    found = inspected(tmp_path, LEFT)

    rrev, prev = revision("export/"), revision("package-0/")
    assert found["rrev"] == rrev
    assert [row["name"] for row in found["outputs"]] == [
        *(
            f"{rrev}~{name}"
            for name in ("conanfile.py", "conanmanifest.txt", "conan_export.tgz", "conan_sources.tgz")
        ),
        *(
            f"{rrev}~{PID}~{prev}~{name}"
            for name in ("conaninfo.txt", "conanmanifest.txt", "conan_package.tgz")
        ),
    ]
    manifest = (tmp_path / "work" / found["outputs"][5]["path"]).read_text().splitlines()
    assert manifest[0] == str(EPOCH)
    assert [line.partition(":")[0] for line in manifest[1:]] == ["conaninfo.txt", "include/a.h", "lib/liba.a"]
    package = tmp_path / "work" / found["outputs"][6]["path"]
    with tarfile.open(package) as archive:
        assert archive.getnames() == ["include/a.h", "lib/liba.a"]
    listed = decode((tmp_path / "work" / "members-6").read_bytes())
    assert [one.path for one in listed] == ["include/a.h", "lib/liba.a"]


def test_containment_says_what_is_compiled_and_what_is_copied(tmp_path: Path):
    rows = {row["name"].rpartition("~")[2]: row for row in inspected(tmp_path, LEFT)["outputs"]}

    assert (rows["conan_package.tgz"]["containment"], rows["conan_package.tgz"]["missing"]) == (
        "partial",
        ["lib/liba.a"],
    )
    for name in names.RECIPE_FILES:
        assert rows[name]["containment"] == "full"


LIES = {
    "another package id": (LEFT, {"packages": ["0" * 40]}, "another package"),
    "another recipe than the remote's": (LEFT, {"rrev": "0" * 32}, "has the revision"),
    "no package": ({k: v for k, v in LEFT.items() if "package" not in k}, {}, "no conaninfo.txt"),
    "no recipe": ({k: v for k, v in LEFT.items() if "export" not in k}, {}, "no whole recipe"),
}


@pytest.mark.parametrize(("left", "job", "why"), LIES.values(), ids=LIES)
def test_a_build_that_lies_about_itself_is_refused(tmp_path: Path, left, job, why):
    with pytest.raises(Hostile, match=why):
        inspected(tmp_path, left, **job)


def relations(tmp_path: Path, theirs: dict[str, bytes]) -> dict[str, tuple[str, str]]:
    files = {f"theirs-{number}": data for number, data in enumerate(theirs.values())}
    asked = {
        key: {"file": f"theirs-{number}", "sha256": hashlib.sha256(data).hexdigest()}
        for number, (key, data) in enumerate(theirs.items())
    }
    rows = inspected(tmp_path, LEFT, theirs=asked, files=files)["outputs"]
    return {
        row["name"].rpartition("~")[2] + str(row["name"].count("~")): (row["relation"], row["reason"])
        for row in rows
    }


def test_upstreams_files_are_compared_by_content_and_times_are_not(tmp_path: Path):
    package = tar({"lib/liba.a": b"\x7fcode", "include/a.h": b"int a;\n"}, tmp_path / "p.tgz", packed=True)
    export = tar({"conandata.yml": b"sources: {}\n", "more": b""}, tmp_path / "e.tgz", packed=True)
    manifest = pack.manifest({"x": "0" * 32}, 5)

    found = relations(
        tmp_path,
        {
            f"{PID}~conan_package.tgz": package.read_bytes(),
            f"{PID}~conaninfo.txt": INFO,
            f"{PID}~conanmanifest.txt": manifest,
            "conan_export.tgz": export.read_bytes(),
            "conan_sources.tgz": b"no archive",
            "conanfile.py": LEFT["export/conanfile.py"],
        },
    )

    assert found["conan_package.tgz3"] == ("equivalent", "")
    assert found["conaninfo.txt3"] == found["conanfile.py1"] == ("identical", "")
    assert found["conanmanifest.txt3"] == found["conan_export.tgz1"] == ("different", "")
    assert found["conan_sources.tgz1"] == ("different", "not gzip data")
    assert found["conanmanifest.txt1"] == ("none", "")


def test_a_manifest_of_another_time_is_equivalent(tmp_path: Path):
    sums = {
        name: hashlib.md5(data, usedforsecurity=False).hexdigest()
        for name, data in (("conaninfo.txt", INFO), ("include/a.h", b"int a;\n"), ("lib/liba.a", b"\x7fcode"))
    }

    found = relations(tmp_path, {f"{PID}~conanmanifest.txt": pack.manifest(sums, 5)})

    assert found["conanmanifest.txt3"] == ("equivalent", "")


def test_a_remotes_recipe_is_known_down_to_the_files_in_its_archives(tmp_path: Path):
    export = tar({"conandata.yml": b"sources: {}\n"}, tmp_path / "e", packed=True).read_bytes()
    sources = tar({"src/a.c": b"int a;\n"}, tmp_path / "s", packed=True).read_bytes()
    recipe = {
        "a-1.0/conanfile.py": SOURCE["conanfile.py"], "a-1.0/conanmanifest.txt": b"5\n",
        "a-1.0/conan_export.tgz": export, "a-1.0/conan_sources.tgz": sources,
    }  # fmt: skip
    packed = tar(recipe, tmp_path / "r", packed=True).read_bytes()

    rows = inspected(tmp_path, LEFT, recipe=True, source="recipe.tar.gz", files={"recipe.tar.gz": packed})[
        "outputs"
    ]

    assert {row["name"].rpartition("~")[2]: row["containment"] for row in rows}["conan_sources.tgz"] == "full"


@pytest.mark.parametrize(
    "recipe",
    [
        {"a/other.py": b""},
        {"a/b/conanfile.py": b""},
        {"conanfile.py": b""},
        {"a/conanfile.py": b"", "b/conanfile.py": b""},
    ],
)
def test_a_source_that_is_no_recipe_of_a_remote_is_refused(tmp_path: Path, recipe):
    path = tar(recipe, tmp_path / "r.tar.gz", packed=True)

    with pytest.raises(Hostile, match="no recipe"):
        worker._recipe_files(path, "0" * 32, tmp_path / "into")


def test_a_home_of_conans_has_our_command_and_the_remotes_of_the_run(tmp_path: Path):
    (tmp_path / "command.py").write_text("# ours")

    worker._furnish(tmp_path / "home", tmp_path, [("locked", "http://127.0.0.1:1/locked")])

    assert (tmp_path / "home/extensions/commands/cmd_pyrsia.py").read_text() == "# ours"
    remotes = json.loads((tmp_path / "home/remotes.json").read_text())["remotes"]
    assert [(row["name"], row["url"]) for row in remotes] == [("locked", "http://127.0.0.1:1/locked")]
    assert "core:non_interactive=True" in (tmp_path / "home/global.conf").read_text().splitlines()


def test_a_source_without_a_conanfile_is_refused(tmp_path: Path):
    tar({"a-1.0/README": b"", "a-1.0/packaging/conanfile.py": b""}, tmp_path / "source.tar.gz", packed=True)
    job = {"source": "source.tar.gz", "ref": "", "subdir": "", "epoch": EPOCH, "backwards": False}

    with pytest.raises(Hostile, match=r"no conanfile\.py in its top folder"):
        worker._unpacked(job, tmp_path, tmp_path / "one")

    found = worker._unpacked({**job, "subdir": "packaging"}, tmp_path, tmp_path / "two")
    assert Path(found).name == "packaging"


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip", "bare", "broken", "cut"])
def test_a_downloaded_source_of_any_kind_is_looked_into(tmp_path: Path, kind: str):
    data, path = b"\x7fcode" * 2, tmp_path / ("archive-0.zip" if kind == "zip" else "archive-0.tar")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("top/a.c", data)
    elif kind == "bare":
        path.write_bytes(data)
    elif kind == "broken":
        path.write_bytes(gzip.compress(b"no tar " * 200))
    else:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:gz" if kind == "cut" else kind) as out:
            link = tarfile.TarInfo("top/link")
            link.type, link.linkname = tarfile.SYMTYPE, "../../out"
            out.addfile(link)
            info = tarfile.TarInfo("top/a.c")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        path.write_bytes(raw.getvalue()[: 60 if kind == "cut" else None])

    found = [one.sha256 for one in worker._downloaded(path)]

    if kind in ("broken", "cut"):
        assert hashlib.sha256(data).hexdigest() not in found
    else:
        assert found == [hashlib.sha256(data).hexdigest()]
