"""What touches strangers' archives and runs Maven; it only ever runs inside the sandbox.

Started as `python worker.py INPUTS WORK` with `job.json` in INPUTS; leaves `result.json` and files in WORK.
Imports the standard library and those of our modules that say the same of themselves.

Source: docs/builds-maven.md; docs/sandbox.md.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from pyrsia.builds import members_zip
from pyrsia.builds.containment import containment
from pyrsia.builds.maven import fixed, normalise, poms
from pyrsia.builds.members import Hostile, Member, encode, shown, stable
from pyrsia.builds.unpack import read_source, serve, source_members, unpack_source
from pyrsia.builds.upstream import relation
from pyrsia.units import MAX_MAVEN_PAGE_BYTES, MAX_POM_FILES

# What is checked about a source changes no file that comes out of it, and some of it asks the world.
SKIPPED: Final = (
    "animal.sniffer.skip", "apidocs.skip", "checkstyle.skip", "cpd.skip", "cyclonedx.skip", "enforcer.skip",
    "findbugs.skip", "gpg.skip", "jacoco.skip", "japicmp.skip", "license.skip", "maven.javadoc.skip",
    "maven.site.skip", "mdep.analyze.skip", "pmd.skip", "rat.skip", "revapi.skip", "spotbugs.skip",
    "spotless.check.skip", "spotless.apply.skip", "sonar.skip",
)  # fmt: skip
_TESTS: Final = {"run": (), "compile": ("-DskipTests",), "skip": ("-DskipTests", "-Dmaven.test.skip=true")}
_JAVA: Final = (
    "-Xmx768m -Xss2m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ActiveProcessorCount=1 -XX:-UsePerfData"
    " -XX:CompressedClassSpaceSize=192m -XX:ReservedCodeCacheSize=128m -Dfile.encoding=UTF-8 -Duser.language=en"
    " -Duser.country=US -Duser.name=builder"
)
_ENDINGS: Final = {"war": ".war", "ear": ".ear", "pom": ""}
_NOT_MAIN: Final = ("-sources.jar", "-javadoc.jar", "-tests.jar", "-test-sources.jar")


# -- reading --


def study(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Where the asked project stands in `source`, and the newest time of upstream's jar, else of the source."""
    times = [members_zip.EARLIEST]
    found: dict[str, poms.Pom] = {}
    tops: set[str] = set()
    for name, folder, size, _, stamp, pieces in read_source(inputs / job["source"]):
        top, _, path = name.partition("/")
        tops.add(top)
        if folder:
            continue
        times.append(stamp)
        if path == poms.FILE or path.endswith(f"/{poms.FILE}"):
            pom = _tolerant(b"".join(pieces) if size <= MAX_MAVEN_PAGE_BYTES.value else b"")
            if pom is not None:
                found[path.rpartition("/")[0]] = pom
            if len(found) > MAX_POM_FILES.value:
                raise Hostile(f"more than {MAX_POM_FILES.value} project files")
    if len(tops) != 1 or not found:
        raise Hostile("the source has no pom.xml below one top folder")
    if job["upstream"]:
        with (inputs / job["upstream"]).open("rb") as file:
            times = [one.time for one in members_zip.read(file, strict=False)] or times
    mine = found[min(found, key=lambda folder: (folder.count("/") + bool(folder), folder))]
    name = job["artifact"] or mine.name
    version = job["version"] if job["artifact"] else mine.version
    place = poms.find(found, job["group"] or mine.group, name, version)
    return {
        "newest": max(times),
        "root": place.root,
        "module": place.module,
        "packaging": place.pom.packaging,
        "final_name": place.pom.final_name,
        "attaches_sources": place.pom.attaches_sources or found[place.root].attaches_sources,
        "group": place.pom.group,
        "name": place.pom.name,
        "version": place.pom.version,
        "needs": poms.inherited(place.pom, {_of(one): one for one in found.values()}.get),
        "above": _above(place.pom, {_of(one): one for one in found.values()}),
    }


def _of(pom: poms.Pom) -> poms.Need:
    return pom.group, pom.name, pom.version


def _above(pom: poms.Pom, found: dict[poms.Need, poms.Pom]) -> poms.Need:
    """The first parent of a project that is not in its source, empty strings without one."""
    seen: set[poms.Need] = set()
    while pom.parent in found and pom.parent not in seen:
        seen.add(pom.parent)
        pom = found[pom.parent]
    return pom.parent


