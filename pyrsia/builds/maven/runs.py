"""Runs of the worker for Maven builds: a source is read, its build is recorded, made again offline, and inspected.

What a run may see is decided here: the source and one way out while planning; the source and a read-only repository
that holds the lock's files while building; only data while inspecting. What is asked for, and what comes of it, the
plug-in says.

Source: docs/builds-maven.md; docs/sandbox.md.
"""

import functools
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Answer, Inside, Program, read_plain
from pyrsia.builds.maven import fixed, lock, results
from pyrsia.builds.maven.coordinates import Artifact, of_path, of_request, parse_name, release
from pyrsia.builds.maven.origins import Origin
from pyrsia.builds.maven.recipe import parameters_of
from pyrsia.builds.maven.remotes import REMOTE, Remotes
from pyrsia.builds.model import FileOut, Inputs, NamedFile, Output, PhaseFailed
from pyrsia.builds.sandbox.model import EGRESS_PORT, Mount
from pyrsia.errors import Refusal
from pyrsia.units import MAX_MAVEN_FILE_BYTES, MAX_MAVEN_LOCK_LINES
from pyrsia.wire.text import safe

PROGRAM: Final = Program(
    "builds/maven/worker.py",
    modules=(
        "builds/maven/fixed.py",
        "builds/maven/normalise.py",
        "builds/maven/poms.py",
        "builds/maven/texts.py",
    ),
    hostile=frozenset({"run"}),
)
_PROXY: Final = f"http://127.0.0.1:{EGRESS_PORT}/{REMOTE}"
_REPOSITORY: Final = "/mnt"  # of every environment, empty there
# A host's own Java and Maven keep their settings outside /usr.
_HOST_ETC: Final = ("/etc/maven", *(f"/etc/java-{number}-openjdk" for number in range(8, 40)))
_AUTHOR: Final = "tell the project's authors; the log of the run has the details"


@dataclass(frozen=True, slots=True)
class Study:
    """What is known of a source before anything of it runs; see `worker.study`."""

    artifact: Artifact
    value: Mapping[str, Any]

    @property
    def packaging(self) -> str:
        return str(self.value["packaging"])


