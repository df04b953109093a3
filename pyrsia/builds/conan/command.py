"""A command of Conan's own kind, laid into its home: `conan pyrsia JOB ANSWER`. Plain file; runs inside the sandbox.

It drives an unmodified Conan through the same calls as its own `export`, `graph info`, `download` and `install`.
Recipes of strangers run in this process: what it answers is their word, and is checked outside.

Conan puts a random UUID into the path of every build folder, and compilers write paths into what they make. The one
thing changed here is where those UUIDs come from: a counter, so that equal builds work at equal paths.

Source: docs/builds-conan.md; Conan 2, `conan/internal/cache/cache.py`, `conan/cli/commands/`.
"""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

import json
import uuid
from pathlib import Path
from typing import Any

_count = 0


def _counted() -> uuid.UUID:
    global _count
    _count += 1
    return uuid.UUID(int=_count)


uuid.uuid4 = _counted

from conan.api.model import PkgReference, RecipeReference  # noqa: E402 - after the counter is in place
from conan.api.output import ConanOutput  # noqa: E402
from conan.cli.command import conan_command  # noqa: E402
from conan.errors import ConanException  # noqa: E402


@conan_command(group="Pyrsia")
def pyrsia(conan_api: Any, parser: Any, *args: Any) -> None:
    """Plan or build one recipe as a job file says."""
    parser.add_argument("job")
    parser.add_argument("answer")
    given = parser.parse_args(*args)
    job = json.loads(Path(given.job).read_text())
    answer = {"plan": _plan, "build": _build}[job["do"]](conan_api, job)
    Path(given.answer).write_text(json.dumps(answer))


def _recipe(api: Any, job: dict[str, Any], remotes: list[Any]) -> Any:
    """The recipe to be built, with its revision: exported from a folder, or as a remote has it."""
    if job["folder"]:
        path = api.local.get_conanfile_path(job["folder"], job["folder"], py=True)
        ref, _ = api.export.export(
            path,
            job["name"] or None,
            job["version"] or None,
            job["user"] or None,
            job["channel"] or None,
            None,
            remotes,
        )
        return ref
    ref = RecipeReference.loads(job["ref"])
    if ref.revision is not None:
        return ref
    for remote in remotes:
        try:
            return api.list.latest_recipe_revision(ref, remote)
        except ConanException as error:
            ConanOutput().info(f"{remote.name}: {error}")
    raise ConanException(f"no remote has the recipe {ref}")


def _graph(api: Any, ref: Any, profile: str, remotes: list[Any]) -> Any:
    text = Path(profile).read_text()
    Path(profile).write_text(text.replace("@NAME@", ref.name))
    settings = api.profiles.get_profile([profile])
    graph = api.graph.load_graph_requires([ref], None, settings, settings, None, remotes, False)
    graph.report_graph_error()
    api.graph.analyze_binaries(graph, [f"{ref.name}/*", "missing"], remotes)
    return graph


def _plan(api: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Bring everything that a build needs through the remotes; what came, the proxy records."""
    remotes = api.remotes.list()
    ref = _recipe(api, job, remotes)
    wanted = RecipeReference(ref.name, ref.version, ref.user, ref.channel, ref.revision)
    found = []
    for profile in job["profiles"]:
        graph = _graph(api, wanted, profile, remotes)
        for node in graph.nodes:
            if node.binary == "Invalid":
                raise ConanException(f"{node.ref} cannot be built for this configuration")
            if node.binary == "Build":
                node.conanfile.conf.define("tools.build:download_source", True)
            if node.binary in ("Download", "Update") and node.prev:
                api.download.package(PkgReference(node.ref, node.package_id, node.prev), node.binary_remote)
            if node.ref is not None and node.ref == wanted:
                found.append({"profile": profile, "package_id": node.package_id})
                _upstream(api, node, remotes if job["upstream"] else [])
        api.install.install_sources(graph, remotes)
    return {"ref": str(wanted), "rrev": wanted.revision, "packages": found}


def _upstream(api: Any, node: Any, remotes: list[Any]) -> None:
    """Fetch the package that a remote already has under this id, so that it can be compared with ours."""
    for remote in remotes:
        try:
            pref = api.list.latest_package_revision(PkgReference(node.ref, node.package_id), remote)
            api.download.package(pref, remote)
            return
        except Exception as error:  # noqa: BLE001 - a remote without it is no fault
            ConanOutput().info(f"{remote.name} has no package to compare with: {error}")


def _build(api: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Build one package for each profile. Nothing is there but what the lock names."""
    remotes = api.remotes.list()
    ref = _recipe(api, job, remotes)
    wanted = RecipeReference(ref.name, ref.version, ref.user, ref.channel, ref.revision)
    found, seen = [], set()
    for profile in job["profiles"]:
        graph = _graph(api, wanted, profile, remotes)
        api.install.install_binaries(graph, remotes)
        for node in graph.nodes:
            if node.ref is None or node.ref != wanted or node.package_id in seen:
                continue
            seen.add(node.package_id)
            pref = PkgReference(node.ref, node.package_id, node.prev)
            found.append(
                {
                    "profile": profile,
                    "package_id": node.package_id,
                    "prev": node.prev,
                    "folder": api.cache.package_path(pref),
                }
            )
    return {
        "ref": str(wanted),
        "rrev": wanted.revision,
        "export": api.cache.export_path(wanted),
        "sources": api.cache.export_source_path(wanted),
        "packages": found,
    }
