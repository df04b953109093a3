"""What a toy node tells a provider: its files, with whatever knowledge a test gives it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyrsia.errors import Refusal
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.providing import FileView, MappingView, Overview, Stood, VersionView
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.wire import purl as purls


@dataclass
class ToyThen:
    """What was published by then, each offered; `after`: packages after which the work is done."""

    published: Mapping[str, ProjectFile]
    size: int
    time_ms: int
    after: int = 1_000

    @property
    def spent(self) -> bool:
        return self.after <= 0

    def holds(self, package: str) -> bool:
        return any(self._of(package))

    def _of(self, package: str) -> list[ProjectFile]:
        files = (one for one in self.published.values() if one.log_index < self.size)
        return [one for one in files if one.purl.partition("@")[0] == package]

    async def stood(self, package: str) -> Stood:
        self.after -= 1
        versions = dict.fromkeys(one.version for one in reversed(self._of(package)))
        return Stood(tuple(versions), ("0.1",), "REPRODUCED")


@dataclass
class ToyProvider:
    """Attributes:
    about: what is more to say of a version, by its purl (fields of `VersionView`).
    more: of the package (fields of `Overview`).
    asked: every question.
    """

    published: Mapping[str, ProjectFile]
    about: dict[str, dict[str, object]] = field(default_factory=dict)
    more: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, AsOf]] = field(default_factory=list)
    downloads: Callable[[str], int | None] = lambda sha256: None

    async def then(self, at: AsOf) -> "ToyThen":
        self.asked.append(("", at))
        if at.size is not None and at.size > 120:
            raise Refusal("bad-request", what="the log was never as long", who="you", do="ask for less")
        return ToyThen(self.published, at.size or 9, at.time_ms or 1_700_000_000_000)

    async def overview(self, purl: str, at: AsOf, most: int = 200) -> Overview:
        self.asked.append((purl, at))
        if at.size is not None and at.size > 120:
            raise Refusal("bad-request", what="the log was never as long", who="you", do="ask for less")
        wanted = purls.parse(purl)
        package = str(wanted.versionless)
        files = [one for one in self.published.values() if one.purl.partition("@")[0] == package]
        versions: dict[str, VersionView] = {}
        for one in reversed(files):
            if wanted.version not in ("", one.version) or one.log_index >= (
                120 if at.size is None else at.size
            ):
                continue
            view = FileView(
                one.filename, one.sha256, one.size, one.verdict, one.verdict, "", tuple(one.agreeing),
                tuple(one.dissenting), one.upload_time_ms, one.log_index, one.request, self.downloads(one.sha256),
            )  # fmt: skip
            fields = {
                "purl": one.purl, "version": one.version, "verdict": one.verdict, "status": one.verdict,
                "reason": "", "published_ms": one.upload_time_ms, "files": (view,), "downloads": view.downloads,
            }  # fmt: skip
            versions[one.version] = VersionView(**{**fields, **self.about.get(one.purl, {})})  # type: ignore[arg-type]
        if not versions:
            raise Refusal("package-unknown", what=f"no file of {purl}", who="you", do="have it built")
        mapping = MappingView("https://example.org/idna", "v{version}", ("ab" * 32,), 3)
        told = {"descriptions": (), "mapping": mapping, "whole": True, **self.more}
        return Overview(
            purl=purl, package=package, size=120 if at.size is None else at.size, time_ms=1_700_000_000_000,
            versions=tuple(versions.values())[:most], **told,
        )  # type: ignore[arg-type]  # fmt: skip
