"""The profile of a build: settings from the environment, build types and options from the recipe's parameters.

Decides what a requester or mapping may set (`build_type`, `cppstd`, `option.<name>`, `subdir`) and what the rules give
without: Release and Debug, the compiler's default standard, the recipe's own options.

Source: docs/builds-conan.md; Conan 2, `conan/internal/default_settings.py`, `conan/internal/api/detect/`.
"""

import re
from collections.abc import Mapping
from typing import Final

from pyrsia.errors import Malformed

BUILD_TYPES: Final = ("Debug", "MinSizeRel", "RelWithDebInfo", "Release")
DEFAULT_TYPES: Final = "Debug Release"
_ARCHES: Final = {
    "x86_64": "x86_64",
    "aarch64": "armv8",
    "armv7l": "armv7hf",
    "i686": "x86",
    "riscv64": "riscv64",
}
SUBDIR: Final = "subdir"
_SUBDIR: Final = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*){0,9}")
_OPTION: Final = re.compile(r"option\.[a-z0-9_][a-z0-9_.+-]{0,60}", re.IGNORECASE)
_VALUE: Final = re.compile(r"[A-Za-z0-9_.+-]{1,100}")
_CPPSTD: Final = re.compile(r"(?:gnu)?(?:98|11|14|17|20|23|26)")
_COMPILER: Final = re.compile(r"gcc-(\d+)(?:\.\d+)*")
_GNU17: Final = 11  # the first gcc whose default is C++17; Conan takes gnu14 for older ones


def checked(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a recipe as they stand in it: build types sorted, `build_type` always there.

    Raises:
        Malformed: one that no conan recipe has, with a sentence that says what is allowed.
    """
    found = {"build_type": DEFAULT_TYPES} | dict(parameters)
    for name, value in found.items():
        if name == "build_type":
            types = sorted(set(value.split()))
            if not types or any(one not in BUILD_TYPES for one in types):
                raise Malformed(f"build_type is one or more of {', '.join(BUILD_TYPES)}, with spaces between")
            found[name] = " ".join(types)
        elif name == "cppstd":
            if _CPPSTD.fullmatch(value) is None:
                raise Malformed(
                    "cppstd is a year of the standard, with or without gnu before it, as in gnu17"
                )
        elif name == SUBDIR:
            if _SUBDIR.fullmatch(value) is None:
                raise Malformed(
                    "subdir is the folder of the source that holds the conanfile, as in packaging/conan"
                )
        elif _OPTION.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise Malformed(
                f"{name[:40]!r} is no parameter of a conan build; "
                "there are build_type, cppstd, subdir and option.<name>"
            )
    return dict(sorted(found.items()))


def compiler(facts: Mapping[str, str]) -> str:
    """`gcc-<major>` of an environment; raises `Malformed` where its compiler is no gcc."""
    match = _COMPILER.fullmatch(facts.get("compiler", ""))
    if match is None:
        raise Malformed("the environment has no gcc")
    return f"gcc-{match[1]}"


def profiles(facts: Mapping[str, str], parameters: Mapping[str, str]) -> dict[str, str]:
    """build type -> the text of its profile, used for host and build alike.

    `@HOME@` stands for Conan's home and `@NAME@` for the package: a recipe may say its name only when it is read.

    Args:
        parameters: as `checked` gives them.

    Raises:
        Malformed: Conan has no word for this environment.
    """
    major = compiler(facts).removeprefix("gcc-")
    arch = _ARCHES.get(facts["arch"])
    if arch is None or facts["os"] != "linux":
        raise Malformed(f"no Conan settings are known for {facts['os']} on {facts['arch']}")
    cppstd = parameters.get("cppstd") or ("gnu17" if int(major) >= _GNU17 else "gnu14")
    # Paths are the same on every builder already; the map keeps them out of what is published.
    # Of several maps that fit, gcc takes the one given last.
    flags = '["-ffile-prefix-map=/build=.", "-ffile-prefix-map=@HOME@=."]'
    options = [
        f"@NAME@/*:{key.removeprefix('option.')}={value}\n"
        for key, value in sorted(parameters.items())
        if key.startswith("option.")
    ]
    found = {}
    for build_type in parameters["build_type"].split():
        found[build_type] = (
            "[settings]\n"
            f"os=Linux\narch={arch}\ncompiler=gcc\ncompiler.version={major}\ncompiler.libcxx=libstdc++11\n"
            f"compiler.cppstd={cppstd}\nbuild_type={build_type}\n"
            f"[options]\n{''.join(options)}"
            f"[conf]\ntools.build:cflags={flags}\ntools.build:cxxflags={flags}\n"
        )
    return found
