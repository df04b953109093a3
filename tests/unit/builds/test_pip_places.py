"""Where a package is built, what packed upstream's wheel, and which answers of a backend are taken."""

from pathlib import Path

import pytest

from pyrsia.builds.environments import Environment, choose, find
from pyrsia.builds.model import NamedFile
from pyrsia.builds.pip import generator, inspecting, origins, places
from pyrsia.builds.pip.resolve import Release, Version
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.errors import Refusal

FACTS = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"}
HOST = Environment("host:" + "0" * 64, None, FACTS)
PLAIN = Environment("rootfs:" + "1" * 64, Path("/1"), FACTS)
COMPILING = Environment(
    "rootfs:" + "2" * 64, Path("/2"), FACTS | {"compiler": "gcc-12.2.0", "python": "3.13.0+"}
)


class Here:
    """A machine with these environments."""

    def __init__(self, *environments: Environment) -> None:
        self._all = environments

    def here(self):
        return self._all

    def chosen(self, admitted, *tools, pure=False):
        return choose(self._all, admitted, tools, pure=pure)

    async def get(self, id):
        return find(self._all, id)


def admitted(*environments: Environment) -> list[str]:
    return [one.id for one in environments]


def release(*names: str) -> Release:
    files = [IndexFile(name, name) for name in names]
    pure = next((one for one in files if one.filename.endswith("-none-any.whl")), None)
    return Release("a", Version("1"), None, None, pure, False, compiled=len(files) > (pure is not None))


def test_pure_packages_are_built_in_the_first_admitted_environment_that_is_here():
    everything = Here(HOST, PLAIN, COMPILING)

    assert places.pure(everything, admitted(HOST, COMPILING)).environment is HOST
    assert places.pure(everything, admitted(COMPILING, HOST)).environment is COMPILING
    assert places.pure(Here(HOST), admitted(COMPILING, HOST)).environment is HOST
    with pytest.raises(Refusal) as caught:
        places.pure(Here(HOST), admitted(COMPILING))
    assert caught.value.code == "no-environment"


def test_compiled_packages_are_built_with_a_compiler_that_is_nobodys_own():
    own_compiler = Environment(HOST.id, None, FACTS | {"compiler": "gcc-12.2.0"})

    found = places.compiling(Here(own_compiler, PLAIN, COMPILING), admitted(own_compiler, PLAIN, COMPILING))
    assert found is not None
    assert found.environment is COMPILING
    assert (found.target.python, found.native) == ("3.13.0", True)
    assert places.compiling(Here(own_compiler, PLAIN), admitted(own_compiler, PLAIN, COMPILING)) is None


def test_a_request_may_not_have_what_needs_a_compiler_built_on_a_hosts_own_system():
    here, root = places.place(HOST), places.place(COMPILING)
    compiled, mixed = (
        release("a-1-cp311-cp311-linux_x86_64.whl"),
        release("a-1-py3-none-any.whl", "a-1-cp311-x.whl"),
    )

    assert [places.fits(here, one) for one in (compiled, mixed)] == [False, True]
    assert [places.fits(root, one) for one in (compiled, mixed)] == [True, True]


@pytest.mark.parametrize(
    "fact", [{"python": ""}, {"python": "2.7"}, {"os": "plan9"}, {"libc": "glibc"}, {"arch": "../x"}]
)
def test_an_environment_that_has_no_python_that_we_can_name_is_none(fact):
    with pytest.raises(Refusal) as caught:
        places.place(Environment(HOST.id, None, FACTS | fact))

    assert caught.value.code == "no-environment"


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("setuptools (75.1.0)", "setuptools==75.1.0"),
        ("bdist_wheel (0.44.0)", "wheel==0.44.0"),
        ("flit 3.9.0", "flit-core==3.9.0"),
        ("hatchling 1.25.0", "hatchling==1.25.0"),
        ("poetry-core 1.9.1", "poetry-core==1.9.1"),
        ("pdm-backend (2.4.3)", "pdm-backend==2.4.3"),
        ("uv 0.5.1", "uv-build==0.5.1"),
        ("flit 3.9", "flit-core==3.9"),
    ],
)
def test_a_generator_is_read_as_a_project_and_its_version(text, pinned):
    assert str(generator.pin(text)) == pinned


