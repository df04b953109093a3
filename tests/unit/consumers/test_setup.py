"""`pyrsia setup` on a user's files: minimal edits, holes, `--strict`, and an undo that gives back every byte."""

import configparser
import json
import os
import stat
import string
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.consumers import applying, undoing
from pyrsia.consumers.clients import NAMES, kind
from pyrsia.consumers.edits import Place, Want
from pyrsia.errors import Refusal

NODE = "http://127.0.0.1:7999"
OWN = {
    "pip": ".config/pip/pip.conf",
    "uv": ".config/uv/uv.toml",
    "docker": "root/etc/docker/daemon.json",
    "containerd": "root/etc/containerd/certs.d/docker.io/hosts.toml",
    "podman": ".config/containers/registries.conf.d/100-pyrsia.conf",
    "maven": ".m2/settings.xml",
    "gradle": ".gradle/init.d/pyrsia.init.gradle",
    "conan": ".conan2/remotes.json",
}
# What people have in these files, with comments and odd spacing.
THEIRS = {
    "pip": "# mine\n[global]\ntimeout = 60\nindex-url: https://old.example/simple\n  # why\nextra-index-url =\n"
    "    https://one.example\n    https://two.example\n\n[install]\nno-compile = yes\nfind-links=/srv\n",
    "uv": "# mine\nnative-tls = true # odd\n\n"
    '[[index]]\nname = "work"\nurl = "https://work.example/simple"\ndefault = true\n',
    "docker": '{\n  "debug": true,\n  "registry-mirrors": ["https://m.example"],\n  "dns": ["1.1.1.1"]\n}\n',
    "containerd": '# mine\nserver = "https://registry-1.docker.io"\n\n'
    '[host."https://m.example"]\n  capabilities = ["pull"]\n',
    "podman": "# an older setup of ours\n",
    "maven": '<?xml version="1.0" encoding="UTF-8"?>\n<!-- mine -->\n<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">\n'
    "  <mirrors>\n    <!-- work -->\n    <mirror><id>work</id><url>https://w.example/m2</url><mirrorOf>central</mirrorOf></mirror>\n"
    "  </mirrors>\n  <servers><server><id>s</id><password>p&lt;w</password></server></servers>\n</settings>\n",
    "gradle": "// mine\n",
    "conan": '{\n "remotes": [\n  {\n'
    '   "name": "work",\n   "url": "https://c.example",\n   "verify_ssl": false\n  }\n ]\n}',
}


def place(folder: Path, **env: str) -> Place:
    return Place(home=folder, root=folder / "root", env=env, cwd=folder / "project")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below, but the journals."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.stat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] != "state"
    }


def write(home: Path, name: str, text: str | bytes) -> Path:
    path = home / OWN[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "strict"),
    [(name, strict) for name in NAMES for strict in (False, True) if (name, strict) != ("docker", True)],
)  # docker cannot, see below
@pytest.mark.parametrize("had", [False, True])
def test_setup_and_undo_leave_every_byte_mode_and_folder_as_it_was(home, name, strict, had):
    if had:
        write(home, name, THEIRS[name]).chmod(0o640)
    before = tree(home)

    _, changes = applying.apply(kind(name), place(home), Want(NODE, strict))
    made = tree(home)
    _, nothing = applying.apply(kind(name), place(home), Want(NODE, strict))
    assert changes
    assert made != before
    assert nothing == []
    assert tree(home) == made
    assert NODE.partition("://")[2] in (home / OWN[name]).read_text()
    if had:
        assert made[OWN[name]][0] == 0o640

    applying.apply(kind(name), place(home), Want("http://127.0.0.1:8111", strict))
    undoing.undo(kind(name), place(home), force=False)

    assert tree(home) == before
    assert not list((home / "state").rglob("*.json"))