class Runs:
    """Runs operations of the worker.

    Args:
        inside: how they run. scratch: folder for what is mounted while one runs.
    """

    def __init__(self, inside: Inside, scratch: Path) -> None:
        self._inside = inside
        self._scratch = scratch

    async def study(self, origin: Origin, upstream: Mapping[str, FileOut]) -> Study:
        """What a source and upstream's file say before anything of the source runs.

        Raises:
            PhaseFailed: the source does not hold what is asked for.
        """
        asked = origin.artifact
        main = next((one for name, one in upstream.items() if results.is_main(name)), None)
        job = {
            "operation": "study",
            "source": origin.inner,
            "upstream": "" if main is None else "upstream.zip",
            "group": asked.group if asked else "",
            "artifact": asked.name if asked else "",
            "version": asked.version if asked else "",
        }
        files = {origin.inner: origin.path} | ({"upstream.zip": main.path} if main else {})
        who = str(asked or origin.source["file"])
        async with self._inside.run(job, files, phase="metadata", who=who) as answer:
            value = answer.value
        if asked is None or not asked.version:  # a source that was given along says itself whose it is
            group, name = parse_name(f"{value['group']}:{value['name']}")
            asked = Artifact(group, name, release(str(value["version"])))
        return Study(asked, value)

    async def recorded(
        self,
        remotes: Remotes,
        origin: Origin,
        study: Study,
        recipe: Mapping[str, Any],
        environment: Environment,
    ) -> list[lock.Locked]:
        """Build once with the recording proxy as the one way out; what went in is what the build reads."""
        job = job_of(study, origin.inner, recipe, remote=_PROXY)
        who, moving = str(study.artifact), set[str]()
        async with remotes.recording(moving) as proxy:
            try:
                async with self._inside.run(
                    job,
                    {origin.inner: origin.path},
                    phase="requirements",
                    who=who,
                    epoch=recipe["sde"],
                    environment=environment,
                    egress=proxy.socket,
                    mounts=_host_mounts(environment),
                ) as answer:
                    _maven_ok(answer, "requirements", who)
            except PhaseFailed as error:
                if moving:
                    raise _moves(who, moving) from error
                raise proxy.trouble or error from None
            record = proxy.record
        lines = [lock.Locked(one.path, one.sha256, one.size) for one in record if lock.kept(one.path)]
        no_copy(study.artifact, lines)
        if len(lines) > MAX_MAVEN_LOCK_LINES.value:
            raise Refusal(
                "too-large",
                what=f"{who} reads {len(lines)} files of its repository; a lock has {MAX_MAVEN_LOCK_LINES.value}",
                who="the project",
                do="build one of its modules, or ask for it with `witness`",
            )
        return lines

    async def needs(
        self, remotes: Remotes, study: Study, lines: Sequence[lock.Locked]
    ) -> list[tuple[str, str]]:
        """(group:artifact, version) of what the built artifact needs at run time, dependencies first.

        Args:
            lines: what its build fetched; what Maven did not fetch, such as a module built beside it, is left out.
        """
        jars, files, told = set(), {}, []
        for number, line in enumerate(lines):
            found = of_path(line.path)
            if found is None or found == study.artifact:
                continue
            if line.path == found.path(".jar"):
                jars.add((found.group, found.name, found.version))
            elif line.path == found.path(".pom"):
                files[f"{number}.pom"] = await remotes.locked(line)
                told.append((found.group, found.name, found.version, f"{number}.pom"))
        job = {
            "operation": "needs",
            "needs": study.value["needs"],
            "above": study.value["above"],
            "poms": told,
            "jars": sorted(jars),
        }
        async with self._inside.run(job, files, phase="metadata", who=str(study.artifact)) as answer:
            value = answer.value["needs"]
        named = [Artifact(*(str(part) for part in one)) for one in value]
        # Only what the record has was asked about, and only that counts in the answer.
        return [
            (f"{one.group}:{one.name}", one.version)
            for one in named
            if (one.group, one.name, one.version) in jars
        ]

    async def built(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        environment: Environment,
        folder: Path,
        log: bytearray,
        *,
        vary: bool,
    ) -> dict[str, Path]:
        """The files that Maven left for the asked artifact, by name."""
        recipe, who = request["recipe"], request["purl"]
        inner = Origin.name_inside(inputs.source.name)
        origin_job = {"operation": "study", "source": inner, "upstream": ""} | _asked(of_request(request))
        files = {inner: inputs.source.path}
        async with self._inside.run(origin_job, files, phase="metadata", who=who) as answer:
            study = Study(of_request(request), answer.value)
        job = job_of(study, inner, recipe, remote=_PROXY) | {"repository": _REPOSITORY}
        if vary:
            job |= {"folder": "elsewhere/source", "zone": "Pacific/Auckland", "backwards": True}
        repository = await trio.to_thread.run_sync(self._laid_out, inputs.files)
        try:
            async with self._inside.run(
                job,
                files,
                phase="build",
                who=who,
                epoch=recipe["sde"],
                environment=environment,
                mounts=(Mount(repository, _REPOSITORY), *_host_mounts(environment)),
            ) as answer:
                log += answer.log
                _maven_ok(answer, "build", who, log=False)
                return await trio.to_thread.run_sync(_taken, answer, study.artifact, folder, who)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(
                    functools.partial(shutil.rmtree, repository, ignore_errors=True)
                )

    def _laid_out(self, files: tuple[NamedFile, ...]) -> Path:
        """A folder that is a local repository of `files`: links to the cache, copies of what cannot be linked.

        A link has the mode of its file. Blobs that peers brought are closed to everybody but the node, and the job
        runs as another user: those are copied too.
        """
        self._scratch.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="repository-", dir=self._scratch))
        folder.chmod(0o755)
        for name, path in files:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not _linked(path, place):
                shutil.copyfile(path, place)
                place.chmod(0o644)
        fixed.lay(folder)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        return folder

    async def inspected(
        self,
        who: str,
        source: NamedFile,
        files: Mapping[str, Path],
        upstream: Mapping[str, Path],
        sde: int,
        folder: Path,
        log: bytearray,
    ) -> tuple[Output, ...]:
        """The files of one build as outputs; what is written of them stands in `folder`.

        Args:
            files, upstream: by the names that a repository gives.
            sde: the one time of canonical members.

        Raises:
            PhaseFailed: one may not be published; the text says why.
        """
        inner = Origin.name_inside(source.name)
        given = {inner: source.path}
        told = []
        for number, (name, path) in enumerate(sorted(files.items())):
            given[f"{number}.ours"] = path
            theirs = upstream.get(name)
            if theirs is not None:
                given[f"{number}.theirs"] = theirs
            told.append(
                {"name": name, "file": f"{number}.ours", "upstream": f"{number}.theirs" if theirs else ""}
            )
        job = {"operation": "inspect", "source": inner, "files": told, "epoch": sde}
        async with self._inside.run(job, given, phase="normalise", who=who, epoch=sde) as answer:
            log += answer.log
            return await trio.to_thread.run_sync(
                functools.partial(results.collect, answer, dict(files), dict(upstream), folder, log)
            )


