"""What a planning run fetched, sorted: paths of the API, recipes' archives, and lies about names."""

import gzip
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.conan import pack, planning
from pyrsia.builds.conan.desk import candidates
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.environments import Environment
from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.outbound.proxy import Fetched
from pyrsia.errors import Refusal

RREV, PREV, PID = "a1" * 16, "b2" * 16, "c3" * 20
APP, ZLIB = Ref("app", "1.0"), Ref("zlib", "1.3", "team", "stable")
HERE = Environment("rootfs:" + "0" * 64, None, {})


def path_of(ref: Ref, place: Place) -> str:
    at = f"v2/conans/{ref.name}/{ref.version}/{ref.user}/{ref.channel}/revisions/{place.rrev}"
    if place.package_id:
        at += f"/packages/{place.package_id}/revisions/{place.prev}"
    return f"{at}/files/{place.file}"


@pytest.mark.parametrize("ref", [APP, ZLIB])
@pytest.mark.parametrize(
    "place", [Place(RREV, "conanfile.py"), Place(RREV, "conan_package.tgz", PID, PREV)], ids=str
)
def test_a_path_of_the_api_names_a_file(ref, place):
    assert planning.read_path(path_of(ref, place)) == (ref, place)


@pytest.mark.parametrize(
    "path",
    [
        "v1/ping",
        "v2/conans/zlib/1.3/_/_/latest",
        f"v2/conans/zlib/1.3/_/_/revisions/{RREV}/files",
        f"v2/conans/Zlib/1.3/_/_/revisions/{RREV}/files/conanfile.py",
        f"v2/conans/zlib/1.3/_/_/revisions/{RREV}/files/other",
        "v2/conans/zlib/1.3/_/_/revisions/latest/files/conanfile.py",
        f"v2/conans/zlib/1.3/_/_/revisions/{RREV}/files/conanfile.py?x=1",
    ],
)
def test_every_other_path_names_none(path):
    assert planning.read_path(path) is None


@given(st.text(max_size=300))
def test_no_path_is_too_strange(text):
    found = planning.read_path(text)
    assert found is None or path_of(*found) == text


@pytest.fixture
def planner(tmp_path):
    remotes = Remotes({"conan-0": "http://c"}, {"source-0": "http://s"})
    return planning.Planner(None, remotes, tmp_path / "files", planning.Bench())


def fetched(tmp_path, remote: str, path: str, data: bytes) -> Fetched:
    sha256 = planning.hashlib.sha256(data).hexdigest()
    file = tmp_path / sha256
    file.write_bytes(data)
    return Fetched(remote, path, sha256, len(data), file)


def task(given=None, ref=APP, rrev="") -> planning.Task:
    return planning.Task(ref, rrev, given, "", {}, HERE)


def test_the_recipe_becomes_the_source_and_what_it_requires_the_lock(planner, tmp_path):
    own = {
        "conanfile.py": b"class A",
        "conanmanifest.txt": b"1700000000\nconanfile.py: 0\n",
        "conan_export.tgz": b"export",
    }
    record = [
        *(fetched(tmp_path, "conan-0", path_of(APP, Place(RREV, n)), data) for n, data in own.items()),
        fetched(tmp_path, "conan-0", path_of(APP, Place(RREV, "conaninfo.txt", PID, PREV)), b"theirs"),
        fetched(tmp_path, "conan-0", path_of(APP, Place("f" * 32, "conanfile.py")), b"older"),
        fetched(tmp_path, "conan-0", path_of(ZLIB, Place(RREV, "conanfile.py")), b"zlib"),
        fetched(tmp_path, "conan-0", "v2/conans/zlib/1.3/team/stable/latest", b"{}"),
        fetched(tmp_path, "source-0", "a/b.tar.gz", b"code"),
    ]

    found = planner._sorted(task(), APP, RREV, {}, record, b"")

    code = planning.hashlib.sha256(b"code").hexdigest()
    assert [(one.title, one.file) for one in found.lines] == [
        ("app", f"source~{code}"),
        ("zlib@team/stable", f"{RREV}~conanfile.py"),
    ]
    assert {path.read_bytes() for path in found.files.values()} == {b"zlib", b"code"}
    assert set(found.upstream) == {*own, f"{PID}~conaninfo.txt"}
    assert (found.newest, found.source.file) == (1_700_000_000, f"app-1.0-{RREV}.tar.gz")
    assert planning.rrev_of(found.source.file) == RREV
    again = planner._sorted(task(), APP, RREV, {}, reversed(record), b"")
    assert again.source == found.source
    with gzip.open(found.source.path) as file:
        items, _ = pack.read(file, tmp_path / "items")
    assert {path: one.data.read_bytes() for path, one in items.items()} == {
        f"app-1.0/{name}": data for name, data in own.items()
    }