def test_undo_in_any_order_takes_away_the_folders_that_setup_made(home):
    for name in ("pip", "uv", "podman"):
        applying.apply(kind(name), place(home), Want(NODE))
    for name in ("pip", "podman", "uv"):
        undoing.undo(kind(name), place(home), force=False)
    assert tree(home) == {}


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_edited_since_is_not_overwritten(home, name):
    path = write(home, name, THEIRS[name])
    applying.apply(kind(name), place(home), Want(NODE))
    edited = path.read_bytes() + b"\n"
    path.write_bytes(edited)
    before = tree(home)

    with pytest.raises(Refusal) as caught:
        undoing.undo(kind(name), place(home), force=False)
    assert caught.value.code == "conflict"
    assert "--force" in caught.value.do
    assert tree(home) == before

    done = undoing.undo(kind(name), place(home), force=True)
    assert path.read_text() == THEIRS[name]
    assert [copy.read_bytes() for copy in done.kept] == [edited]
    assert all(stat.S_IMODE(copy.stat().st_mode) == 0o600 for copy in done.kept)


def test_an_edit_by_hand_between_two_setups_is_not_lost_by_undo(home):
    path = write(home, "pip", THEIRS["pip"])
    applying.apply(kind("pip"), place(home), Want(NODE))
    path.write_text(path.read_text().replace("timeout = 60", "timeout = 61"))
    applying.apply(kind("pip"), place(home), Want("http://127.0.0.1:8111"))
    assert "timeout = 61" in path.read_text()
    with pytest.raises(Refusal, match="edited by hand"):
        undoing.undo(kind("pip"), place(home), force=False)


def test_a_file_that_was_removed_since_is_the_users_edit_too(home):
    path = write(home, "conan", THEIRS["conan"])
    applying.apply(kind("conan"), place(home), Want(NODE))
    path.unlink()
    with pytest.raises(Refusal, match="edited by hand"):
        undoing.undo(kind("conan"), place(home), force=False)
    undoing.undo(kind("conan"), place(home), force=True)
    assert path.read_text() == THEIRS["conan"]


def test_a_symbolic_link_stays_one_and_the_file_behind_it_is_edited(home):
    real = home / "dotfiles" / "pip.conf"
    real.parent.mkdir()
    real.write_text(THEIRS["pip"])
    link = home / OWN["pip"]
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    applying.apply(kind("pip"), place(home), Want(NODE))
    assert link.is_symlink()
    assert NODE in real.read_text()
    undoing.undo(kind("pip"), place(home), force=False)
    assert link.is_symlink()
    assert real.read_text() == THEIRS["pip"]


def test_a_link_that_the_user_made_of_the_file_since_stays_one(home):
    path = write(home, "pip", THEIRS["pip"])
    applying.apply(kind("pip"), place(home), Want(NODE))
    moved = home / "dotfiles-pip.conf"
    path.rename(moved)
    path.symlink_to(moved)
    with pytest.raises(Refusal, match="edited by hand"):
        undoing.undo(kind("pip"), place(home), force=False)
    assert NODE in moved.read_text()
    undoing.undo(kind("pip"), place(home), force=True)
    assert path.is_symlink()
    assert moved.read_text() == THEIRS["pip"]


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_setup_that_is_killed_at_a_file_leaves_it_readable_as_it_was(home, monkeypatch, at):
    """A system's pip.conf that only root could read any more would end everybody's pip."""
    path = write(home, "pip", THEIRS["pip"])
    path.chmod(0o644)
    real = Path.rename

    def dying(self, target):
        if target == path and at == "before":
            raise KeyboardInterrupt
        made = real(self, target)
        if target == path:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(Path, "rename", dying)
    with pytest.raises(KeyboardInterrupt):
        applying.apply(kind("pip"), place(home), Want(NODE))
    monkeypatch.setattr(Path, "rename", real)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert (NODE in path.read_text()) == (at == "after")
    undoing.undo(kind("pip"), place(home), force=False)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (THEIRS["pip"], 0o644)


def test_a_failure_in_the_middle_leaves_everything_as_it_was(home, monkeypatch):
    write(home, "containerd", THEIRS["containerd"])
    before = tree(home)
    real, count = applying.write_whole, []

    def failing(path, data, mode=0o666, **more):
        if path.suffix != ".json":
            count.append(path)
            if len(count) == 2:
                raise OSError(28, "No space left on device")
        real(path, data, mode, **more)

    monkeypatch.setattr(applying, "write_whole", failing)
    with pytest.raises(Refusal, match="No space left"):
        applying.apply(kind("containerd"), place(home), Want(NODE, strict=True))
    assert len(count) >= 2
    assert tree(home) == before
    assert not list((home / "state").rglob("*.json"))