def _asked(artifact: Artifact) -> dict[str, str]:
    return {"group": artifact.group, "artifact": artifact.name, "version": artifact.version}


def job_of(study: Study, inner: str, recipe: Mapping[str, Any], *, remote: str) -> dict[str, Any]:
    """What the worker is told to run; `repository` empty: one is filled through `remote`."""
    parameters = parameters_of(recipe)
    known = {name: study.value[name] for name in ("root", "module", "packaging", "final_name")}
    return (
        {"operation": "run", "source": inner, "epoch": recipe["sde"], "folder": "source", "zone": "UTC"}
        | {"repository": "", "remote": remote, "backwards": False}
        | known
        | _asked(study.artifact)
        | {"define": "", "profiles": ""}
        | parameters
    )


def _linked(path: Path, place: Path) -> bool:
    """Make `place` a link to `path` if everybody may read that; whether it is one now."""
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    try:
        os.link(path, place)
    except OSError:  # another file system, or one without links
        return False
    return True


def _host_mounts(environment: Environment) -> tuple[Mount, ...]:
    if environment.root is not None:
        return ()
    return tuple(Mount(Path(place), place) for place in _HOST_ETC if Path(place).is_dir())


def _maven_ok(answer: Answer, phase: str, who: str, *, log: bool = True) -> None:
    """
    Raises:
        PhaseFailed: Maven ended with an error; its first words about it are told.
    """
    if "failed" not in answer.value:
        return
    said = first_words(answer.log) or f"code {answer.value['failed']}"
    raise PhaseFailed(phase, f"Maven failed: {said}", who=who, do=_AUTHOR, log=answer.log if log else b"")


def first_words(log: bytes) -> str:
    """Maven's first words about what went wrong, as they may be shown."""
    lines = log.decode("utf-8", "replace").splitlines()
    told = (re.sub(r"^(?:\[(?:ERROR|FATAL)\] )+", "", line) for line in lines if line.startswith("[ERROR] "))
    words = [
        safe(line.strip()) for line in told if line.strip() and not line.startswith(("Some problems", "---"))
    ]
    return ": ".join(words[:2])[:300]


def _moves(who: str, moving: set[str]) -> Refusal:
    first = min(moving)
    return Refusal(
        "unresolvable",
        what=f"{who} leaves a version open: {first[:200]} names another file from day to day",
        who="the project's own files (a range, LATEST, a SNAPSHOT, or a plug-in without a version)",
        do="ask its authors to name exact versions, or ask for the package with `witness`",
    )


def no_copy(artifact: Artifact, lines: Sequence[lock.Locked]) -> None:
    """Refuse a build that reads its own published result: it could hand that out as what it built."""
    for one in lines:
        if of_path(one.path) == artifact and not one.path.endswith(".pom"):
            raise Refusal(
                "unresolvable",
                what=f"{artifact} fetches its own published file {one.path[:200]} while it is built",
                who="the project's own files",
                do="ask its authors to build it without that, or ask for the package with `witness`",
            )


def _taken(answer: Answer, artifact: Artifact, folder: Path, who: str) -> dict[str, Path]:
    """Copy what the build left into the result's folder; whatever ran inside may have written it."""
    found = {}
    for name in answer.value.get("files", []):
        if name not in {artifact.file(ending) for ending in results.ENDINGS}:
            raise PhaseFailed("build", "it left a file of another name", who=who, do=_AUTHOR)
        data = read_plain(answer.work / "out" / name, MAX_MAVEN_FILE_BYTES.value)
        if data is None:
            raise PhaseFailed("build", f"{name} is no plain file or too large", who=who, do=_AUTHOR)
        path = folder / name
        path.write_bytes(data)
        found[name] = path
    if not found:
        raise PhaseFailed("build", "it left no file", who=who, do=_AUTHOR)
    return found
