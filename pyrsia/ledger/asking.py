"""What a build request must say, as far as the log alone can tell: its name, its source, its recipe.

Decides under which name a result may stand, and that what an enacted mapping sets is not the requester's choice.
What needs a look outside (which digest a registry has, what a tag resolves to, which parameters the rules give
without a mapping) each drawn builder checks for itself, and reveals `lock-mismatch` or another source.

Source: docs/ledger.md, "A request"; docs/adr/0039.
"""

from typing import Any, Final

from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.verdict import WITNESS
from pyrsia.units import COMMIT_WINDOW_MS, SLOW_COMMIT_WINDOW_MS
from pyrsia.wire import purl
from pyrsia.wire.purl import Purl

PIPELINE: Final = "pipeline"
PIPELINE_BACKEND: Final = "pipeline@1"  # what a mapping's recipe names if its package is built so
ECOSYSTEMS: Final[dict[str, tuple[str, ...]]] = {
    "conan": ("conan",),
    "maven": ("maven",),
    "oci": ("docker",),
    "pip": ("pypi",),
    PIPELINE: ("docker", "maven"),
    WITNESS: purl.BUILT,
}
_SET_BY_MAPPING: Final = ("backend", "environment", "isolation", "normaliser")

Body = dict[str, Any]


def check(ctx: Context, body: Body) -> None:
    """Whether this request may be built and published under its name.

    Raises:
        NotApplied: with a sentence that tells its author what to change.
    """
    named = _named(body)
    if named.owner:
        return  # its own name: source and recipe are its own word, and shown as that
    source = body["source"]
    if "manifest" in source:
        raise NotApplied("a source that was given along is published under the requester's own name only")
    mapping = ctx.view.get(f"mapping/{named.versionless}")
    if mapping is None:
        if "git" in source or body["ecosystem"] == PIPELINE:
            raise NotApplied("no enacted mapping says where this package's source is", later=True)
    elif body["ecosystem"] != WITNESS:
        _check_mapping(mapping, _in_force(ctx, mapping["recipe"]), body, named)
    if "git" in source:
        _check_commit(ctx, body)


def _named(body: Body) -> Purl:
    """The request's purl, which its coordinates give."""
    types, coordinates = ECOSYSTEMS.get(body["ecosystem"]), body["coordinates"]
    if types is None:
        raise NotApplied(f"the ecosystem {body['ecosystem']} is not built here")
    told = purl.parse(body["purl"])
    package = told.package
    if package.type not in types:
        raise NotApplied(
            f"{body['ecosystem']} builds {', '.join(types)} packages, its purl names another type"
        )
    named = Purl(package.type, coordinates.get("namespace", ""), coordinates["name"], coordinates["version"])
    if named != package or coordinates.get("namespace") == "":
        raise NotApplied("purl and coordinates name different packages")
    if told.owner and told.owner != body["requester"]:
        raise NotApplied("only its own node publishes under this name")
    if told.owner and body["ecosystem"] == WITNESS:
        raise NotApplied("what others published is witnessed under its own name only")
    return told


def _in_force(ctx: Context, agreed: Body) -> Body:
    """A mapping's recipe; an environment that the network has ceased to admit is left out, or the package were lost."""
    gone = agreed.get("environment", "") not in ctx.numbers.environments
    return {name: value for name, value in agreed.items() if not (gone and name == "environment")}


def _check_mapping(mapping: Body, agreed: Body, body: Body, named: Purl) -> None:
    """What the package's maintainers and the validators agreed on is in the request as they did.

    The source too: who maps a package to its repository need not trust what a registry was given under its name.
    """
    recipe, git = body["recipe"], body["source"].get("git")
    if body["ecosystem"] == PIPELINE and agreed.get("backend") != PIPELINE_BACKEND:
        raise NotApplied("the package's mapping does not say that a pipeline builds it")
    if git is None:
        raise NotApplied("the package's mapping names a repository, and its source is not from there")
    if git["tag"] != mapping["tag"].replace("{version}", named.version):
        raise NotApplied("its tag is not the one that the package's mapping gives for this version")
    for name in _SET_BY_MAPPING:
        if name in agreed and recipe[name] != agreed[name]:
            raise NotApplied(f"its recipe's {name} is not what the package's mapping sets")
    given = dict(recipe.get("parameters", []))
    for name, value in agreed.get("parameters", []):
        if given.get(name) != value:
            raise NotApplied(f"its recipe's parameter {name} is not what the package's mapping sets")


def other_commit(ctx: Context, body: Body) -> str:
    """The commit that builders found first behind this version's tag, if the request names another; else empty."""
    git = body["source"].get("git")
    seen = None if git is None else ctx.view.get(f"commit/{body['purl']}")
    return "" if seen is None or seen["commit"] == git["commit"] else str(seen["commit"])


def _check_commit(ctx: Context, body: Body) -> None:
    """The first commit that builders found behind a version's tag stays the commit of that version."""
    seen, commit = other_commit(ctx, body), body["source"]["git"]["commit"]
    if seen:
        raise NotApplied(
            f"builders found commit {seen[:12]} behind the tag of this version at first, and that stays: "
            f"the tag was moved, or {commit[:12]} is not what it names"
        )


def see_commit(ctx: Context, body: Body, request: str, leaf: int) -> None:
    """T builders resolved the tag of a version to this commit: no other is ever built under this name.

    At the verdict and not at admission, or whoever asks first would choose the commit, or spoil the name.
    """
    key, git = f"commit/{body['purl']}", body["source"].get("git")
    if git is not None and not purl.parse(body["purl"]).owner and ctx.view.raw(key) is None:
        ctx.view.put(key, {"commit": git["commit"], "leaf": leaf, "request": request, "tag": git["tag"]})


def commit_window_ms(body: Body) -> int:
    """How long the builders of a request have until they commit: by what it asks for alone, so all agree."""
    fetched = body["ecosystem"] == WITNESS
    pure = body["ecosystem"] == "pip" and body["recipe"]["isolation"] == "pure"
    return (COMMIT_WINDOW_MS if pure or fetched else SLOW_COMMIT_WINDOW_MS).value
