"""What an audit reads: content decides what a file is, hostile ones are refused with a sentence, nothing is hidden."""

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.cli.audit.reading import read
from pyrsia.consumers.auditing import components, environment
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.lists import gradle, requirements
from pyrsia.consumers.lists.requirements import MAX_LINES
from pyrsia.errors import Refusal
from pyrsia.units import MAX_DOCUMENT_BYTES, MAX_LIST_BYTES, Limit
from tests.reference.toyaudit import sbom


def found(*named, venvs=()):
    into = Gathered()
    read([str(one) for one in named], venvs, None, into)
    return into


def purls(into):
    return [one.purl for one in into.components]


def refused(*named, venvs=()):
    with pytest.raises(Refusal) as caught:
        found(*named, venvs=venvs)
    assert caught.value.answer.exit == 2
    return caught.value.what


def wrote(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


BOMB = '<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><project>&b;</project>'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (BOMB, "declares a document type"),
        ("<bom/>", "its root is 'bom'"),
        (b"\x7fELF\0\0", "it is no text"),
        (b"idna==3.6\n\xff\xfe", "it is not UTF-8"),
        ("{", "x.txt: "),
        ('{"a": 1}', "neither CycloneDX nor SPDX"),
        ('{"requires": [1]}', "is no reference"),
        ('{"bomFormat": "CycloneDX", "components": 1}', "x.txt: "),
        ('{"bomFormat": ' + "[" * 5_000, "x.txt: "),
        ("[[package]]\nversion = '1'", "a package without a name or a source"),
        ('[[package]]\nname = "one"\nversion = "1"', "line 1: a package without a name or a source"),
        (
            '[[package]]\nname = "serde"\nversion = "1"\nsource = "registry+https://x"',
            "line 1: serde has a source as Cargo writes it, and the network knows no crates",
        ),
        ("[[packages]]\nname = 'x'", "it is no pylock.toml: Missing required value in 'lock-version'"),
        ("<?xml version='1.0'?><!-- <bom/> --><rdf:RDF/>", "it is SPDX, but not in JSON"),
        ("SPDXVersion: SPDX-2.3\n", "it is SPDX, but not in JSON"),
        ('{"spdxVersion": "SPDX-2.1"}', "it is SPDX of a version that is not read: SPDX-2.1"),
        ("[project]\nname = 'x'\n", "it is none of the lists that are read here"),
        (b"\xff\xfeidna==3.6", "it begins as UTF-16 and is none"),
        ("import os\n", "line 1 is no requirement"),
        ("idna==3.6\nidna=3.6\n", "line 2 is no requirement"),
    ],
)
def test_what_is_no_list_is_refused_by_a_sentence(tmp_path, data, why):
    assert why in refused(wrote(tmp_path, "x.txt", data))


def test_what_is_too_large_or_no_plain_file_is_refused(tmp_path):
    large = wrote(tmp_path, "requirements.txt", b"")
    os.truncate(large, MAX_LIST_BYTES.value + 1)
    with large.open("r+b") as file:
        file.write(b"#" * 5_000)
    assert "larger than 8,388,608 bytes, too long for the requirements that it looks like" in refused(large)
    many = wrote(tmp_path, "many.txt", "a==1\n" * (MAX_LINES.value + 1))
    assert "lines" in refused(many)
    assert "is no requirement" in refused(wrote(tmp_path, "long.txt", "a" * (1 << 22) + "!"))
    bom = wrote(tmp_path, "bom.json", sbom("pkg:pypi/a@1"))
    os.truncate(bom, MAX_DOCUMENT_BYTES.value + 1)
    assert "are read of one document" in refused(bom)
    os.mkfifo(tmp_path / "pipe")
    assert "no plain file" in refused(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        assert "no plain file" in refused(tmp_path / "s")


@pytest.mark.parametrize("end", ["\r", "\f", "\v", "\x1c", "\x85", "\u2028", "\r\n"])
def test_lines_are_too_many_whatever_ends_them(tmp_path, monkeypatch, end):
    """Only line feeds were counted: eight MiB of carriage returns were four million lines, a minute and a gigabyte."""
    monkeypatch.setattr(requirements, "MAX_LINES", Limit(3, "for the test"))
    monkeypatch.setattr(gradle, "MAX_LOCKED", Limit(3, "for the test"))
    assert found(wrote(tmp_path, "few.txt", f"a==1{end}" * 3)).told
    assert "more than 3 lines" in refused(wrote(tmp_path, "many.txt", f"a==1{end}" * 4))
    assert "more than 3 lines" in refused(wrote(tmp_path, "many.lockfile", f"a:b:1{end}" * 4))


def test_an_sbom_of_too_many_components_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "MAX_COMPONENTS", Limit(3, "for the test"))
    path = wrote(tmp_path, "bom.json", sbom(*(f"pkg:pypi/p{n}@1" for n in range(4))))
    assert "more than 3 versions" in refused(path)


