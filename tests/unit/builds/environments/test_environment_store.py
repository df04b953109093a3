"""The folder of environments, the definitions, apt's answers, and how a node finds what it builds in."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pyrsia.builds.environments import Environment, apt, recipes
from pyrsia.builds.environments.lock import Part
from pyrsia.builds.environments.store import Kept, Store, check
from pyrsia.errors import Malformed, Refusal

FACTS = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.2"}
OWN = Environment("host:" + "0" * 64, None, FACTS)


def put(store: Store, folder: Path, name: str, facts: dict[str, str] | None = None) -> str:
    """A root named after `name`; its digest."""
    root = folder / f"root-{name}"
    (root / "usr").mkdir(parents=True)
    archive = folder / f"{name}.tar"
    archive.write_bytes(name.encode())
    digest = hashlib.sha256(name.encode()).hexdigest()
    store.keep(digest, archive, root, facts or FACTS, b"lock of " + name.encode())
    return digest


def test_what_is_kept_is_found_again_with_its_facts_archive_and_lock(tmp_path: Path):
    store = Store(tmp_path / "store")

    digest = put(store, tmp_path, "one")

    (found,) = store.here()
    assert (found.id, dict(found.facts)) == (f"rootfs:{digest}", FACTS)
    assert found.root == store.folder / digest / "root"
    assert found.archive is not None
    assert found.archive.read_bytes() == b"one"
    assert store.lock(digest) == b"lock of one"


def test_what_was_made_of_a_lock_is_found_by_it_and_not_made_again(tmp_path: Path):
    store = Store(tmp_path / "store")
    digest = put(store, tmp_path, "one")

    found = store.made_of(b"lock of one")

    assert found is not None
    assert found.id == f"rootfs:{digest}"
    assert store.made_of(b"lock of two") is None


def test_what_is_half_written_or_foreign_is_passed_over(tmp_path: Path):
    store = Store(tmp_path)
    (tmp_path / ("a" * 64)).mkdir()
    (tmp_path / "new-x" / "root").mkdir(parents=True)
    (tmp_path / ("b" * 64) / "root").mkdir(parents=True)
    (tmp_path / ("b" * 64) / "facts.json").write_text("[1]")

    assert store.here() == []
    assert Store(tmp_path / "nowhere").here() == []


def test_the_same_environment_is_kept_once(tmp_path: Path):
    store = Store(tmp_path / "store")
    digest = put(store, tmp_path, "one")
    (tmp_path / "again").mkdir()

    store.keep(digest, tmp_path / "one.tar", tmp_path / "again", FACTS)

    assert [path.name for path in store.folder.iterdir()] == [digest]


def test_the_oldest_go_first_and_what_is_needed_stays(tmp_path: Path):
    store = Store(tmp_path / "store")
    digests = [put(store, tmp_path, name) for name in "abcd"]
    for age, digest in enumerate(digests):
        os.utime(store.folder / digest / "facts.json", (1_000 + age, 1_000 + age))

    gone = store.trim([f"rootfs:{digests[0]}"], most=2)

    assert gone == [digests[1], digests[2]]
    assert {one.id for one in store.here()} == {f"rootfs:{digests[0]}", f"rootfs:{digests[3]}"}


def test_what_a_crash_left_and_what_no_environment_is_made_of_goes(tmp_path: Path):
    store = Store(tmp_path / "store")
    digest = put(store, tmp_path, "one")
    (store.folder / digest / "lock").write_text(f"{'a' * 64}\n")
    parts = store.folder / "parts"
    parts.mkdir()
    for name in ("a" * 64, "b" * 64, "c" * 64):
        (parts / name).write_bytes(b"")
    for name in ("new-old", "new-young"):
        (store.folder / name / "root").mkdir(parents=True)
    for old in (parts / ("a" * 64), parts / ("b" * 64), store.folder / "new-old"):
        os.utime(old, (1_000, 1_000))

    store.tidy()

    assert {path.name for path in store.folder.iterdir()} == {digest, "new-young", "parts"}
    assert {path.name for path in parts.iterdir()} == {"a" * 64, "c" * 64}


def test_the_environment_of_a_lock_is_found(tmp_path: Path):
    store = Store(tmp_path / "store")
    digest = put(store, tmp_path, "one")
    put(store, tmp_path, "two")

    found = store.of_lock(b"lock of one")

    assert found is not None
    assert found.id == f"rootfs:{digest}"
    assert store.of_lock(b"lock of three") is None


@pytest.mark.parametrize("kind", ["pipe", "setuid", "writable"])
def test_a_root_holds_plain_things_only(tmp_path: Path, kind: str):
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"")
        path.chmod(0o4755 if kind == "setuid" else 0o666)

    with pytest.raises(Malformed):
        check(tmp_path)


def test_a_root_that_is_a_link_and_an_archive_that_is_another_one_are_not_kept(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"a")
    store = Store(tmp_path / "store")

    with pytest.raises(Malformed, match="link"):
        store.keep(hashlib.sha256(b"a").hexdigest(), archive, tmp_path / "root", FACTS)
    with pytest.raises(Malformed, match="not the one"):
        store.keep("0" * 64, archive, tmp_path / "real", FACTS)
    assert store.here() == []
    assert not store.folder.exists() or list(store.folder.iterdir()) == []


def test_links_of_a_root_are_not_followed(tmp_path: Path):
    (tmp_path / "l").symlink_to("/dev/null")
    (tmp_path / "up").symlink_to("..")
    check(tmp_path)
    assert (tmp_path / "l").is_symlink()


def test_the_first_admitted_environment_with_the_tools_is_chosen(tmp_path: Path):
    store = Store(tmp_path / "store")
    plain = f"rootfs:{put(store, tmp_path, 'plain')}"
    full = f"rootfs:{put(store, tmp_path, 'full', FACTS | {'compiler': 'gcc-12.2.0'})}"
    kept = Kept(OWN, store)

    assert kept.chosen([OWN.id, plain, full], "python", pure=True).id == OWN.id
    assert kept.chosen([OWN.id, plain, full], "python").id == plain
    assert kept.chosen([OWN.id, plain, full], "python", "compiler").id == full
    with pytest.raises(Refusal) as caught:
        kept.chosen([OWN.id, plain], "jdk")
    assert caught.value.code == "no-environment"
    assert "pyrsia build environment list" in caught.value.do


async def test_an_environment_that_is_not_here_is_fetched_by_its_digest(tmp_path: Path):
    store, asked = Store(tmp_path / "store"), []
    digest = hashlib.sha256(b"far").hexdigest()

    async def fetch(sha256: str) -> Path:
        asked.append(sha256)
        return tmp_path / "far.tar"

    async def adopt(archive: Path, sha256: str) -> Environment:
        put(store, tmp_path, "far")
        found = store.get(sha256)
        assert found is not None
        return found

    kept = Kept(OWN, store, fetch, adopt)

    assert (await kept.get(f"rootfs:{digest}")).id == f"rootfs:{digest}"
    assert (await kept.get(f"rootfs:{digest}")).id == f"rootfs:{digest}"
    assert asked == [digest]
    assert (await kept.get(OWN.id)) == OWN


@pytest.mark.parametrize("name", ["host:" + "1" * 64, "rootfs:" + "1" * 64, "rootfs:../x", "x"])
async def test_an_environment_that_nobody_has_is_refused_with_the_command(tmp_path: Path, name: str):
    async def fetch(sha256: str) -> Path:
        raise Refusal("not-found", what="the log names no file", who="x", do="y")

    async def adopt(archive: Path, sha256: str) -> Environment:
        raise AssertionError("nothing was fetched")

    with pytest.raises(Refusal) as caught:
        await Kept(OWN, Store(tmp_path), fetch, adopt).get(name)
    assert caught.value.code == "no-environment"
    assert "pyrsia build environment" in caught.value.do


def test_every_definition_that_comes_along_can_be_read_and_has_a_python():
    assert recipes.names() == ["c", "jvm", "python"]
    for name in recipes.names():
        found = recipes.definition(name)
        assert "python3" in found.packages
        assert found.about.endswith(".")
        files = {one.name: f"{one.name}.tar.gz" for one in found.archives}
        assert all(rule[0] in ("drop", "join", "link", "lay", "run") for rule in recipes.rules(found, files))


@pytest.mark.parametrize("text", ["", "about = 1", 'about = "x"\npackages = ["a"]\nrun = "rm"', "= ="])
def test_a_definition_that_is_none_is_refused_with_where_to_read(tmp_path: Path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(Refusal) as caught:
        recipes.definition(str(path))
    assert (caught.value.code, caught.value.answer.exit) == ("usage", 2)
    assert "docs/environments.md" in caught.value.do


class Told(apt.Apt):
    """Apt that answers what a test says."""

    def __init__(self, folder: Path, text: str) -> None:
        super().__init__(folder)
        self.text = text
        self.asked: list[Sequence[str]] = []

    def _refresh(self) -> None:
        return

    def _run(self, *words: str, cwd: Path | None = None) -> str:
        self.asked.append(words)
        return self.text


LINE = (
    "'http://x/pool/m/maven/maven_1%3a3.8.7-1_all.deb' maven_1%3a3.8.7-1_all.deb 18128 SHA256:"
    + "a" * 64
    + "\n"
)


def test_apt_names_files_by_digest_and_no_address_gets_into_the_lock(tmp_path: Path):
    told = Told(tmp_path, "Reading package lists...\n" + LINE + LINE.replace("maven_", "doc_"))

    (part,) = told.plan(["maven"], ["doc"])

    assert part == Part("maven", "1:3.8.7-1", "maven_1%3a3.8.7-1_all.deb", "a" * 64, 18_128)
    told.fetch([part], tmp_path)
    assert told.asked[-1] == ("download", "maven=1:3.8.7-1")


def test_apt_that_names_nothing_is_a_refusal(tmp_path: Path):
    with pytest.raises(Refusal, match="no files"):
        Told(tmp_path, "E: nothing\n").plan(["x"])


URIS = "'http://x/debian/dists/bookworm/InRelease' x_InRelease 0 \n'http://y/z/dists/q/InRelease' y_InRelease 0 \n"


def test_another_release_is_asked_of_the_machine_s_own_archive():
    text = apt.other_release(URIS, "trixie")

    assert text.startswith("Types: deb\nURIs: http://x/debian\nSuites: trixie\nComponents: main\n")


@pytest.mark.parametrize(
    ("told", "suite", "code"), [(URIS, "x\nTypes: y", "usage"), ("", "trixie", "unresolvable")]
)
def test_a_release_that_is_none_and_an_archive_that_is_none_are_refused(told: str, suite: str, code: str):
    with pytest.raises(Refusal) as caught:
        apt.other_release(told, suite)
    assert caught.value.code == code


def test_what_is_wished_for_is_taken_where_the_archive_has_it(tmp_path: Path):
    class Half(Told):
        def _run(self, *words: str, cwd: Path | None = None) -> str:
            if words[-1] == "gone" and "download" in words:
                raise Refusal("unresolvable", what="no such package", who="apt", do="x")
            return super()._run(*words, cwd=cwd)

    told = Half(tmp_path, LINE)
    told.plan(["maven"], wish=["gone", "there"])

    assert told.asked[-1] == ("--print-uris", "-y", "install", "maven", "there")
