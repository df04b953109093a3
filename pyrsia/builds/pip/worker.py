"""The part of the pip plug-in that touches archives of strangers; it only ever runs inside the sandbox.

    python worker.py INPUT-FOLDER WORK-FOLDER

INPUT-FOLDER holds `job.json` and the files that it names; WORK-FOLDER receives `result.json` and files.
Operations: `metadata` (headers of the METADATA of wheels), `study` (what a source and upstream's wheel say before
any backend runs), `lay` (unpack and compile build tools), `hook` (unpack a source, run one hook of its backend),
`inspect` (normalise, digests, containment, upstream).

Only the standard library and the few modules of ours that say the same of themselves are imported. The
result is data of a stranger to whoever reads it: the backend ran here.

Source: docs/builds-how.md, "Step by step"; docs/builds-pip.md, "Normalising"; PEP 427, PEP 517.
"""

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, BinaryIO, Final

from pyrsia.builds import members_tar, members_zip, normalise
from pyrsia.builds.containment import containment
from pyrsia.builds.members import Hostile, Names, encode, stable
from pyrsia.builds.unpack import put, read_source, serve, source_members, unpack_source
from pyrsia.builds.upstream import relation
from pyrsia.units import MAX_METADATA_BYTES

# Newer setuptools take CFLAGS in place of the interpreter's own, older ones beside them: so what those would be is
# said here in full, for every build in an environment with a compiler. No debug data: it is where paths hide.
FLAGS: Final = "-DNDEBUG -O2 -g0 -fwrapv -Wall -ffile-prefix-map={base}=."

# Where tools that read a repository's history take the version from instead: setuptools-scm and hatch-vcs, pbr, pdm.
VERSIONS: Final = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PBR_VERSION", "PDM_BUILD_SCM_VERSION")

# A line of `[console_scripts]` (the entry points specification), extras left out.
_SCRIPT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]{0,99})[ ]*=[ ]*(?P<module>[A-Za-z_][A-Za-z0-9_.]{0,199})[ ]*:[ ]*"
    r"(?P<first>[A-Za-z_][A-Za-z0-9_]{0,99})(?P<rest>(?:\.[A-Za-z_][A-Za-z0-9_]{0,99}){0,9})(?:[ ]*\[.*\])?"
)

# -- reading --


def metadata(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """The METADATA of each wheel up to its description, base64 by file name, or why it cannot be read."""
    found: dict[str, Any] = {"metadata": {}, "broken": {}}
    for name in job["wheels"]:
        try:
            with (inputs / name).open("rb") as file:
                found["metadata"][name] = base64.b64encode(_headers(_metadata_of(file))).decode()
        except Hostile as error:
            found["broken"][name] = str(error)
    return found


def _metadata_of(file: BinaryIO, name: str = "METADATA") -> bytes:
    for one in members_zip.read(file, strict=False):
        if re.fullmatch(rf"[^/]+\.dist-info/{name}", one.path):
            if one.size > MAX_METADATA_BYTES.value:
                raise Hostile(f"the {name} is too large")
            return b"".join(members_zip.content(file, one))
    raise Hostile(f"the wheel has no {name}")


def _headers(data: bytes) -> bytes:
    """A METADATA without its body, the README: resolution reads headers only."""
    return re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0] + b"\n"