def test_places_of_one_version_are_merged_and_bounded(tmp_path):
    path = wrote(tmp_path, "requirements.txt", "idna==3.6\n" * 200 + "IDNA == 3.6\n")
    (one,) = found(path, path).components
    assert one.purl == "pkg:pypi/idna@3.6"
    assert one.places[0] == Place(str(path), 1)
    assert len(one.places) == components.MAX_PLACES.value


@pytest.mark.parametrize("leads", ["{secret}", "../away/token", "link"])
def test_a_list_of_a_stranger_shows_nothing_of_files_elsewhere(tmp_path, monkeypatch, leads):
    (tmp_path / "away").mkdir()
    (tmp_path / "here").mkdir()
    secret = wrote(tmp_path / "away", "token", "root:x:0:0:hunter2\nghp-hunter2\n")
    path = wrote(tmp_path / "here", "requirements.txt", f"-r {leads.format(secret=secret)}\nidna==3.6\n")
    (tmp_path / "here" / "link").symlink_to(secret)
    monkeypatch.chdir(tmp_path / "here")
    into = found(path)
    assert purls(into) == ["pkg:pypi/idna@3.6"]
    (left,) = into.left
    assert (left.why, "hunter2" in repr(into.left)) == ("it lies outside of this folder: name it too", False)
    monkeypatch.chdir(tmp_path)  # a project may have lists in several folders
    assert "line 1 is no requirement" in refused(path)


def test_a_list_leads_to_others_but_not_in_circles_or_to_addresses(tmp_path):
    (tmp_path / "deep").mkdir()
    first = wrote(
        tmp_path, "requirements.txt", "-r deep/more.txt\n-r gone.txt\n-r https://x/y.txt\n-c c.txt\n"
    )
    wrote(tmp_path / "deep", "more.txt", "-r ../requirements.txt\nidna==3.6\n")
    into = found(first)
    assert into.components == (
        components.Component("pkg:pypi/idna@3.6", (Place(f"{tmp_path}/deep/more.txt", 2),)),
    )
    assert [one.what for one in into.left] == ["-r gone.txt", "-r https://x/y.txt"]


def test_paths_and_addresses_in_requirements_are_left_with_their_line(tmp_path):
    path = wrote(tmp_path, "requirements.txt", "./own\nx @ https://e/x.whl\nhttps://e/y.whl\nidna==3.6\n")
    into = found(path)
    assert [(one.place.line, one.why) for one in into.left] == [
        (1, "no version: it is a path or an address"),
        (2, "it comes from no index"),
        (3, "no version: it is a path or an address"),
    ]


@given(st.binary(max_size=300))
def test_whatever_stands_in_a_file_it_is_read_or_refused(tmp_path_factory, data):
    path = wrote(tmp_path_factory.mktemp("any"), "any", data)
    try:
        named, code = purls(found(path)), 2
    except Refusal as refusal:
        named, code = [], refusal.answer.exit
    assert code == 2
    assert all("@" in one for one in named)


# -- environments --


def dist(site, folder, text):
    (site / folder).mkdir(parents=True)
    (site / folder / "METADATA").write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def venv(tmp_path):
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    return site


