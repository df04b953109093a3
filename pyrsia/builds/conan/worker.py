"""The part of the conan plug-in that touches recipes and packages of strangers; it only ever runs inside the sandbox.

Operations: `plan` and `build` run Conan, and with it the recipe; `inspect` runs nothing of a stranger's: it reads
what a build left, computes revisions anew, and writes the outputs.

Only the standard library and modules of ours that say the same of themselves are imported. What `plan` and `build`
answer is a stranger's word to whoever reads it.

Source: docs/builds-conan.md; docs/sandbox.md.
"""

import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from pyrsia.builds.conan import desk, names, pack
from pyrsia.builds.conan.names import Place
from pyrsia.builds.containment import containment
from pyrsia.builds.members import Hostile, Member, encode
from pyrsia.builds.members_tar import Gunzip
from pyrsia.builds.unpack import read_source, serve, source_members, unpack_source
from pyrsia.units import MAX_ARCHIVE_MEMBERS, MAX_UNPACKED_BYTES

LEFT: Final = "left.tar"  # what a build hands over
_PROFILES: Final = "profiles"
_SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


# -- running Conan --


def plan(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Bring what a build of this recipe needs through the way out; the recipe's revision and package ids."""
    origins = job["origins"]
    stock = desk.Stock(origins=origins, way_out=job["way_out"])
    remotes = [(name, f"{job['way_out']}/{name}") for name in job["remotes"]]
    folder = _unpacked(job, inputs, work)
    answer = _conan(job | {"do": "plan", "folder": folder}, inputs, work, stock, remotes)
    if folder and "failed" not in answer:
        answer["newest"] = _newest(inputs / job["source"])
    return answer


def build(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Build every profile's package from the lock's files alone, and leave recipe and packages in one tar."""
    stock = desk.Stock()
    for title, version, name, sha256 in job["locked"]:
        if name.startswith("source~"):
            stock.sources[sha256] = inputs / sha256
        else:
            stock.files.setdefault(names.titled(title, version), {})[name] = inputs / sha256
    folder = _unpacked(job, inputs, work)
    if not folder:
        ref = names.parse(job["ref"].partition("#")[0])
        stock.files[ref] = _recipe_files(
            inputs / job["source"], job["ref"].partition("#")[2], work / "recipe"
        )
    answer = _conan(
        job | {"do": "build", "folder": folder, "upstream": False},
        inputs,
        work,
        stock,
        [(desk.REMOTE, f"http://127.0.0.1:{desk.PORT}/{desk.REMOTE}")],
    )
    if "failed" not in answer:
        parts = {"export": answer.pop("export"), "sources": answer.pop("sources")}
        for number, one in enumerate(answer["packages"]):
            parts[f"package-{number}"] = one.pop("folder")
        with tarfile.open(work / LEFT, "w", format=tarfile.PAX_FORMAT) as out:
            for name, place in parts.items():
                if os.path.isdir(place):
                    out.add(place, name)
    return answer


def _unpacked(job: Mapping[str, Any], inputs: Path, work: Path) -> str:
    """The recipe's folder for a source that was given along; "" for a recipe out of a remote."""
    if not job["source"] or job["ref"]:
        return ""
    top = unpack_source(inputs / job["source"], work / "src", job["epoch"], backwards=job["backwards"])
    recipe = top / job["subdir"]
    if not (recipe / names.CONANFILE).is_file():
        where = ascii(job["subdir"]) if job["subdir"] else "its top folder"
        raise Hostile(f"the source has no conanfile.py in {where}; the parameter subdir names another one")
    return str(recipe)


def _conan(
    job: dict[str, Any], inputs: Path, work: Path, stock: desk.Stock, remotes: list[tuple[str, str]]
) -> dict[str, Any]:
    home = work / job["home"]
    _furnish(home, inputs, remotes)
    os.umask(job["umask"])
    order, answer = work / "order.json", work / "answer.json"
    profiles = []
    for name, text in sorted(job["profiles"].items()):
        path = work / _PROFILES / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("@HOME@", str(home)))
        profiles.append(str(path))
    order.write_text(json.dumps({**job, "profiles": profiles}))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {
        "CONAN_HOME": str(home),
        "PATH": ":".join(part for part in (job["path"], _SYSTEM_PATH) if part),
        "SOURCE_DATE_EPOCH": str(job["epoch"]),
        "TZ": job["zone"],
        "NO_PROXY": "127.0.0.1",
    }
    here = desk.serve(stock)
    try:
        code = subprocess.call(
            ["conan", "pyrsia", str(order), str(answer)], cwd=work, env=environment, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise Hostile("this environment has no conan") from None
    finally:
        here.shutdown()
    os.umask(0o022)
    if code:
        return {"failed": code}
    value = json.loads(answer.read_text())
    if not isinstance(value, dict):
        raise Hostile("Conan left no answer")
    return value


def _furnish(home: Path, inputs: Path, remotes: list[tuple[str, str]]) -> None:
    """A fresh Conan home: our command, the remotes of this run, and nothing of the machine's own."""
    commands = home / "extensions" / "commands"
    commands.mkdir(parents=True)
    shutil.copyfile(inputs / "command.py", commands / "cmd_pyrsia.py")
    rows = [{"name": name, "url": url, "verify_ssl": False} for name, url in remotes]
    (home / "remotes.json").write_text(json.dumps({"remotes": rows}))
    settings = {
        "core:non_interactive": "True",
        "core.download:retry": "0",
        "core.sources:download_urls": f"['http://127.0.0.1:{desk.PORT}/{desk.SOURCES}']",
        "core:skip_warnings": "['experimental']",
        "tools.system.package_manager:mode": "check",  # a build installs nothing; what lacks is told
        "tools.build:jobs": "2",
    }
    (home / "global.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def _newest(source: Path) -> int:
    """The newest member time of a source archive, in s since 1970."""
    return max((time for _, folder, _, _, time, _ in read_source(source) if not folder), default=0)


# -- recipes out of remotes --


def _recipe_files(source: Path, rrev: str, into: Path) -> dict[str, Path]:
    """The files of a recipe that travels as one archive of the files that a remote gave."""
    into.mkdir()
    found = {}
    for name, folder, _, _, _, pieces in read_source(source):
        file = name.rpartition("/")[2]
        if folder:
            continue
        if file not in names.RECIPE_FILES or name.count("/") != 1 or file in found:
            raise Hostile("the source is no recipe of a Conan remote")
        path = into / file
        with path.open("xb") as out:
            for piece in pieces:
                out.write(piece)
        found[file] = path
    return {str(Place(rrev, file)): path for file, path in found.items()}


# -- inspecting --


def inspect(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Everything that the reveal says about what was built. Nothing of it runs."""
    with (inputs / LEFT).open("rb") as file:
        items, folders = pack.read(file, work / "items")
    outputs = work / "outputs"
    outputs.mkdir()
    epoch = job["epoch"]
    made, rrev = _recipe(items, folders, outputs, epoch)
    if job["rrev"] and rrev != job["rrev"]:
        raise Hostile(
            f"the recipe has the revision {rrev}, not {job['rrev']}: it was changed, or counts otherwise"
        )
    for number, package_id in enumerate(job["packages"]):
        made += _package(items, folders, f"package-{number}", rrev, package_id, outputs, epoch)
    source = _known(job, inputs, work)
    rows = []
    for number, one in enumerate(made):
        (work / f"members-{number}").write_bytes(encode(one.members))
        kind, missing = containment(_payload(one), source)
        row: dict[str, Any] = {
            "name": str(one.place),
            "path": str(one.path.relative_to(work)),
            "stable": one.stable,
            "normalised": list(one.normalised),
            "containment": kind,
            "missing": list(missing[:20]),
            "relation": "none",
            "reason": "",
        }
        _compare(row, one, job, inputs, work, number)
        rows.append(row)
    return {"rrev": rrev, "outputs": rows}


def _recipe(
    items: Mapping[str, pack.Item], folders: list[str], outputs: Path, epoch: int
) -> tuple[list[pack.Made], str]:
    export, sources = pack.below(items, "export"), pack.below(items, "sources")
    if export.pop(names.MANIFEST, None) is None or names.CONANFILE not in export:
        raise Hostile("the build left no whole recipe")
    md5s = pack.sums(export) | pack.sums(sources, "export_source/")
    rrev = pack.revision(md5s)
    conanfile = export.pop(names.CONANFILE)
    if conanfile.data is None:
        raise Hostile("conanfile.py is a link")
    made = [
        pack.of_file(Place(rrev, names.CONANFILE), conanfile.data),
        _manifest(Place(rrev, names.MANIFEST), md5s, outputs, epoch),
    ]
    for file, top, found in ((names.EXPORT, "export", export), (names.SOURCES, "sources", sources)):
        if found:
            place = Place(rrev, file)
            made.append(pack.of_archive(place, found, outputs / str(place), epoch, _lost(folders, top)))
    return made, rrev


def _package(
    items: Mapping[str, pack.Item],
    folders: list[str],
    top: str,
    rrev: str,
    package_id: str,
    outputs: Path,
    epoch: int,
) -> list[pack.Made]:
    found = pack.below(items, top)
    found.pop(names.MANIFEST, None)
    info = found.get(names.INFO)
    if info is None or info.data is None:
        raise Hostile("a package has no conaninfo.txt")
    if pack.package_id(info.data.read_bytes()) != package_id:
        raise Hostile(f"the conaninfo.txt of {package_id} says that it is another package")
    md5s = pack.sums(found)
    prev = pack.revision(md5s)
    del found[names.INFO]
    whole = Place(rrev, names.PACKAGE, package_id, prev)
    return [
        pack.of_file(Place(rrev, names.INFO, package_id, prev), info.data),
        _manifest(Place(rrev, names.MANIFEST, package_id, prev), md5s, outputs, epoch),
        pack.of_archive(whole, found, outputs / str(whole), epoch, _lost(folders, top)),
    ]


def _lost(folders: list[str], top: str) -> int:
    return sum(folder.startswith(f"{top}/") for folder in folders)


def _manifest(place: Place, md5s: Mapping[str, str], outputs: Path, epoch: int) -> pack.Made:
    path = outputs / str(place)
    path.write_bytes(pack.manifest(md5s, epoch))
    return pack.of_file(place, path, ["manifest-time:1"])


def _payload(one: pack.Made) -> list[Member]:
    """What containment is asked of: recipe files and packed files; what Conan itself writes is left out."""
    return [] if one.place.file in (names.MANIFEST, names.INFO) else [m for m in one.members if m.size]


def _known(job: Mapping[str, Any], inputs: Path, work: Path) -> list[Member]:
    """The files of the source, and of those archives among the downloaded sources that can be read."""
    found = source_members(inputs / job["source"])
    if job["recipe"]:
        found += _nested(inputs / job["source"], work / "nested")
    for name in job["archives"]:
        found += _downloaded(inputs / name)
    return found


def _downloaded(path: Path) -> list[Member]:
    """The plain files of an archive of any common kind, or of a single file; none of what cannot be read.

    Only digests are taken, so names and links may be as they like; counts and sizes have the usual bounds.
    """
    found: list[Member] = []
    try:
        if path.name.endswith(".zip"):
            return source_members(path)
        with tarfile.open(path, "r|*") as archive:
            left = MAX_UNPACKED_BYTES.value
            for item in archive:
                left -= item.size
                if left < 0 or len(found) >= MAX_ARCHIVE_MEMBERS.value:
                    return []
                contents = archive.extractfile(item) if item.isreg() else None
                if contents is not None:
                    found.append(Member(path.name, _digest(contents), item.size, exec=False))
    except (tarfile.ReadError, tarfile.CompressionError):
        with path.open("rb") as file:
            return [Member(path.name, _digest(file), path.stat().st_size, exec=False)]
    except (Hostile, tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError):
        return []
    return found


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 16):
        digest.update(piece)
    return digest.hexdigest()


def _nested(path: Path, scratch: Path) -> list[Member]:
    """The files within the archives of a remote's recipe."""
    found: list[Member] = []
    try:
        files = _recipe_files(path, "0" * 32, scratch)
    except (Hostile, OSError):
        return []
    for file in files.values():
        if file.name.endswith(".tgz"):
            try:
                found += _read_tgz(file, scratch / f"in-{file.name}")
            except Hostile:
                continue
    return found


def _read_tgz(path: Path, into: Path) -> list[Member]:
    with path.open("rb") as file:
        stream = Gunzip(file)
        items, _ = pack.read(stream, into)  # type: ignore[arg-type]
        if not stream.rest_is_zero():
            raise Hostile("trailing data behind the tar archive")
    return pack.member_list(items)


def _compare(
    row: dict[str, Any], one: pack.Made, job: Mapping[str, Any], inputs: Path, work: Path, number: int
) -> None:
    """How an output relates to the file of the same kind that the remote already has, if it has one."""
    key = f"{one.place.package_id}~{one.place.file}" if one.place.package_id else one.place.file
    theirs = job["theirs"].get(key)
    if theirs is None:
        return
    path = inputs / theirs["file"]
    try:
        if one.place.file.endswith(".tgz"):
            members = _read_tgz(path, work / f"theirs-{number}")
            their_stable = pack.stable(members)
        else:
            other = pack.of_file(one.place, path)
            members, their_stable = list(other.members), other.stable
    except Hostile as error:
        row["relation"], row["reason"] = "different", str(error)
        return
    (work / f"upstream-{number}").write_bytes(encode(members))
    if _sha256(one.path) == theirs["sha256"]:
        row["relation"] = "identical"
    else:
        row["relation"] = "equivalent" if their_stable == one.stable else "different"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return _digest(file)


OPERATIONS = {"plan": plan, "build": build, "inspect": inspect}

if __name__ == "__main__":
    sys.exit(serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