def test_a_journal_of_a_setup_that_was_killed_undoes_it(home, monkeypatch):
    """The process ends between the journal and the second file: one is ours, one is as it was, and undo takes both."""
    write(home, "containerd", THEIRS["containerd"])
    before = tree(home)

    class Killed(BaseException):
        pass

    real, count = applying.put, []

    def dying(path, data, was):
        count.append(path)
        if len(count) == 2:
            raise Killed
        real(path, data, was)

    monkeypatch.setattr(applying, "put", dying)
    with pytest.raises(Killed):
        applying.apply(kind("containerd"), place(home), Want(NODE, strict=True))
    monkeypatch.setattr(applying, "put", real)
    assert tree(home) != before
    undoing.undo(kind("containerd"), place(home), force=False)
    assert tree(home) == before


@pytest.mark.parametrize("name", ["pip", "uv", "docker", "containerd", "maven", "conan"])
@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\x00", b"[[[", b"{", b"<a><b></a>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><settings>&b;</settings>",
     b"[global]\n[global]\n", b'{"a": 1, "a": 2}', b'{"remotes": [3], "registry-mirrors": 3}',
     b"index = 3\n[[index]]\n", b"x = " + b"1" * 5_000 + b"\n", b"[" * 100_000,
     b"<a>" * 100_000, b"x" * (1 << 20 | 1)],
)  # fmt: skip
def test_what_the_client_could_not_read_either_is_refused_and_stays(home, name, garbage):
    path = write(home, name, garbage)
    before = tree(home)
    with pytest.raises(Refusal) as caught:
        applying.apply(kind(name), place(home), Want(NODE))
    assert caught.value.code == "config-invalid"
    assert str(path) in caught.value.what
    assert tree(home) == before
    assert not list((home / "state").rglob("*.json"))


@pytest.mark.parametrize("name", ["uv", "podman", "containerd"])
@pytest.mark.parametrize(
    "key", ["a." * 100_000 + "a = 1", "['a'" + ".'a'" * 100_000 + "]"], ids=["key", "heading"]
)
def test_a_key_of_many_parts_is_refused_before_it_is_read(home, name, key):
    """A project's own file is a stranger's, and reading such a key takes time in the square of its parts."""
    path = write(home, name, f"# mine\n{key}\n")
    before = tree(home)
    with pytest.raises(Refusal, match="line 2: it has more than 32 dots outside of texts") as caught:
        applying.apply(kind(name), place(home), Want(NODE))
    assert (caught.value.code, str(path) in caught.value.what) == ("config-invalid", True)
    assert tree(home) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_or_a_folder_in_a_files_place_is_refused_and_not_opened(home, name):
    path = write(home, name, b"")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refusal):
        applying.apply(kind(name), place(home), Want(NODE))
    path.unlink()
    path.mkdir()
    with pytest.raises(Refusal):
        applying.apply(kind(name), place(home), Want(NODE))


def test_a_damaged_journal_is_refused_and_changes_nothing(home):
    write(home, "pip", THEIRS["pip"])
    applying.apply(kind("pip"), place(home), Want(NODE))
    made = tree(home)
    path = applying.journal_path(kind("pip"), place(home).__class__(home=home))
    journal = next((home / "state").rglob("*.json"))
    assert path.parent == journal.parent
    for damage in (b"", b"{", b"[]", journal.read_bytes().replace(b'"v": 1', b'"v": 2'),
                   journal.read_bytes().replace(b"/.config", b"x"[:0] + b"/.config") + b"x",
                   journal.read_bytes().replace(str(home).encode(), b"relative")):  # fmt: skip
        journal.write_bytes(damage)
        with pytest.raises(Refusal) as caught:
            undoing.undo(kind("pip"), place(home), force=True)
        assert caught.value.code == "data-damaged"
        assert tree(home) == made


# -- properties ----------------------------------------------------------------------------------

_WORD = st.text(string.ascii_letters + string.digits + "-_./:%", min_size=1, max_size=12)
_INI_LINE = st.one_of(
    st.builds(lambda key, value: f"{key} = {value}", _WORD, _WORD),
    st.builds(lambda value: f"    {value}", _WORD),
    st.sampled_from(["", "# note", "; note", "[global]", "[install]", "[DEFAULT]", "index-url = https://x/simple",
                     "index_url: https://y", "extra-index-url =", "   https://z", "trusted-host = a b",
                     "  # within", "find-links = /a", "[global] ; odd", "no-index = true"]),
)  # fmt: skip
_INI = st.builds(
    lambda lines, end: "\n".join(lines) + end, st.lists(_INI_LINE, max_size=14), st.sampled_from(["", "\n"])
)
_ANY = st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
_JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_OBJECT = st.builds(
    lambda value, indent: json.dumps(value, indent=indent),
    st.dictionaries(
        st.one_of(st.text(max_size=8), st.sampled_from(["registry-mirrors", "remotes"])), _JSON, max_size=4
    ),
    st.sampled_from([None, 2, "\t"]),
)
_XML = st.lists(
    st.sampled_from(["<mirrors>", "</mirrors>", "<mirrors/>", "<mirror>", "</mirror>", "<id>a</id>", "<id>pyrsia</id>",
                     "<mirrorOf>central</mirrorOf>", "<!-- <mirrors> -->", "<![CDATA[<mirrors>]]>", "\n  ", " ",
                     "<a b='>'/>", "<url>u</url>", "&lt;", "<profiles/>"]), max_size=10
).map(lambda parts: "<settings>" + "".join(parts) + "</settings>")  # fmt: skip
_TOML = st.lists(
    st.sampled_from(["a = 1", "# note", "", "[[index]]", 'url = "https://x"', "default = true", 'name = "pyrsia"',
                     'index-url = "https://y"', "[pip]", 'server = "https://s"', '[host."https://m"]',
                     "x = [1, # c\n 2]",
                     'extra-index-url = ["https://z"]', "[host]", 'index = [{url = "q"}]']), max_size=8
).map("\n".join)  # fmt: skip
_TEXTS = {"pip": _INI, "uv": _TOML, "docker": _OBJECT, "containerd": _TOML, "podman": _TOML, "maven": _XML,
          "gradle": _ANY, "conan": _OBJECT}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_configuration_is_given_back_or_refused_untouched(home, name, data):
    """Whatever stands in the file: setup refuses and leaves it, or changes it and undo gives back every byte."""
    text = data.draw(st.one_of(_TEXTS[name], _ANY))
    strict = data.draw(st.booleans())
    path = write(
        home,
        name,
        text.encode("utf-8", "surrogateescape") if text.isascii() else text.encode("utf-8", "replace"),
    )
    before = tree(home)
    try:
        _, changes = applying.apply(kind(name), place(home), Want(NODE, strict))
    except Refusal:
        assert tree(home) == before
        return
    made = tree(home)
    _, nothing = applying.apply(kind(name), place(home), Want(NODE, strict))
    assert nothing == []
    assert tree(home) == made
    assert NODE.partition("://")[2] in path.read_text()
    if changes:
        undoing.undo(kind(name), place(home), force=False)
    assert tree(home) == before


@settings(max_examples=60, deadline=None)
@given(_INI)
def test_an_ini_edit_changes_one_option_and_no_other_line(text):
    """Python's own parser, which pip reads with, sees every other option as before, and no comment is lost."""
    from pyrsia.consumers import ini

    path = Path("pip.conf")
    try:
        before = ini.read(text, path)
        made = ini.edit(text, path, "global", {"index-url": "https://new/simple"})
    except Refusal:
        return
    after = ini.read(made, path)
    assert after.pop("global", {}).pop("index-url") == "https://new/simple"
    before.pop("global", None)
    assert after == before
    kept = [line for line in text.splitlines() if line.strip()[:1] in ("#", ";")]
    assert all(line in made.splitlines() for line in kept)


# -- what each client then does --------------------------------------------------------------------


def test_pip_keeps_comments_and_what_the_user_set(home):
    path = write(home, "pip", THEIRS["pip"])
    made, _ = applying.apply(kind("pip"), place(home), Want(NODE))
    text = path.read_text()
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert parser["global"]["index-url"] == f"{NODE}/pypi/simple/"
    assert text.startswith("# mine\n[global]\ntimeout = 60\n")
    assert "no-compile = yes" in text
    assert {hole.what.split()[0] for hole in made.holes} == {"extra-index-url", "find-links"}


def test_pip_strict_closes_what_the_file_says_and_names_what_it_cannot(home):
    path = write(home, "pip", THEIRS["pip"])
    made, _ = applying.apply(kind("pip"), place(home), Want(NODE, strict=True))
    assert made.holes == ()
    assert any("extra-index-url" in one for one in made.closed)
    assert "one.example" not in path.read_text()
    assert "/srv" not in path.read_text()
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        with pytest.raises(Refusal) as caught:
            applying.apply(
                kind("pip"),
                place(home, **{variable: "https://user:secret@x.example"}),
                Want(NODE, strict=True),
            )
        assert f"unset {variable}" in caught.value.do
        assert "secret" not in caught.value.what


def test_a_variable_that_makes_pip_read_no_configuration_is_a_hole(home):
    made, _ = applying.plan(kind("pip"), place(home, PIP_CONFIG_FILE=os.devnull), Want(NODE))
    assert [hole.do for hole in made.holes] == ["unset PIP_CONFIG_FILE"]


def test_uv_has_one_default_index_and_names_the_others(home):
    path = write(home, "uv", THEIRS["uv"])
    (home / "project").mkdir()
    (home / "project" / "pyproject.toml").write_text('[[tool.uv.index]]\nurl = "https://other.example"\n')
    made, _ = applying.apply(kind("uv"), place(home), Want(NODE))
    found = tomllib.loads(path.read_text())
    assert [one["url"] for one in found["index"] if one.get("default")] == [f"{NODE}/pypi/simple/"]
    assert found["native-tls"]
    assert "# odd" in path.read_text()
    assert sorted(hole.what.rpartition("https://")[2] for hole in made.holes) == [
        "other.example",
        "work.example/simple",
    ]
    with pytest.raises(Refusal, match="other\\.example"):
        applying.apply(kind("uv"), place(home), Want(NODE, strict=True))


def test_docker_cannot_be_strict_and_says_why(home):
    with pytest.raises(Refusal) as caught:
        applying.apply(kind("docker"), place(home), Want(NODE, strict=True))
    assert "Docker Hub" in caught.value.what
    assert "docker pull 127.0.0.1:7999" in caught.value.do
    write(home, "docker", THEIRS["docker"])
    made, _ = applying.apply(kind("docker"), place(home), Want("http://node.example:7888"))
    found = json.loads((home / OWN["docker"]).read_text())
    assert found == {"debug": True, "registry-mirrors": ["http://node.example:7888", "https://m.example"],
                     "dns": ["1.1.1.1"], "insecure-registries": ["node.example:7888"]}  # fmt: skip
    assert any("Docker Hub" in hole.what for hole in made.holes)


def test_containerd_asks_the_node_first_or_nobody_else(home):
    path = write(home, "containerd", THEIRS["containerd"])
    made, _ = applying.apply(kind("containerd"), place(home), Want(NODE))
    assert list(tomllib.loads(path.read_text())["host"]) == [NODE, "https://m.example"]
    assert path.read_text().startswith("# mine\n")
    assert len(made.holes) == 2
    made, _ = applying.apply(kind("containerd"), place(home), Want(NODE, strict=True))
    for one in (path, path.parents[1] / "_default" / "hosts.toml"):
        found = tomllib.loads(one.read_text())
        assert (found["server"], list(found["host"])) == (NODE, [NODE])
    assert made.holes == ()
    quay = path.parents[1] / "quay.io" / "hosts.toml"
    quay.parent.mkdir()
    quay.write_text('server = "https://quay.io"\n')
    made, _ = applying.apply(kind("containerd"), place(home), Want(NODE))
    assert any("quay.io" in hole.what for hole in made.holes)
    made, _ = applying.apply(kind("containerd"), place(home), Want(NODE, strict=True))
    assert tomllib.loads(quay.read_text())["server"] == NODE
    undoing.undo(kind("containerd"), place(home), force=False)
    assert quay.read_text() == 'server = "https://quay.io"\n'


def test_podman_strict_leads_docker_io_to_the_node_alone(home):
    system = home / "root/etc/containers/registries.conf"
    system.parent.mkdir(parents=True)
    system.write_text('unqualified-search-registries = ["docker.io", "quay.io"]\n')
    made, _ = applying.apply(kind("podman"), place(home), Want(NODE))
    assert {"comes from docker.io" in hole.what or "quay.io" in hole.what for hole in made.holes} == {True}
    applying.apply(kind("podman"), place(home), Want(NODE, strict=True))
    found = tomllib.loads((home / OWN["podman"]).read_text())
    assert found["registry"][0]["location"] == "127.0.0.1:7999/docker.io"
    assert found["unqualified-search-registries"] == ["docker.io"]
    assert "mirror" not in found["registry"][0]
    late = home / ".config/containers/registries.conf.d/200-mine.conf"
    late.write_text('[[registry]]\nprefix = "docker.io"\nlocation = "elsewhere.example"\n')
    with pytest.raises(Refusal, match="200-mine"):
        applying.apply(kind("podman"), place(home), Want(NODE, strict=True))


def test_maven_has_one_mirror_of_everything_before_the_users(home):
    path = write(home, "maven", THEIRS["maven"])
    made, _ = applying.apply(kind("maven"), place(home), Want(NODE))
    name = "{http://maven.apache.org/SETTINGS/1.2.0}"
    mirrors = ElementTree.fromstring(path.read_text()).findall(f"{name}mirrors/{name}mirror")  # noqa: S314
    assert [one.findtext(f"{name}id") for one in mirrors] == ["pyrsia", "work"]
    assert "<!-- mine -->" in path.read_text()
    assert "p&lt;w" in path.read_text()
    assert ["central" in hole.what for hole in made.holes] == [True]
    system = home / "root/etc/maven/settings.xml"
    system.parent.mkdir(parents=True)
    system.write_text(
        "<settings><mirrors><mirror><id>s</id><url>u</url><mirrorOf>apache</mirrorOf></mirror></mirrors></settings>"
    )
    made, _ = applying.apply(kind("maven"), place(home), Want(NODE, strict=True))
    mirrors = ElementTree.fromstring(path.read_text()).findall(f"{name}mirrors/{name}mirror")  # noqa: S314
    assert [one.findtext(f"{name}mirrorOf") for one in mirrors] == ["*", "apache"]
    assert {one.findtext(f"{name}url") for one in mirrors} == {f"{NODE}/maven2/"}
    assert made.holes == ()


def test_conan_asks_the_node_first_and_strict_disables_the_others(home):
    path = write(home, "conan", THEIRS["conan"])
    made, _ = applying.apply(kind("conan"), place(home), Want(NODE))
    assert [one["name"] for one in json.loads(path.read_text())["remotes"]] == ["pyrsia", "work"]
    assert "c.example" in made.holes[0].what
    applying.apply(kind("conan"), place(home), Want(NODE, strict=True))
    ours, theirs = json.loads(path.read_text())["remotes"]
    assert theirs == {"name": "work", "url": "https://c.example", "verify_ssl": False, "disabled": True}
    assert ours == {"name": "pyrsia", "url": f"{NODE}/conan", "verify_ssl": True}


# -- ways past the node that are easily missed ----------------------------------------------------


def below(home, rel, text):
    path = home / rel
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def planned(home, name, *, strict=True, **env):
    return applying.plan(kind(name), place(home, **env), Want(NODE, strict=strict))[0]


@pytest.mark.parametrize(
    "line",
    ['extra-index-url = ["https://past.example/simple"]', 'index-url = "https://past.example/simple"',
     'find-links = ["https://past.example/"]', 'torch-backend = "auto"', "no-index = true"],
)  # fmt: skip
def test_uvs_table_for_its_pip_is_closed_too(home, line):
    path = write(home, "uv", f"# mine\n[pip]\n{line}\nstrict = true\n")
    assert any("table pip" in hole.what for hole in planned(home, "uv", strict=False).holes)
    made, _ = applying.apply(kind("uv"), place(home), Want(NODE, strict=True))
    assert any("table pip" in one for one in made.closed)
    assert tomllib.loads(path.read_text())["pip"] == {"strict": True}
    below(home, "pyproject.toml", f"[tool.uv.pip]\n{line}\n")  # of a workspace, above the project
    with pytest.raises(Refusal, match="table pip"):
        planned(home, "uv")


@pytest.mark.parametrize(
    "told", ['{ git = "https://past.example/a" }', '[{ index = "torch", marker = "x" }]']
)
def test_a_project_that_takes_a_package_from_its_own_address_is_a_hole(home, told):
    below(home, "project/pyproject.toml", f"[tool.uv.sources]\na = {told}\nb = {{ workspace = true }}\n")
    with pytest.raises(Refusal, match=r"sources in .*: a from "):
        planned(home, "uv")


def test_podmans_aliases_are_led_to_the_node_and_those_that_cannot_be_are_holes(home):
    aliases = (
        '[aliases]\n"fedora" = "past.example/fedora"\n"a/b" = "past.example/b"\n'
        '"busybox" = "docker.io/library/busybox"\n'
    )
    names = below(
        home, "root/etc/containers/registries.conf.d/shortnames.conf", aliases
    )  # before any of the user's
    assert any("2 short names" in hole.what for hole in planned(home, "podman", strict=False).holes)
    made, _ = applying.apply(kind("podman"), place(home), Want(NODE, strict=True))
    assert made.holes == ()
    told = tomllib.loads((home / OWN["podman"]).read_text())["aliases"]
    assert told == {"fedora": "docker.io/library/fedora", "a/b": "docker.io/a/b"}
    assert names.read_text() == aliases
    late = below(home, ".config/containers/registries.conf.d/200-mine.conf", aliases)
    with pytest.raises(Refusal, match="200-mine"):
        planned(home, "podman")
    late.unlink()
    below(home, ".cache/containers/short-name-aliases.conf", aliases)
    with pytest.raises(Refusal, match="short-name-aliases"):
        planned(home, "podman")


def test_a_part_of_docker_io_that_leads_elsewhere_is_a_hole_whoever_is_read_first(home):
    below(home, "root/etc/containers/registries.conf.d/000-first.conf",
          '[[registry]]\nprefix = "docker.io/library"\nlocation = "past.example/library"\n')  # fmt: skip
    with pytest.raises(Refusal, match="000-first"):
        planned(home, "podman")


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n', True),
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "x"\n', True),
        ("version = 2\n", True),
        ('version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/elsewhere"\n', True),
        ("version = 3\n", False),
        ('disabled_plugins = ["cri"]\n', False),
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/x:FOLDER"\n', False),
    ],
)
def test_a_containerd_that_reads_no_hosts_is_a_hole(home, text, open_):
    folder = home / "root/etc/containerd"
    below(home, "root/etc/containerd/config.toml", text.replace("FOLDER", str(folder / "certs.d")))
    if not open_:
        assert planned(home, "containerd").holes == ()
        return
    with pytest.raises(Refusal, match="Kubernetes asks Docker Hub"):
        planned(home, "containerd")


