"""What the log says of a package, as the metadata files that Conan downloads with it (`metadata/sign/...`).

    pyrsia.json              purl, and of each file: digest, size, log index, verdict, who agrees
    pkgsign-manifest.json    the digests again, in the form that Conan itself compares once a sign plugin is there
    <file>.tlog-proof        the proof of one file, once a cosigned checkpoint covers it
    <file>.intoto.jsonl      its attestations

No file of the package: neither its manifest nor its revision speaks of them. A list names only what can be given, since
a client fails as a whole at a file that is named and missing.

Source: Conan 2, `conan/internal/rest/pkg_sign.py`, `rest_client_v2.py` (what is downloaded with a package).
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from pyrsia.builds.conan.names import Place
from pyrsia.errors import Refusal
from pyrsia.serve.desks.views import Catalog, ProjectFile
from pyrsia.units import Limit

FOLDER: Final = "metadata/sign/"
FACTS: Final = f"{FOLDER}pyrsia.json"
DIGESTS: Final = f"{FOLDER}pkgsign-manifest.json"
PROOF: Final = ".tlog-proof"
BUNDLE: Final = ".intoto.jsonl"
FORMAT: Final = "pyrsia-conan-1"
SEEN = Limit(20_000, "proofs and bundles that were there once; looked for again where forgotten")


class Signing:
    """The metadata files of what a catalogue publishes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._seen: set[tuple[str, str]] = set()

    async def listed(self, files: Mapping[str, ProjectFile]) -> list[str]:
        """The names that can be given for one revision. `files`: its files by name."""
        found = [DIGESTS, FACTS]
        for name, file in sorted(files.items()):
            for suffix in (PROOF, BUNDLE):
                if await self._given(file.sha256, suffix):
                    found.append(f"{FOLDER}{name}{suffix}")
        return found

    def document(self, files: Mapping[str, ProjectFile], place: Place) -> tuple[bytes, bytes]:
        """One of the two lists for the revision of `place`, by its name, and its ETag."""
        value: dict[str, object]
        if place.file == DIGESTS:
            value = {"files": [{"file": name, "sha256": file.sha256} for name, file in sorted(files.items())]}
        else:
            value = {
                "format": FORMAT,
                "purl": next(iter(files.values())).purl,
                "revision": place.prev or place.rrev,
                "files": {name: _facts(file) for name, file in sorted(files.items())},
            }
        body = msgspec.json.format(msgspec.json.encode(value), indent=2)
        return body, b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")

    def beside(self, files: Mapping[str, ProjectFile], file: str) -> tuple[ProjectFile, str] | None:
        """The file that a proof or bundle below `metadata/sign/` is about, and which of the two it is."""
        name = file.removeprefix(FOLDER)
        for suffix in (PROOF, BUNDLE):
            about = files.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if about is not None and name != file:
                return about, suffix
        return None

    async def _given(self, sha256: str, suffix: str) -> bool:
        """Whether there is such a file; once there is, there always will be."""
        if (sha256, suffix) in self._seen:
            return True
        ask = self._catalog.proof if suffix == PROOF else self._catalog.attestations
        try:
            if not await ask(sha256):
                return False
        except Refusal:
            return False
        if len(self._seen) >= SEEN.value:
            self._seen.clear()
        self._seen.add((sha256, suffix))
        return True


def _facts(file: ProjectFile) -> dict[str, object]:
    return {
        "sha256": file.sha256,
        "size": file.size,
        "log_index": file.log_index,
        "verdict": file.verdict,
        "builders": list(file.agreeing),
        "dissenting": list(file.dissenting),
        "upstream": file.upstream,
        "published_ms": file.upload_time_ms,
    }