def test_two_mirrors_give_one_lock(planner, tmp_path):
    recipe = path_of(ZLIB, Place(RREV, "conanfile.py"))
    rows = [
        [fetched(tmp_path, "source-0", path, b"code"), fetched(tmp_path, "conan-0", recipe, b"z")]
        for path in ("a/b.tar.gz", "0" * 64)
    ]
    given = planning.LocalSource("app.tar.gz", tmp_path, "0" * 64, 1)

    first, second = (planner._sorted(task(given), APP, RREV, {"newest": 7}, row, b"").lines for row in rows)

    assert first == second != ()


@pytest.mark.parametrize("ref", [APP, replace(APP, user="team", channel="stable")])
def test_a_recipe_that_requires_a_package_of_its_own_name_and_version_is_refused(planner, tmp_path, ref):
    """It could hand that package out as built; an older version it may use."""
    given = planning.LocalSource("app.tar.gz", tmp_path, "0" * 64, 1)
    older = fetched(
        tmp_path, "conan-0", path_of(replace(ref, version="0.9"), Place(RREV, "conanfile.py")), b"o"
    )
    own = fetched(tmp_path, "conan-0", path_of(ref, Place(RREV, "conan_package.tgz", PID, PREV)), b"theirs")

    assert planner._sorted(task(given), APP, RREV, {}, [older], b"").lines != ()
    with pytest.raises(PhaseFailed, match="its own name and version") as caught:
        planner._sorted(task(given), APP, RREV, {}, [older, own], b"")
    assert caught.value.code == "unresolvable"


def test_archives_of_recipes_are_files_of_the_cache_and_nothing_else_is_left(planner, tmp_path):
    record = [
        fetched(tmp_path, "conan-0", path_of(APP, Place(RREV, "conanfile.py")), b"class A"),
        fetched(tmp_path, "conan-0", path_of(APP, Place(RREV, "conanmanifest.txt")), b"7\n"),
    ]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / f".part-{RREV}").mkdir()  # of another planning of the same

    found = planner._sorted(task(), APP, RREV, {}, record, b"")

    assert found.source.path == tmp_path / "files" / found.source.sha256
    assert found.source.size == found.source.path.stat().st_size
    assert planning.hashlib.sha256(found.source.path.read_bytes()).hexdigest() == found.source.sha256
    assert {path.name for path in (tmp_path / "files").iterdir()} == {found.source.sha256, f".part-{RREV}"}


def test_half_a_recipe_is_refused(planner, tmp_path):
    record = [fetched(tmp_path, "conan-0", path_of(APP, Place(RREV, "conanfile.py")), b"x")]

    with pytest.raises(PhaseFailed, match="no whole recipe"):
        planner._sorted(task(), APP, RREV, {}, record, b"")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"ref": "app/1.0"},
        {"ref": "app/2.0#x", "rrev": RREV},
        {"ref": "other/1.0", "rrev": RREV},
        {"ref": "app/1.0@team", "rrev": RREV},
        {"ref": "app/1.0", "rrev": "latest"},
        {"ref": "app/1.0", "rrev": 3},
        {"ref": ["app/1.0"], "rrev": RREV},
        {"ref": "app/1.0", "rrev": PREV},
    ],
)
def test_a_run_that_names_another_recipe_is_not_believed(value):
    with pytest.raises(PhaseFailed) as caught:
        planning._named(task(rrev=RREV), value)

    assert caught.value.phase == "requirements"


