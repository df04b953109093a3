"""Where a Python environment keeps its packages."""

from pathlib import Path

from pyrsia.errors import Refusal


def sites(root: Path) -> list[Path]:
    """The folders that some Python imports from: not through `lib64` where it is a link to `lib`.

    Raises:
        Refusal: `usage`: it is no environment.
    """
    libs = [one for one in sorted(root.glob("lib*")) if one.is_dir() and not one.is_symlink()]
    found = [
        one for lib in libs for kind in ("site", "dist") for one in sorted(lib.glob(f"*/{kind}-packages"))
    ]
    found = [one for one in found if one.is_dir()]
    if found:
        return found
    if has_metadata(root):
        return [root]
    raise Refusal(
        "usage",
        what=f"{root} is no Python environment: it has no lib/*/site-packages and no *.dist-info",
        who="your command",
        do="name the folder that pyvenv.cfg stands in, or one that packages were installed into",
    )


def has_metadata(folder: Path) -> bool:
    """Whether packages were installed into it; written in any case, as Python's own reader takes it."""
    return any(one.name.lower().endswith(".dist-info") for one in folder.glob("*"))
