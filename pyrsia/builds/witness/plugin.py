"""The witness plug-in: upstream's own file, seen by several operators by their own ways; nothing is rebuilt.

What has no source that can be built here can at least be shown to be the same for everybody: each drawn witness
fetches it from the servers that its own operator configured, and the log compares the bytes. Nothing of a stranger's is
unpacked or run, so isolation has no part in it.

Source: docs/builds.md, "Witnessed".
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds import unbuilt
from pyrsia.builds.members_zip import EARLIEST
from pyrsia.builds.model import Built, Inputs, NamedFile, Output, PhaseFailed, Planned, Progress, Want
from pyrsia.builds.recipe import disagreement
from pyrsia.builds.results import Results
from pyrsia.builds.shop import Shop
from pyrsia.builds.witness import lock
from pyrsia.builds.witness.origins import Origin, Place
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

ECOSYSTEM: Final = "witness"
BACKEND: Final = "witness@1"


class WitnessPlugin:
    """Fetches what upstream publishes.

    Args:
        places: purl type -> where its files are.
        target: of this node: arch, libc, os, python.
    """

    name: Final = ECOSYSTEM

    def __init__(
        self, shop: Shop, places: Mapping[str, Callable[[], Place]], target: Mapping[str, str]
    ) -> None:
        self._shop = shop
        self._places = places
        self._target = dict(target)
        self._results = Results(shop.results, shop.sandbox.isolation)

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The one request for a package; what it needs is asked for by itself.

        Args:
            want: its name is a versionless purl.

        Raises:
            Refusal: `bad-request`, `package-unknown`, `version-unknown`, `index-unreachable`, `no-environment`.
        """
        package = _package(want)
        place, target = self._place(package), self._target_of(package)
        if not package.version:
            newest = await place.newest(package, target)
            package = Purl(package.type, package.namespace, package.name, newest)
        progress(f"looking at {package}")
        found = await place.files(package, target, now_ms)
        first = found[0].seen
        coordinates = {"name": package.name, "version": package.version}
        if package.namespace:
            coordinates["namespace"] = package.namespace
        return (
            Planned(
                purl=str(package),
                coordinates=coordinates,
                source={"file": first.file, "sha256": first.sha256, "size": first.size},
                recipe=self._recipe(found),
                lock=_lock(package, found),
                target=target,
                ecosystem=ECOSYSTEM,
            ),
        )

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """What this node sees, by its own way.

        Raises:
            Refusal: `lock-mismatch` for a recipe that the rules do not give, and what looking may end with.
        """
        theirs = request["recipe"]
        package = purls.parse(request["purl"])
        # All that is there now: an earlier cut-off would let the requester choose among the files.
        found = await self._place(package).files(package, request["target"], 0)
        mine = {**self._recipe(found), "environment": theirs["environment"]}
        why = disagreement(mine, theirs)
        if why:
            raise PhaseFailed(
                "lock-mismatch",
                f"the recipe of {request['purl']} is not a witness's: {why}",
                who="the request",
                do="ask again",
                code="lock-mismatch",
            )
        return _lock(package, found)

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """The files as this node fetched them just now, or has them from then.

        Raises:
            Refusal: `digest-mismatch`, and what looking may end with.
        """
        lines = lock.decode(locked)
        found = {one.seen: one for one in await self._seen(request)}
        missing = [line.file for line in lines if line not in found]
        if missing:
            raise Refusal(
                "digest-mismatch",
                what=f"{missing[0]} is another file here than a moment ago",
                who="the server that publishes it",
                do="do not use this file",
            )
        files = tuple(NamedFile(line.file, found[line].path) for line in lines)
        source = next((one for one in files if one.name == request["source"]["file"]), files[0])
        tools = tuple((line.file, line.sha256) for line in lines)
        return Inputs(source, files, {}, hashlib.sha256(locked).hexdigest(), tools)

    async def build(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        progress: Progress = lambda _: None,
        vary: bool = False,
    ) -> Built:
        """The fetched files as outputs.

        Raises:
            Unavailable: the disk said no.
        """
        progress(f"keeping what {request['purl']} is here")
        requires = {one.seen.file: one.requires_python for one in await self._seen(request)}

        async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
            def outputs() -> tuple[Output, ...]:
                return tuple(
                    unbuilt.as_it_is(folder, one.name, one.path, requires_python=requires.get(one.name, ""))
                    for one in inputs.files
                )

            made = await trio.to_thread.run_sync(outputs)
            log += "".join(f"saw {one.name} sha256:{one.raw.file.sha256}\n" for one in made).encode()
            return made

        return await self._results.of(request, inputs, "registry", make)

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        environment = self._environment()
        return await self._results.failed(
            error, lock_sha256, phase, source="registry", environment=environment
        )

    async def _seen(self, request: Mapping[str, Any]) -> list[Origin]:
        package = purls.parse(request["purl"])
        return await self._place(package).files(package, request["target"], request["recipe"]["cutoff_ms"])

    def _place(self, package: Purl) -> Place:
        make = self._places.get(package.type)
        if make is None:
            raise Refusal(
                "bad-request",
                what=f"packages of the type {package.type} are not witnessed here",
                who="your request",
                do=f"ask for one of {', '.join(sorted(self._places))}",
            )
        return make()

    def _target_of(self, package: Purl) -> dict[str, str]:
        names = ("arch", "libc", "os", "python") if package.type == "pypi" else ("arch", "libc", "os")
        return {name: self._target[name] for name in names}

    def _environment(self) -> str:
        """Nothing runs in it; a request must name one that its network admits."""
        admitted = self._shop.admitted()
        if not admitted:
            raise Refusal(
                "no-environment",
                what="this network admits no build environment",
                who="its genesis",
                do="propose one with `pyrsia member propose network`",
            )
        return str(admitted[0])

    def _recipe(self, found: Sequence[Origin]) -> dict[str, Any]:
        """The cut-off is when the newest of the files was uploaded; 0 where their server does not tell."""
        cutoff_ms = max((one.uploaded_ms for one in found), default=0)
        return {
            "backend": BACKEND,
            "cutoff_ms": cutoff_ms,
            "environment": self._environment(),
            "isolation": "none",
            "normaliser": unbuilt.BYTES,
            "sde": max(EARLIEST, cutoff_ms // 1000),
            "v": 1,
        }


def _package(want: Want) -> Purl:
    try:
        found = purls.parse(want.name)
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=f"{want.name[:120]!r} is no package URL: {error}",
            who="your request",
            do="write pkg:pypi/name, pkg:maven/group/artifact or pkg:docker/name",
        ) from None
    return Purl(found.type, found.namespace, found.name, want.version or found.version)


def _lock(package: Purl, found: list[Origin]) -> bytes:
    name = f"{package.namespace}/{package.name}" if package.namespace else package.name
    return lock.encode(name, package.version, [one.seen for one in found])


def made_from(shop: Shop, registries: tuple[str, ...], target: Mapping[str, str]) -> WitnessPlugin:
    """The plug-in of a node, whose indexes, Maven settings and registries are its operator's."""
    from pyrsia.builds.conan import remotes as conan
    from pyrsia.builds.maven import settings as maven
    from pyrsia.builds.witness.origins import Images, Jars, Wheels
    from pyrsia.builds.witness.recipes import Recipes

    def jars() -> Place:
        return Jars(maven.load(), Path(shop.cache))

    return WitnessPlugin(
        shop,
        {
            "pypi": lambda: Wheels(shop.index),
            "maven": jars,
            "conan": lambda: Recipes(tuple(conan.load().conan.values()), Path(shop.cache)),
            "docker": lambda: Images(registries, Path(shop.cache)),
        },
        target,
    )