@pytest.mark.parametrize(
    "line", ["-sother.xml", "-s=o.xml", "-gsother.xml", "--settings=o.xml", '"-s" o.xml', "-s\no.xml"]
)
@pytest.mark.parametrize("where", ["project/.mvn/maven.config", ".mvn/maven.config"])
def test_maven_told_to_read_other_settings_is_a_hole_however_it_is_written(home, line, where):
    path = below(home, where, f"-T4\n{line}\n")
    with pytest.raises(Refusal, match="other settings"):
        planned(home, "maven")
    path.write_text("-T4\n-Dx=-s\n--strict-checksums\n")
    assert planned(home, "maven").holes == ()


def test_the_settings_of_a_maven_that_was_unpacked_somewhere_are_seen(home):
    mirror = "<settings><mirrors><mirror><id>m</id><url>https://past.example</url><mirrorOf>central</mirrorOf></mirror></mirrors></settings>"
    below(home, "opt/apache-maven-3.9/conf/settings.xml", mirror)
    path = f"/usr/bin:{home}/opt/apache-maven-3.9/bin"
    assert any(
        "mirror of central" in hole.what for hole in planned(home, "maven", strict=False, PATH=path).holes
    )
    assert b"<mirrorOf>central</mirrorOf>" in planned(home, "maven", PATH=path).edits[0].data
