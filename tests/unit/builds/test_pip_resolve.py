"""Choosing versions, and the lock: the same answer for everyone who knows the same facts."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from pyrsia.builds import environment, recipe
from pyrsia.builds.pip import host, lock, resolve
from pyrsia.builds.pip.lock import Locked
from pyrsia.builds.pip.resolve import Facts, Metadata, Need
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.pip.target import Target
from pyrsia.errors import Malformed, Refusal

TARGET = Target("x86_64", "glibc-2.36", "linux", "3.11.7")
COUNT = itertools.count()


def file(name: str, **more: object) -> IndexFile:
    return IndexFile(name, f"https://x.example/{name}", f"{next(COUNT):064x}", 1, **more)


class World:
    """An index in memory: project -> version -> requirements."""

    def __init__(self, packages: dict[str, dict[str, list[str]]], **more: dict[str, object]) -> None:
        self.facts = Facts()
        self.needs, self.at_once = 0, 99
        self.projects: dict[str, Project] = {}
        self.metadata: dict[str, Metadata] = {}
        for name, versions in packages.items():
            files = []
            for version, needs in versions.items():
                wheel = file(f"{name}-{version}-py3-none-any.whl", **more.get(f"{name}-{version}", {}))
                files += [wheel, file(f"{name}-{version}.tar.gz", **more.get(f"{name}-{version}", {}))]
                self.metadata[wheel.sha256] = Metadata(name, version, tuple(needs), "")
            self.projects[name] = Project(name, "x", tuple(files))

    def solve(self, *wanted: str, cutoff: int | None = None, role: resolve.Role = "source") -> list[str]:
        self.facts.known.clear()  # of another cut-off
        while True:
            try:
                found = resolve.resolve(
                    [Requirement(line) for line in wanted], self.facts, TARGET, cutoff, role=role
                )
                return [f"{one.name} {one.version}" for one in found]
            except Need as need:
                self.needs += 1
                for name in need.projects:
                    self.facts.projects[name] = self.projects[name]
                for release in need.releases[: self.at_once]:
                    self.facts.metadata[release.wheel.sha256] = self.metadata[release.wheel.sha256]


def test_a_closure_comes_dependencies_first():
    world = World(
        {"app": {"1.0": ["lib>=1", "util"]}, "lib": {"1.0": ["util"], "2.0": ["util"]}, "util": {"3.0": []}}
    )

    assert world.solve("app") == ["util 3.0", "lib 2.0", "app 1.0"]


WIDE = {"app": {"1.0": [f"lib{n}" for n in range(8)]}} | {f"lib{n}": {"1.0": [], "2.0": []} for n in range(8)}


def test_what_one_search_misses_is_asked_for_together():
    world = World(WIDE)

    assert len(world.solve("app")) == 9
    assert world.needs == 4  # page of app, its METADATA, eight pages, eight METADATA


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.dictionaries(
            st.sampled_from(["1.0", "2.0", "3.0"]),
            st.lists(
                st.sampled_from([f"{n}{s}" for n in "abcdef" for s in ("", "<2", "<3", ">=2")]), max_size=3
            ),
            min_size=1,
        ),
        min_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_reading_ahead_changes_no_answer(packages: dict[str, dict[str, list[str]]]):
    """Whoever gives only what is certainly needed gets the same versions as one who gives all that was named."""
    answers = []
    for at_once in (1, 99):
        world = World(packages)
        world.at_once = at_once
        try:
            answers.append(world.solve("a"))
        except Refusal as refusal:
            answers.append(refusal.as_dict())

    assert answers[0] == answers[1]


def test_a_cycle_ends():
    assert sorted(World({"a": {"1": ["b"]}, "b": {"1": ["a"]}}).solve("a")) == ["a 1", "b 1"]


def test_the_newest_final_version_wins_and_a_pre_release_only_where_nothing_else_fits():
    world = World({"a": {"1.0": [], "1.1": [], "2.0rc1": []}})

    assert world.solve("a") == ["a 1.1"]
    assert World({"a": {"2.0rc1": []}}).solve("a") == ["a 2.0rc1"]
    assert world.solve("a>=2.0rc1") == ["a 2.0rc1"]


def test_choice_steps_back_from_a_dead_end():
    world = World({"app": {"1": ["lib", "pin"]}, "lib": {"1": [], "2": ["pin>=2"]}, "pin": {"1": []}})

    assert world.solve("app") == ["lib 1", "pin 1", "app 1"]


def test_what_cannot_be_is_refused_with_the_requirements_that_contradict():
    world = World({"app": {"1": ["lib>=2", "other"]}, "other": {"1": ["lib<2"]}, "lib": {"1": [], "2": []}})

    with pytest.raises(Refusal) as caught:
        world.solve("app")

    assert caught.value.code == "unresolvable"
    assert "lib>=2" in caught.value.what
    assert "lib<2" in caught.value.what


def test_markers_speak_of_the_target_and_extras_pull_in_theirs():
    needs = [
        'win; sys_platform == "win32"',
        'old; python_version < "3.8"',
        'here; platform_machine == "x86_64"',
        'more; extra == "big"',
    ]
    world = World({"app": {"1": needs}, "here": {"1": []}, "more": {"1": []}})

    assert world.solve("app") == ["here 1", "app 1"]
    assert world.solve("app[big]") == ["here 1", "more 1", "app 1"]


def test_nothing_uploaded_after_the_cut_off_is_seen():
    world = World({"a": {"1": [], "2": []}}, **{"a-1": {"upload_ms": 100}, "a-2": {"upload_ms": 200}})

    assert world.solve("a", cutoff=150) == ["a 1"]
    assert world.solve("a", cutoff=200) == ["a 2"]


def test_a_yanked_version_is_passed_over_unless_pinned():
    world = World({"a": {"1": [], "2": []}}, **{"a-2": {"yanked": True}})

    assert world.solve("a") == ["a 1"]
    assert world.solve("a==2") == ["a 2"]


def test_a_version_without_source_is_passed_over_for_a_build_and_taken_as_a_tool():
    world = World({"a": {"1": [], "2": []}})
    page = world.projects["a"]
    world.projects["a"] = Project("a", "x", tuple(one for one in page.files if one.filename != "a-2.tar.gz"))

    assert world.solve("a", role="source") == ["a 1"]
    assert world.solve("a", role="tool") == ["a 2"]
    assert world.solve("a", role="any") == ["a 2"]


@pytest.mark.parametrize("line", ["a @ https://evil.example/a.whl", "not a requirement !!"])
def test_a_requirement_that_no_index_vouches_for_is_refused(line):
    with pytest.raises(Refusal) as caught:
        World({"app": {"1": [line]}}).solve("app")

    assert caught.value.code == "unresolvable"


def test_a_wheel_for_another_platform_is_no_wheel_and_a_compiled_one_of_ours_ranks_first():
    page = Project(
        "a",
        "x",
        (
            file("a-1-py3-none-any.whl"),
            file("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
            file("a-1-cp311-cp311-manylinux_2_99_x86_64.whl"),
            file("a-1-cp312-cp312-win_amd64.whl"),
            file("b-1-py3-none-any.whl"),
            file("a-1.exe"),
            file("a-1.tar.gz"),
        ),
    )

    (release,) = resolve.releases(page, TARGET, None)

    assert release.wheel is not None
    assert release.wheel.filename.startswith("a-1-cp311-cp311-manylinux_2_17")
    assert release.pure is not None
    assert release.pure.filename == "a-1-py3-none-any.whl"
    assert (release.compiled, release.compiled_only, release.reference) == (True, False, release.pure)


@pytest.mark.parametrize("data", [b"", b"Name: x\n", b"\xff\xfe", b"Version: 1\n\nName: y\n"])
def test_a_metadata_without_name_or_version_is_malformed(data):
    with pytest.raises(Malformed):
        resolve.parse_metadata(data)


def test_the_target_of_this_interpreter_is_read_and_ranks_the_wheels_that_pip_would_take():
    here = host.target()

    assert Target.from_dict(here.as_dict()) == here
    assert host.environment() == host.environment()
    assert host.environment().startswith("host:")
    assert len(here.ranks) > 50


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "2.7.1"},
        {"arch": "../x", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"},
        {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": 3},
    ],
)
def test_a_target_that_is_none_is_malformed(fields):
    with pytest.raises(Malformed):
        Target.from_dict(fields)


LINES = st.lists(
    st.builds(
        Locked,
        st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
        st.sampled_from(["1.0", "2.0.post1", "3!1+local"]),
        st.from_regex(r"[a-z]{1,6}-1-py3-none-any\.whl", fullmatch=True),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.integers(0, 10**9),
    ),
    unique_by=lambda one: one.name,
    max_size=6,
)


@settings(max_examples=150)
@given(wheels=LINES, data=st.data())
def test_a_lock_has_one_form_whatever_the_order(wheels, data):
    shuffled = data.draw(st.permutations(wheels))

    assert lock.encode(shuffled) == lock.encode(wheels)
    assert lock.decode(lock.encode(shuffled)) == tuple(sorted(wheels))


@settings(max_examples=150)
@given(wheels=LINES, at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_the_lie_a_changed_byte_in_a_lock_is_refused_or_says_something_else(wheels, at, flip):
    truth = lock.encode(wheels)
    changed = bytearray(truth)
    changed[at % len(changed)] ^= flip
    try:
        found = lock.decode(bytes(changed))
    except Malformed:
        return
    assert found != tuple(sorted(wheels))


def test_an_empty_lock_still_has_bytes_and_one_tool_in_two_versions_is_none():
    assert lock.decode(lock.encode([])) == ()
    assert lock.encode([]) == b"pyrsia lock pip v1\n"
    with pytest.raises(ValueError, match="once"):
        lock.encode([Locked("a", "1", "f.whl", "00" * 32, 1), Locked("a", "2", "f.whl", "00" * 32, 1)])


def test_the_epoch_stays_between_1980_and_a_day_past_the_cut_off():
    made = recipe.pip_recipe(environment="host:x", cutoff_ms=1_000_000_000_000, newest_s=0)

    assert made["sde"] == 315_532_800
    assert recipe.epoch(999_999_999, 1_000_000_000_000) == 999_999_999
    assert recipe.epoch(2_000_000_000, 1_000_000_000_000) == 1_000_086_400
    assert recipe.epoch(2_000_000_000, 0) == 2_000_000_000  # nobody tells an upload time
    assert recipe.epoch(5, 0) == 315_532_800
    assert (recipe.cutoff_of(7), recipe.cutoff_of(0), recipe.cutoff_of(-1)) == (7_000, 0, 0)
    assert recipe.disagreement(made, made) == ""
    assert "sde" in recipe.disagreement(made, {**made, "sde": 5})
    assert recipe.disagreement(made, {**made, "extra": 1}) != ""


def test_tools_are_of_the_source_s_period_but_not_older_than_what_the_interpreter_can_run():
    assert recipe.tools_cutoff_ms(5, 11) == 5
    assert recipe.tools_cutoff_ms(5, 12) > 5
    assert recipe.tools_cutoff_ms(10**14, 13) == 10**14
    assert recipe.tools_cutoff_ms(0, 11) == recipe.tools_cutoff_ms(0, 13) == 0  # any


def test_a_fingerprint_depends_on_every_fact():
    facts = {"python": "3.11.7", "zlib": "1.3"}

    assert environment.fingerprint(facts) == environment.fingerprint(dict(reversed(facts.items())))
    assert environment.fingerprint(facts) != environment.fingerprint({**facts, "zlib": "1.2"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (">=3.8, <4", ">=3.8, <4"),
        ("", ""),
        ("at least 3", ""),
        (">=3.8\n evil", ""),
        (">=3.\u0663", ""),
        (">=3.8\x1b[2J", ""),
    ],
)
def test_what_nobody_can_read_as_a_python_version_excludes_nobody_and_travels_no_further(
    text: str, found: str
):
    data = f"Name: a\nVersion: 1\nRequires-Python: {text}\n".encode()

    assert resolve.parse_metadata(data).requires_python == found