def study(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """The newest member time of `file` in s since 1970, what packed it, what pyproject.toml of `source` requires."""
    generator = ""
    with (inputs / job["file"]).open("rb") as file:
        if job["file"].endswith(".whl"):
            generator = _generator(file)
        if job["file"].endswith((".whl", ".zip")):
            newest = normalise.newest_time(members_zip.read(file, strict=False))
        else:
            newest = max((when for _, _, _, _, when, _ in members_tar.read(file)), default=0)
    try:
        requires = _static_requires(_project_file(inputs / job["source"], job.get("subdir", "")))
    except Hostile as error:
        return {"newest": newest, "unreadable": str(error)}
    return {"newest": newest, "requires": requires, "generator": generator}


def _generator(file: BinaryIO) -> str:
    """What stands behind `Generator:` in a wheel's WHEEL; "" where it says nothing that can be read."""
    try:
        text = _metadata_of(file, "WHEEL").decode("utf-8", "replace")
    except Hostile:
        return ""
    match = re.search(r"^Generator:[ \t]*(.{0,200}?)[ \t\r]*$", text, re.MULTILINE)
    return match[1] if match else ""


def _project_file(path: Path, subdir: str) -> bytes:
    """The pyproject.toml of a source archive, or of a folder in it; b"" where it has none."""
    found, wanted = b"", f"{subdir}/pyproject.toml" if subdir else "pyproject.toml"
    for name, folder, size, _, _, pieces in read_source(path):
        if not folder and name.partition("/")[2] == wanted:
            if size > MAX_METADATA_BYTES.value:
                raise Hostile("pyproject.toml is too large")
            found = b"".join(pieces)
    return found


# -- unpacking and building --


def install(wheels: list[Path], into: Path) -> None:
    """Unpack build tools side by side: what `installer` does, without scripts' shebangs and bytecode."""
    names = Names()
    for path in wheels:
        with path.open("rb") as file:
            for one in members_zip.read(file, strict=False):
                name = _installed_name(one.path)
                if one.folder or name is None:
                    continue
                names.admit(name, one.size, folder=False)
                put(into, name, False, one.exec, members_zip.content(file, one))


def _installed_name(path: str) -> str | None:
    """Where a wheel's member goes (PEP 427): `.data/purelib` and `platlib` are merged, the rest of it is not."""
    match = re.fullmatch(r"[^/]+\.data/([a-z]+)/(.+)", path)
    if match is None:
        return path
    if match[1] in ("purelib", "platlib"):
        return match[2]
    return f"bin/{match[2]}" if match[1] == "scripts" else None


def scripts(entry_points: str, into: Path) -> None:
    """Write the commands that a tool's entry points name: build systems call each other by them (meson, cython).

    What cannot be read names nothing; a file that the wheel brought itself stays.
    """
    inside = False
    for line in entry_points.splitlines():
        if line.lstrip().startswith("["):
            inside = line.strip() == "[console_scripts]"
            continue
        match = _SCRIPT.fullmatch(line.strip()) if inside else None
        if match is not None and not (into / match["name"]).exists():
            into.mkdir(exist_ok=True)
            called = f"import sys\nfrom {match['module']} import {match['first']}\n"
            called += f"sys.exit({match['first']}{match['rest']}())\n"
            path = into / match["name"]
            path.write_text(f"#!{sys.executable} -SsPB\n{called}")
            path.chmod(0o755)


def lay(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Unpack build tools into `tools` and, if the job says so, compile their modules; nothing of them runs.

    What is compiled names no time and no path of this machine (PEP 552, unchecked), and what cannot be compiled is
    left as it is: test data of tools is written in many a dialect.
    """
    import py_compile  # only here: every other run does without

    tools = work / "tools"
    tools.mkdir()
    install([inputs / name for name in job["wheels"]], tools)
    for listed in sorted(tools.glob("*.dist-info/entry_points.txt")):
        scripts(listed.read_text("utf-8", "replace"), tools / "bin")
    for path in sorted(tools.rglob("*.py")) if job["compile"] else ():
        shown = str(path.relative_to(tools))
        if "/test" not in f"/{shown}":
            py_compile.compile(
                str(path),
                dfile=shown,
                quiet=2,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
    return {"tools": len(job["wheels"])}


def hook(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Run one hook of the source's backend: `requires`, `metadata` or `build`."""
    base = work / "elsewhere" / "varied" if job["vary"] else work
    source = unpack_source(inputs / job["source"], base / "src", job["epoch"], backwards=job["vary"])
    if job["subdir"]:
        source = _below(source, job["subdir"])
    output, answer = work / "out", work / "answer.json"
    output.mkdir()
    environment = _variables(job, base)
    mode = "vary" if job["vary"] else ""

    start = time.monotonic()

    def call(name: str) -> int:
        command = [sys.executable, "-S", "-s", "-P", "-B", str(inputs / "hook.py")]
        os.umask(0o002 if mode else 0o022)
        try:
            return subprocess.call(
                [*command, name, str(answer), str(output), mode], cwd=source, env=environment
            )
        finally:
            os.umask(0o022)

    code = call(job["hook"])
    if code == 0 and job["hook"] == "metadata" and json.loads(answer.read_text()) == "":
        code = call("build")
    if code:
        return {"failed": code}
    value = json.loads(answer.read_text())
    if job["hook"] == "requires":
        return {"requires": value}
    if job["hook"] == "metadata":
        return {"metadata": base64.b64encode(_built_metadata(output, str(value))).decode()}
    return {"file": value, "ms": int((time.monotonic() - start) * 1000)}


def _below(source: Path, subdir: str) -> Path:
    """A folder of the source; its name was checked outside, and the source holds no link."""
    folder = source / subdir
    if not folder.is_dir():
        raise Hostile(f"the source has no folder {subdir}")
    return folder


def _variables(job: dict[str, Any], base: Path) -> dict[str, str]:
    """The hook's environment: tools on their paths, the compiler's flags, and what is varied."""
    environment = dict(os.environ)
    tools = environment.pop("TOOLS", "")
    environment.pop("PYTHONPATH", None)
    if tools:
        environment["PYTHONPATH"] = tools
        environment["PATH"] = f"{tools}/bin:{environment.get('PATH', '/usr/bin:/bin')}"
    environment["SOURCE_DATE_EPOCH"] = str(job["epoch"])
    if job["native"]:
        environment["CFLAGS"] = environment["CXXFLAGS"] = FLAGS.format(base=base)
    else:  # what is optional must come out the same on hosts with a compiler and without
        environment["CC"] = environment["CXX"] = "false"
    if job["version"]:  # there is no history here that could be asked
        environment.update(dict.fromkeys(VERSIONS, job["version"]))
    if job["vary"]:
        environment["TZ"] = "VAR-9"
    return environment


def _static_requires(text: bytes) -> list[str]:
    """`build-system.requires`, or PEP 517's default for a source without it."""
    try:
        project = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Hostile(f"pyproject.toml cannot be read: {error}") from error
    system = project.get("build-system")
    if system is None:
        return ["setuptools>=40.8.0"]
    requires = system.get("requires") if isinstance(system, dict) else None
    if not isinstance(requires, list) or not all(isinstance(line, str) for line in requires):
        raise Hostile("pyproject.toml has no list build-system.requires")
    return requires


def _built_metadata(output: Path, name: str) -> bytes:
    if name.endswith(".whl"):
        with _plain(output / name).open("rb") as file:
            return _metadata_of(file)
    return _plain(output / name / "METADATA").read_bytes()[: MAX_METADATA_BYTES.value]


def _plain(path: Path) -> Path:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise Hostile("the backend's answer is no plain file")
    return path


# -- inspecting --


def inspect(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Everything that the reveal says about one built wheel. The wheel is data; nothing of it runs."""
    raw_path = inputs / job["wheel"]
    with raw_path.open("rb") as file:
        wheel = normalise.inspect(file)
        with (work / "canonical").open("wb") as out:
            canonical = normalise.rewrite(file, wheel, out, job["epoch"])
    _write(work / "canonical.members", encode(canonical))
    _write(work / "raw.members", encode(wheel.members))
    _write(work / "metadata", wheel.metadata)
    kind, missing = containment(wheel.members, source_members(inputs / job["source"]))
    result: dict[str, Any] = {
        "stable": stable(wheel.members),
        "normalised": normalise.removed(wheel, job["epoch"]),
        "containment": kind,
        "missing": list(missing[:20]),
        "info": wheel.info,
        "upstream_reason": "",
    }
    theirs: normalise.Wheel | None = None
    their_sha256 = ""
    if job["upstream"]:
        path = inputs / job["upstream"]
        with path.open("rb") as file:
            their_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            try:
                theirs = normalise.inspect(file)
            except Hostile as error:
                result["upstream_reason"] = str(error)
    if theirs is not None:
        _write(work / "upstream.members", encode(theirs.members))
        _write(work / "upstream.metadata", theirs.metadata)
    with raw_path.open("rb") as file:
        our_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    their_members = theirs.members if theirs else None
    result["relation"] = relation(wheel.members, our_sha256, their_members, their_sha256)
    return result


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


OPERATIONS = {"metadata": metadata, "study": study, "lay": lay, "hook": hook, "inspect": inspect}

if __name__ == "__main__":
    sys.exit(serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