def test_installed_distributions_are_read_from_their_metadata(venv):
    root = venv.parents[2]
    dist(venv, "idna-3.6.dist-info", "Metadata-Version: 2.1\nName: idna\nVersion: 3.6\n\nVersion: 9\n")
    dist(venv, "Foo_Bar-1.0.dist-info", "Name: Foo.Bar\nVersion: 1.0\n")
    (venv / "old-2.egg-info").write_text("Name: old\nVersion: 2\n")
    (venv / "idna").mkdir()
    into = found(venvs=[root])
    assert purls(into) == ["pkg:pypi/foo-bar@1.0", "pkg:pypi/idna@3.6", "pkg:pypi/old@2"]
    assert into.components[1].places == (Place(str(venv / "idna-3.6.dist-info" / "METADATA"), 3),)
    assert "only *.dist-info is read" in into.unseen[0]


def test_what_an_environment_shares_with_the_system_is_told(venv):
    root = venv.parents[2]
    dist(venv, "idna-3.6.dist-info", "Name: idna\nVersion: 3.6\n")
    dist(root, "beside-1.dist-info", "Name: beside\nVersion: 1\n")
    for word, count in (("false", 1), ("FALSE ", 1), ("true", 2), ("yes", 2)):
        (root / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = {word}\n")
        into = found(venvs=[root])
        assert len(into.unseen) == count
        assert purls(into) == ["pkg:pypi/idna@3.6", "pkg:pypi/beside@1"]
    assert f"packages of the system, which {root} uses too" in into.unseen[1]


def test_what_names_nothing_is_told(venv, tmp_path):
    files = [wrote(tmp_path, "empty.txt", "# nothing\n"), wrote(tmp_path, "empty.json", sbom())]
    into = found(*files, venvs=[venv.parents[2]])
    assert [(one.what, one.why) for one in into.left] == [
        (str(files[0]), "it names no package"),
        (str(files[1]), "it names no package"),
        (str(venv.parents[2]), "nothing is installed in it"),
    ]


def test_a_version_that_metadata_hides_is_asked_about_too(venv):
    dist(venv, "idna-3.6.dist-info", "Name: idna\nVersion: 3.10\nVersion: 3.11\n")
    assert purls(found(venvs=[venv.parents[2]])) == ["pkg:pypi/idna@3.10", "pkg:pypi/idna@3.6"]


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_field_that_holds_what_looks_like_the_end_of_a_line_hides_nothing(venv, end):
    hidden = f"Summary: a{end}Name: z{end}Version: 9\nName: x\nVersion: 1.0\n"
    dist(venv, "x.dist-info", hidden)
    (venv / "y.egg-info").write_text(hidden.replace("x", "y"))
    assert purls(found(venvs=[venv.parents[2]])) == ["pkg:pypi/x@1.0", "pkg:pypi/y@1.0"]


def test_fields_are_read_in_any_case_and_an_eggs_folder_is_asked_about_as_well(venv):
    (venv / "x-2.0-py3.11.egg-info").mkdir()
    (venv / "x-2.0-py3.11.egg-info" / "PKG-INFO").write_text("name: x\r\n  \r\nVERSION: 1.0\r\n\r\nbody")
    assert purls(found(venvs=[venv.parents[2]])) == ["pkg:pypi/x@1.0", "pkg:pypi/x@2.0"]


def test_folders_of_metadata_are_read_in_any_case_as_python_reads_them(venv, tmp_path):
    """Whoever may name a folder hid a version from the audit that importlib and pip go on seeing."""
    dist(venv, "idna-3.10.DIST-INFO", "Name: idna\nVersion: 3.10\n")
    (venv / "pyyaml-5.1.Egg-Info").mkdir()
    (venv / "pyyaml-5.1.Egg-Info" / "PKG-INFO").write_text("Name: pyyaml\nVersion: 5.1\n")
    assert purls(found(venvs=[venv.parents[2]])) == ["pkg:pypi/idna@3.10", "pkg:pypi/pyyaml@5.1"]
    target = tmp_path / "target"
    dist(target, "six-1.DIST-INFO", "Name: six\nVersion: 1\n")
    assert purls(found(venvs=[target])) == ["pkg:pypi/six@1"]
    dist(venv.parents[2], "beside-1.Dist-Info", "Name: beside\nVersion: 1\n")
    assert "pkg:pypi/beside@1" in purls(found(venvs=[venv.parents[2]]))


def test_hostile_environments_are_read_within_bounds(venv, tmp_path):
    root = venv.parents[2]
    (venv / "loop").symlink_to(venv)
    (venv / "linked-1.dist-info").symlink_to(venv)
    (root / "lib64").symlink_to(root / "lib")
    (root / "lib" / "python3.12").symlink_to(root / "lib" / "python3.11")
    dist(venv, "bad-1.dist-info", b"Name: b\x1b[31mad\xff\nVersion: 1\n")
    dist(venv, "huge-1.dist-info", b"x" * (environment.MAX_METADATA_BYTES.value + 1))
    dist(venv, "none-1.dist-info", "")
    os.mkfifo(venv / "pipe-1.egg-info")
    (venv / "dir-1.dist-info" / "METADATA").mkdir(parents=True)
    into = found(venvs=[root])
    assert purls(into) == [f"pkg:pypi/{name}@1" for name in ("bad", "dir", "huge", "linked", "none", "pipe")]
    assert {one.what for one in into.left} >= {"pipe-1", "huge-1", "none-1", "linked-1", "dir-1"}
    assert any("symbolic link" in one.why for one in into.left)
    assert "no Python environment" in refused(venvs=[tmp_path])


def test_too_many_names_in_an_environment_are_refused(venv, monkeypatch):
    monkeypatch.setattr(environment, "MAX_FOLDERS", Limit(2, "for the test"))
    for number in range(3):
        (venv / f"f{number}").mkdir()
    assert "too much" in refused(venvs=[venv.parents[2]])


def test_a_purl_is_read_however_it_is_written():
    into = found("pkg:PyPI/Foo_Bar@1.0?x=y#z", "pkg:pypi/none")
    assert purls(into) == ["pkg:pypi/foo-bar@1.0"]
    assert [one.what for one in into.left] == ["pkg:pypi/none"]


def test_what_a_document_is_about_and_every_purl_of_a_package_is_asked_about(tmp_path):
    def package(name, *written):
        refs = [{"referenceType": "purl", "referenceLocator": one} for one in written]
        return {"name": name, "SPDXID": f"SPDXRef-{name}", "versionInfo": "1", "externalRefs": refs}

    two = package("two", "pkg:generic/two@1", "pkg:pypi/idna@1.0", "no purl")
    data = {"spdxVersion": "SPDX-2.3", "documentDescribes": ["SPDXRef-bad"]}
    data["packages"] = [package("bad", "pkg:pypi/bad@1"), two]
    into = found(wrote(tmp_path, "spdx.json", json.dumps(data)))
    assert purls(into) == ["pkg:pypi/bad@1", "pkg:generic/two@1", "pkg:pypi/idna@1.0"]
    assert [one.what for one in into.left] == ["two 1"]
    graph = {"@context": "https://spdx.org/rdf/3.0.1/x", "@graph": [
        {"type": "software_Package", "name": "x", "software_packageUrl": "pkg:pypi/a@1", "externalIdentifier": [
            {"externalIdentifierType": "packageUrl", "identifier": "pkg:pypi/b@1"}]}]}  # fmt: skip
    assert purls(found(wrote(tmp_path, "spdx3.json", json.dumps(graph)))) == ["pkg:pypi/a@1", "pkg:pypi/b@1"]
    bom = json.loads(sbom("pkg:pypi/ok@1"))
    inner = {"name": "in", "purl": "pkg:pypi/inner@1"}
    bom["metadata"] = {"component": {"name": "top", "purl": "pkg:pypi/top@1", "components": [inner]}}
    assert purls(found(wrote(tmp_path, "bom.json", json.dumps(bom)))) == [
        "pkg:pypi/top@1",
        "pkg:pypi/inner@1",
        "pkg:pypi/ok@1",
    ]


def test_spdx_is_read_as_well(tmp_path):
    listed = {"name": "x", "SPDXID": "SPDXRef-x", "versionInfo": "1", "externalRefs": [
        {"referenceType": "purl", "referenceLocator": "pkg:maven/org.acme/lib@1.0?type=jar"}]}  # fmt: skip
    data = json.dumps({"spdxVersion": "SPDX-2.3", "packages": [listed, {"name": "bare", "versionInfo": "2"}]})
    into = found(wrote(tmp_path, "any", data))
    assert purls(into) == ["pkg:maven/org.acme/lib@1.0"]
    assert [(one.what, one.why) for one in into.left] == [("bare 2", "the document has no purl for it")]