@pytest.mark.parametrize("wanted", [Ref("app", ""), Ref("", ""), Ref("", "3.1")])
def test_a_source_may_say_its_own_name_and_version(wanted):
    assert planning._named(task(ref=wanted), {"ref": "app/3.1", "rrev": RREV}) == (Ref("app", "3.1"), RREV)


def test_what_conan_said_last_is_told_without_its_control_characters():
    log = b"noise\nERROR: first\nERROR: a \x1b[31mred\x07 word\n"

    refusal = planning._failed(task(), log, remotes=True)

    assert "a [31mred word" in refusal.what
    assert "\x1b" not in refusal.what


@pytest.mark.parametrize(("remotes", "who"), [(True, "the Conan remotes"), (False, "no Conan remotes")])
def test_a_recipe_that_no_remote_has_is_unknown(remotes, who):
    refusal = planning._failed(task(), b"ERROR: no remote has the recipe app/1.0\n", remotes)

    assert isinstance(refusal, Refusal)
    assert refusal.code == "package-unknown"
    assert who in refusal.who


def test_a_source_is_looked_for_where_the_recipe_says_and_then_by_its_digest():
    origins = {"source-0": "https://code.example", "source-1": "https://other.example/"}

    found = candidates(
        "d" * 64, ["https://code.example/a/b c.tgz", "https://evil.example/x", "https://code.example.evil/x"], origins, "http://out"
    )  # fmt: skip

    assert found == [
        "http://out/source-0/a/b%20c.tgz",
        f"http://out/source-0/{'d' * 64}",
        f"http://out/source-1/{'d' * 64}",
    ]


@pytest.mark.parametrize("path", ["v1/ping", "v2/conans/zlib/1.3/_/_/latest", "v2/conans/search?q=zlib%2F*"])
def test_a_run_may_ask_a_remote_for_what_conan_asks(path):
    assert planning._API.fullmatch(path)


@pytest.mark.parametrize("path", ["", "api/v1/status", "v2/users/authenticate", "v2/conansx", "v1/ping/x"])
def test_a_run_may_ask_a_remote_for_nothing_else(path):
    assert planning._API.fullmatch(path) is None


def test_a_varied_run_differs_in_what_must_not_matter():
    plain, varied = (planning.job_of(task(), 5, planning.Bench(), vary=vary) for vary in (False, True))

    differing = {key for key in plain if plain[key] != varied[key]}
    assert differing == {"home", "umask", "zone", "backwards"}


@pytest.mark.parametrize("away", [True, False])
async def test_a_planning_that_failed_for_want_of_a_servers_answer_is_not_the_recipes_failure(away):
    trouble = PhaseFailed("prefetch", "no usable answer", who="w", do="d", code="index-unreachable")

    class Inside:
        @asynccontextmanager
        async def run(self, *_, **__):
            yield SimpleNamespace(value={"failed": 1}, log=b"ERROR: connection\n")

    class WayOut(planning.Planner):
        @asynccontextmanager
        async def _way_out(self):
            yield SimpleNamespace(socket=None, record=[], trouble=trouble if away else None)

    planner = WayOut(Inside(), SimpleNamespace(conan={}, sources={}), None, planning.Bench())
    with pytest.raises(PhaseFailed) as caught:
        await planner.run(planning.Task(APP, "", None, "", {}, HERE))
    assert caught.value.code == ("index-unreachable" if away else "build-failed")