@pytest.mark.parametrize(
    "text",
    [
        "",
        "meson",
        "bdist_wheel",
        "hatchling one",
        "x" * 500,
        "a (1) b",
        "tool 1.0+local",
        "../x 1.0",
        "a\nb 1",
    ],
)
def test_a_generator_without_a_version_pins_nothing(text):
    assert generator.pin(text) is None


COORDINATES = {"name": "Thing", "version": "1.0"}


@pytest.mark.parametrize(
    ("name", "host", "root"),
    [
        ("thing-1.0-py3-none-any.whl", True, True),
        ("thing-1.0-py2.py3-none-any.whl", True, True),
        ("thing-1.0-cp313-cp313-linux_x86_64.whl", False, True),
        ("thing-1.0-cp38-abi3-linux_x86_64.whl", False, True),
        ("thing-1.0-py3-none-linux_x86_64.whl", False, True),
        ("thing-1.0-cp312-cp312-linux_x86_64.whl", False, False),
        ("thing-1.0-cp313-cp313-manylinux_2_17_x86_64.whl", False, False),
        ("thing-1.0-cp313-cp313-linux_aarch64.whl", False, False),
        ("thing-1.0-cp313-cp313-win_amd64.whl", False, False),
        ("other-1.0-py3-none-any.whl", False, False),
        ("thing-1.1-py3-none-any.whl", False, False),
        ("../thing-1.0-py3-none-any.whl", False, False),
        ("thing.zip", False, False),
        (None, False, False),
    ],
)
def test_a_wheel_is_for_every_platform_or_for_the_target_of_a_root_file_system(name, host, root):
    assert [inspecting.unfit(name, COORDINATES, places.place(one)) == "" for one in (HOST, COMPILING)] == [
        host,
        root,
    ]


def test_a_wheel_is_compared_with_upstreams_of_its_name_or_else_of_its_kind():
    upstream = {
        "thing-1-cp313-cp313-manylinux_2_17_x86_64.whl": Path("c"),
        "thing-1-py2.py3-none-any.whl": Path("p"),
    }

    assert inspecting.counterpart("thing-1-py2.py3-none-any.whl", upstream) == NamedFile(
        "thing-1-py2.py3-none-any.whl", Path("p")
    )
    assert inspecting.counterpart("thing-1-py3-none-any.whl", upstream) == NamedFile(
        "thing-1-py2.py3-none-any.whl", Path("p")
    )
    assert inspecting.counterpart("thing-1-cp313-cp313-linux_x86_64.whl", upstream) == NamedFile(
        "thing-1-cp313-cp313-manylinux_2_17_x86_64.whl", Path("c")
    )
    assert inspecting.counterpart("thing-1-py3-none-any.whl", {}) is None


@pytest.mark.parametrize(
    "parameters", [{"subdir": "../x"}, {"subdir": "/x"}, {"subdir": "a//b"}, {"subdir": "a\\b"}, {"x": "1"}]
)
def test_a_recipe_has_one_parameter_and_it_stays_in_the_source(parameters):
    with pytest.raises(Refusal) as caught:
        origins.checked(parameters)
    assert caught.value.code == "lock-mismatch"
    assert origins.checked({"subdir": "python/thing"}) == {"subdir": "python/thing"}
    assert origins.checked({"subdir": ""}) == {}


def test_a_body_says_how_its_source_is_to_be_had():
    assert origins.kind_of({"source": {"file": "x"}}) == "registry"
    assert origins.kind_of({"source": {"file": "x", "manifest": "00"}}) == "claimed"
    assert origins.kind_of({"source": {"file": "x", "git": {}}}) == "mapping"


def test_what_is_claimed_stands_under_its_owners_name_and_nothing_else_makes_a_name():
    owner = "a" * 51 + "q"

    assert origins.claimed_purl(owner, "My_Thing", "1.0") == f"pkg:generic/{owner}/pypi/my-thing@1.0"
    for name, version in (("", "1.0"), ("a/b", "1.0"), ("thing", "one")):
        with pytest.raises(Refusal) as caught:
            origins.claimed_purl(owner, name, version)
        assert caught.value.code == "bad-request"