def _tolerant(data: bytes) -> poms.Pom | None:
    """A project file; None for one that cannot be read: test data is full of those."""
    try:
        return poms.read(data)
    except Hostile:
        return None


def pom(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """What a repository's project file says of itself."""
    found = poms.read((inputs / job["pom"]).read_bytes())
    return {
        "group": found.group,
        "version": found.version,
        "packaging": found.packaging,
        "parent": found.parent,
    }


def needs(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """What a project leads to at run time, from the project files and names of jars that its build fetched."""
    places = {(group, name, version): file for group, name, version, file in job["poms"]}

    def of(key: poms.Need) -> poms.Pom | None:
        return _tolerant((inputs / places[key]).read_bytes()) if key in places else None

    start = [(group, name, version) for group, name, version in job["needs"]]
    above = of(tuple(job["above"]))
    start += poms.inherited(above, of) if above is not None else []
    return {
        "needs": poms.closure(start, of, [(group, name, version) for group, name, version in job["jars"]])
    }


def versions(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """The newest release and all versions of a repository's list."""
    root = poms.read_xml((inputs / job["metadata"]).read_bytes())
    if root.name != "metadata":
        raise Hostile("not a list of versions")
    listed = [one.text.strip() for one in root.all("versioning/versions/version")]
    return {"release": root.get("versioning/release"), "versions": listed[-2000:]}


# -- running Maven --


def run(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Build the project with Maven: with the way out while planning, offline on a ready repository afterwards."""
    place = work / job["folder"]
    source = unpack_source(inputs / job["source"], place, job["epoch"], backwards=job["backwards"])
    repository = Path(job["repository"]) if job["repository"] else work / "repository"
    settings = work / "settings.xml"
    settings.write_text(_settings(job["remote"]))
    if not job["repository"]:
        fixed.lay(repository)
    root = source / job["root"] if job["root"] else source
    command = [
        "mvn",
        "-B",
        "-ntp",
        "-e",
        "-s",
        str(settings),
        "-gs",
        str(settings),
        "-f",
        str(root / poms.FILE),
    ]
    command += ["-o"] if job["repository"] else []
    command += [f"-Dmaven.repo.local={repository}", "-Duser.home=/tmp", "-Dstyle.color=never"]
    command += [f"-Dproject.build.outputTimestamp={_iso(job['epoch'])}", *_TESTS[job["tests"]]]
    command += [f"-D{name}=true" for name in SKIPPED]
    command += [f"-D{one}" for one in job["define"].split()]
    command += ["-P", job["profiles"]] if job["profiles"] else []
    command += ["-pl", job["module"], "-am"] if job["module"] else []
    command += ["package"]
    command += [f"{fixed.GROUP}:{fixed.NAME}:jar-no-fork"] if job["sources"] == "attach" else []
    environment = dict(os.environ) | {"MAVEN_OPTS": _JAVA, "MAVEN_SKIP_RC": "1", "TZ": job["zone"]}
    for name in ("PYTHONPATH", "JAVA_TOOL_OPTIONS"):
        environment.pop(name, None)
    code = subprocess.call(command, cwd=root, env=environment)
    if code:
        return {"failed": code}
    return {"files": _outputs(job, root / job["module"] if job["module"] else root, work)}


def _settings(remote: str) -> str:
    """Settings whose one mirror is the recording proxy; checksums are not asked for, since the record has its own."""
    policy = "<updatePolicy>never</updatePolicy><checksumPolicy>ignore</checksumPolicy>"
    place = f"<id>central</id><url>{remote}</url><releases>{policy}</releases><snapshots>{policy}</snapshots>"
    return (
        "<settings><interactiveMode>false</interactiveMode>"
        f"<mirrors><mirror><id>central</id><mirrorOf>*</mirrorOf><url>{remote}</url></mirror></mirrors>"
        "<profiles><profile><id>pyrsia</id>"
        f"<repositories><repository>{place}</repository></repositories>"
        f"<pluginRepositories><pluginRepository>{place}</pluginRepository></pluginRepositories>"
        "</profile></profiles><activeProfiles><activeProfile>pyrsia</activeProfile></activeProfiles></settings>\n"
    )


def _iso(epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def _outputs(job: dict[str, Any], module: Path, work: Path) -> list[str]:
    """Copy what the asked module made into `out`, under the names that a repository gives; those names."""
    out, target = work / "out", module / "target"
    out.mkdir()
    stem = f"{job['artifact']}-{job['version']}"
    pom_file = next(
        path
        for path in (module / ".flattened-pom.xml", module / "dependency-reduced-pom.xml", module / poms.FILE)
        if path.is_file()
    )
    shutil.copyfile(pom_file, out / f"{stem}.pom")
    ending = _ENDINGS.get(job["packaging"], ".jar")
    if ending:
        main = _main(target, stem, job["final_name"], ending)
        shutil.copyfile(main, out / f"{stem}{ending}")
        for path in (
            target / f"{main.name.removesuffix(ending)}-sources.jar",
            target / f"{stem}-sources.jar",
        ):
            if path.is_file():
                shutil.copyfile(path, out / f"{stem}-sources.jar")
                break
    return sorted(path.name for path in out.iterdir())


def _main(target: Path, stem: str, final_name: str, ending: str) -> Path:
    for name in (stem, final_name):
        if name and (target / f"{name}{ending}").is_file():
            return target / f"{name}{ending}"
    found = [
        path
        for path in sorted(target.glob(f"*{ending}"))
        if not path.name.endswith(_NOT_MAIN) and not path.name.startswith("original-")
    ]
    if len(found) != 1:
        raise Hostile(f"the build left {len(found)} files that could be {shown(stem + ending)}")
    return found[0]


# -- inspecting --


def inspect(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Everything that the reveal says about the files of one build. They are data; nothing of them runs."""
    source = source_members(inputs / job["source"])
    found = []
    for number, one in enumerate(job["files"]):
        look = _inspect_pom if one["name"].endswith(".pom") else _inspect_jar
        found.append(look(one, str(number), job["epoch"], source, inputs, work))
    return {"files": found}


def _inspect_pom(
    one: dict[str, Any], number: str, epoch: int, source: list[Member], inputs: Path, work: Path
) -> dict[str, Any]:
    data = (inputs / one["file"]).read_bytes()
    poms.read(data)
    mine = _alone(one["name"], data)
    _write(work, number, "canonical", data)
    _write(work, number, "canonical.members", encode(mine))
    _write(work, number, "raw.members", encode(mine))
    result = _said(mine, mine, source, [])
    if one["upstream"]:
        theirs = (inputs / one["upstream"]).read_bytes()
        _write(work, number, "upstream.members", encode(_alone(one["name"], theirs)))
        result["relation"] = "identical" if theirs == data else "different"
    return result


def _alone(name: str, data: bytes) -> list[Member]:
    """A file that is no archive, as the list of its one member."""
    return [Member(name, hashlib.sha256(data).hexdigest(), len(data), False)]


def _inspect_jar(
    one: dict[str, Any], number: str, epoch: int, source: list[Member], inputs: Path, work: Path
) -> dict[str, Any]:
    path = inputs / one["file"]
    with path.open("rb") as file:
        jar = normalise.inspect(file)
        with (work / f"{number}.canonical").open("wb") as out:
            normalise.rewrite(file, jar, out, epoch)
    _write(work, number, "canonical.members", encode(jar.canonical))
    _write(work, number, "raw.members", encode(jar.members))
    payload = [member for member in jar.members if not _made(member.path)]
    result = _said(payload, jar.canonical, source, normalise.removed(jar, epoch))
    if one["upstream"]:
        theirs: normalise.Jar | None = None
        with (inputs / one["upstream"]).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            try:
                theirs = normalise.inspect(file)
            except Hostile as error:
                result["upstream_reason"] = str(error)
        if theirs is not None:
            _write(work, number, "upstream.members", encode(theirs.members))
        mine = hashlib.sha256(path.read_bytes()).hexdigest()
        result["relation"] = relation(jar.canonical, mine, theirs.canonical if theirs else None, digest)
    return result


def _made(path: str) -> bool:
    """Whether Maven's archiver writes that file by itself."""
    return path in (normalise.MANIFEST, "META-INF/INDEX.LIST") or path.startswith("META-INF/maven/")


def _said(
    payload: list[Member], canonical: Any, source: list[Member], normalised: list[str]
) -> dict[str, Any]:
    kind, missing = containment(payload, source)
    return {
        "stable": stable(canonical),
        "normalised": normalised,
        "containment": kind,
        "missing": list(missing[:20]),
        "relation": "none",
        "upstream_reason": "",
    }


def _write(work: Path, number: str, what: str, data: bytes) -> None:
    (work / f"{number}.{what}").write_bytes(data)


OPERATIONS: Final = {
    "study": study,
    "pom": pom,
    "needs": needs,
    "versions": versions,
    "run": run,
    "inspect": inspect,
}

if __name__ == "__main__":
    sys.exit(serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
