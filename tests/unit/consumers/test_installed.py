"""`pyrsia verify` for what is installed: accepted only as the log has it, each change is named, lies help nobody."""

import hashlib
import io
import json
import os
import sqlite3
import struct
import tarfile
import zipfile
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.consumers.installed import bundle as bundles
from pyrsia.consumers.installed.wheels import members_of
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit
from pyrsia.verify import evidence
from pyrsia.verify.wheel import DIRECTORY_BYTES
from tests.reference.fakenode import FakeNode
from tests.reference.reigns import Reigns, three_epochs
from tests.reference.story import SIGNED_S, Story
from tests.unit.consumers.made import CONAN, FILES, WHEEL, Published, answers, idna, install, listed, wheel

PURL = "pkg:pypi/idna@1.0"
MADE = ("a compiled file", "a script")  # by the installer, from what the wheel holds
TEXT = {
    "coordinates": {"name": "text", "namespace": "org.example", "version": "1.0"},
    "ecosystem": "maven",
    "purl": "pkg:maven/org.example/text@1.0",
    "target": {"arch": "x86_64", "jdk": "17", "libc": "glibc-2.36", "os": "linux"},
}


@pytest.fixture(scope="module")
def story():
    return idna().of(WHEEL)


@pytest.fixture(autouse=True)
def today(monkeypatch):
    """The proofs were made in the ledger's own time."""
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 60))


@pytest.fixture
def trust(story, tmp_path):
    path = tmp_path / "genesis.json"
    path.write_bytes(story.genesis.raw)
    return path


@pytest.fixture
def node(story):
    with FakeNode(answers(story, PURL)) as made:
        yield made


@pytest.fixture
def venv(tmp_path):
    root = tmp_path / "venv"
    install(root)
    return root


@pytest.fixture
def check(pyrsia, node, trust):
    """Run `verify --json` against the node: (exit code, rows)."""

    def call(*arguments, source=("--node",)):
        named = (*source, node.url) if source == ("--node",) else source
        code, out, err = pyrsia("verify", *arguments, *named, "--trust", trust, "--json")
        told = json.loads(out)
        assert "error" not in told, (told, err)
        return code, told["files"]

    return call


def bad(rows):
    """(end of the path, why) of whatever is not accepted, generated or skipped."""
    return {(row["file"].rpartition("site-packages/")[2], row["why"]) for row in rows
            if row["outcome"] in ("refused", "no proof")}  # fmt: skip


# -- environments -----------------------------------------------------------------------------------


def test_an_environment_as_the_wheel_made_it_is_accepted_file_by_file(check, venv):
    code, rows = check("--venv", venv)
    assert code == 0
    accepted = {row["file"].rpartition("venv/")[2] for row in rows if row["outcome"] == "accepted"}
    assert {"bin/idna-tool", "bin/idna-run"} < accepted
    assert len(accepted) == len(FILES) + len(MADE)
    generated = {row["file"].rpartition("/")[2] for row in rows if row["outcome"] == "generated"}
    assert generated == {"RECORD", "INSTALLER"}
    assert {row["package"] for row in rows} == {PURL}
    assert all(row["verdict"] == "REPRODUCED" for row in rows if row["outcome"] == "accepted")
    assert all(len(row["builders"]) == 3 for row in rows if row["outcome"] == "accepted")


def test_the_table_tells_a_package_in_a_line_and_each_bad_file_in_its_own(pyrsia, node, trust, venv):
    code, out, err = pyrsia("verify", "--venv", venv, "--node", node.url, "--trust", trust)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["file", "package", "verdict", "builders", "outcome", "why"]
    assert out.splitlines()[1].startswith("9 files")
    assert "9 accepted, 2 generated" in out
    (venv / "lib/python3.11/site-packages/idna/core.py").write_text("evil\n")
    code, out, _ = pyrsia("verify", "--venv", venv, "--node", node.url, "--trust", trust)
    assert code == 1
    assert "idna/core.py" in out.splitlines()[1]
    assert "changed: it is not what the wheel holds" in out.splitlines()[1]
    assert "do:  install the package again" in out


def _changed(site):
    (site / "idna/core.py").write_bytes(b"def of(name):\n    return evil\n")
    return "idna/core.py", "changed"


def _missing(site):
    (site / "idna/data/table.bin").unlink()
    return "idna/data/table.bin", "missing"


def _additional(site):
    (site / "idna/evil.py").write_bytes(b"evil\n")
    return "idna/evil.py", "additional"


def _pth(site):
    (site / "evil.pth").write_bytes(b"import os\n")
    return "evil.pth", "additional: no package owns it"


def _sourceless(site):
    (site / "idna/__pycache__/other.cpython-311.pyc").write_bytes(b"evil")
    return "idna/__pycache__/other.cpython-311.pyc", "additional: a compiled file whose source"


def _link(site):
    (site.parents[2] / "elsewhere.py").write_bytes(FILES["idna/core.py"])
    (site / "idna/core.py").unlink()
    (site / "idna/core.py").symlink_to(site.parents[2] / "elsewhere.py")
    return "idna/core.py", "a symbolic link"


def _link_out(site):
    (site / "outside").symlink_to("/etc")
    return "outside", "additional: a symbolic link"


def _pipe(site):
    (site / "idna/core.py").unlink()
    os.mkfifo(site / "idna/core.py")
    return "idna/core.py", "a pipe"


def _script(site):
    (site.parents[2] / "bin/idna-tool").write_bytes(b"#!/x/python\nevil()\n")
    return "bin/idna-tool", "changed"


def _claimed_by_record(site):
    """RECORD is the attacker's too: it claims the new file and the changed one."""
    (site / "idna/evil.py").write_bytes(b"evil\n")
    record = site / "idna-1.0.dist-info/RECORD"
    digest = hashlib.sha256(b"evil\n").hexdigest()
    record.write_text(record.read_text() + f"idna/evil.py,sha256={digest},5\n")
    return "idna/evil.py", "additional: the wheel does not hold it"


def _egg_info(site):
    (site / "old-1.0-py3.11.egg-info").write_text("Name: old\n")
    return "old-1.0-py3.11.egg-info", "additional: no package owns it"


@pytest.mark.parametrize(
    "change",
    [_changed, _missing, _additional, _pth, _sourceless, _link, _link_out, _pipe, _script, _claimed_by_record,
     _egg_info],
)  # fmt: skip
def test_a_changed_missing_or_additional_file_fails_with_its_name(check, venv, change):
    path, why = change(venv / "lib/python3.11/site-packages")
    code, rows = check("--venv", venv)
    assert code == 1
    told = bad(rows)
    assert len(told) == 1, told
    (where, said) = told.pop()
    assert where.endswith(path)
    assert said.startswith(why)


def test_a_package_that_the_network_does_not_have_is_without_proof_unless_it_is_skipped(check, venv, node):
    site = venv / "lib/python3.11/site-packages"
    (site / "pip-9.9.dist-info").mkdir()
    (site / "pip-9.9.dist-info/RECORD").write_text(
        "pip/__init__.py,,\n../../../../../etc/passwd,,\n/etc/passwd,,\n"
    )
    (site / "pip").mkdir()
    (site / "pip/__init__.py").write_text("")
    code, rows = check("--venv", venv)
    assert code == 3
    told = "no wheel of pip 9.9 is offered: the log has none, or the node's policy refuses it"
    assert {why for _, why in bad(rows)} == {told}
    assert check("--venv", venv, "--skip", "pip")[0] == 0
    (site / "pip/__pycache__").mkdir()
    (site / "pip/__pycache__/__init__.cpython-311.pyc").write_text("")
    assert check("--venv", venv, "--skip", "pip")[0] == 0
    (site / "pip/unclaimed.py").write_text("")
    assert check("--venv", venv, "--skip", "pip")[0] == 1


def test_a_huge_or_hostile_record_claims_nothing_and_costs_little(check, venv, monkeypatch):
    from pyrsia.consumers.installed import walking

    record = venv / "lib/python3.11/site-packages/idna-1.0.dist-info/RECORD"
    (venv / "lib/python3.11/site-packages/idna/evil.py").write_text("x")
    for text in (b"idna/evil.py,,\n" * 10, b"\xff" * 100, b'"' * 5_000, b"a" * 200_000, b"idna/\0evil.py,,\n",
                 b"../../../../../../etc/shadow,,\n"):  # fmt: skip
        record.write_bytes(text)
        code, rows = check("--venv", venv)
        assert (code, len(bad(rows))) == (1, 1)
    monkeypatch.setattr(walking, "MAX_ENTRIES", Limit(5, "test"))
    with pytest.raises(Refusal, match="too much"):
        list(walking.walk(venv))


def test_an_environment_that_is_none_is_refused_as_that(pyrsia, node, trust, tmp_path):
    code, _, err = pyrsia("verify", "--venv", tmp_path, "--node", node.url, "--trust", trust)
    assert "is no Python environment" in err
    assert code == 2  # usage, not a file that was refused


def test_a_node_that_lies_about_what_a_wheel_holds_convinces_nobody(check, venv, node, story):
    (venv / "lib/python3.11/site-packages/idna/core.py").write_bytes(b"evil\n")
    lie = listed({**FILES, "idna/core.py": b"evil\n", "idna-1.0.dist-info/RECORD": b""})
    for answer in (lie, b"[]", b"{", b""):
        node.answers[f"/api/v1/artifacts/{story.sha256}/contents"] = (200, answer)
        code, rows = check("--venv", venv)
        assert code == 1
        assert ("idna-1.0.dist-info", "the list of members is not the one that the log names") in bad(rows)


def test_a_node_that_offers_another_package_under_this_name_convinces_nobody(check, venv, node):
    other = idna(asked={"purl": "pkg:pypi/other@1.0", "coordinates": {"name": "other", "version": "1.0"}})
    node.answers.update(answers(other, PURL))
    code, rows = check("--venv", venv)
    assert code in (1, 3)
    assert not [row for row in rows if row["outcome"] == "accepted"]


def test_a_node_that_is_away_says_nothing_about_files(pyrsia, trust, venv):
    code, _, err = pyrsia("verify", "--venv", venv, "--node", "http://127.0.0.1:1", "--trust", trust)
    assert code == 1
    assert "no node answers" in err


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_single_changed_byte_passes(check, venv, data):
    """Property: any one byte of any file that the wheel holds, changed, is a refusal that names the file."""
    site = venv / "lib/python3.11/site-packages"
    path = data.draw(st.sampled_from([one for one in FILES if ".data/" not in one]))
    before = (site / path).read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    flip = data.draw(st.integers(1, 255))
    (site / path).write_bytes(before[:at] + bytes([before[at] ^ flip]) + before[at + 1 :])
    try:
        code, rows = check("--venv", venv)
    finally:
        (site / path).write_bytes(before)
    assert code == 1
    assert path in {where for where, _ in bad(rows)}


@pytest.fixture(scope="module")
def seen():
    """A wheel that was witnessed: the log lists the file alone, and not what it holds."""
    data = wheel()
    return Published({WHEEL: data}, asked={"ecosystem": "witness"}).of(WHEEL)


def test_a_witnessed_wheel_is_compared_with_the_file_itself_where_the_policy_takes_it(
    pyrsia, node, seen, venv, tmp_path
):
    node.answers.update(answers(seen, PURL))
    node.answers[f"/pypi/files/{seen.sha256}/{WHEEL}"] = (200, seen.data)
    trust = tmp_path / "seen.json"
    trust.write_bytes(seen.genesis.raw)
    rules = tmp_path / "policy.toml"
    rules.write_text('[pip]\nmode = "verified+witnessed"\n')

    def check(*more):
        code, out, _ = pyrsia("verify", "--venv", venv, "--trust", trust, "--json", *more)
        return code, json.loads(out)["files"]

    witnessed = ("--node", node.url, "--policy", rules)
    assert check("--node", node.url)[0] == 1, "the default policy takes no witnessed wheel"
    bundle = tmp_path / "proofs.zip"
    code, rows = check(*witnessed, "--save-bundle", bundle)
    assert code == 0
    assert {row["verdict"] for row in rows if row["outcome"] == "accepted"} == {"WITNESSED"}
    (venv / "lib/python3.11/site-packages/idna/core.py").write_text("evil\n")
    assert check(*witnessed)[0] == 1
    code, rows = check("--bundle", bundle, "--policy", rules)
    assert code == 3
    assert any("the bundle does not hold the file itself" in row["why"] for row in rows)
    node.answers[f"/pypi/files/{seen.sha256}/{WHEEL}"] = (200, wheel({**FILES, "idna/core.py": b"evil\n"}))
    code, rows = check(*witnessed)
    assert code == 1
    assert ("idna-1.0.dist-info", "the node gave other bytes under this digest") in bad(rows)


@pytest.mark.parametrize(
    "members",
    [[("../evil", b"x")], [("/etc/evil", b"x")], [("a", b"1"), ("A", b"2")], [("a/../b", b"x")]],
)
def test_a_wheel_with_names_that_no_archive_may_hold_is_not_read(tmp_path, members):
    path = tmp_path / "a.whl"
    path.write_bytes(_zip(members))
    with pytest.raises(Malformed):
        members_of(path)


def test_a_wheel_that_unpacks_to_too_much_is_not_read(tmp_path, monkeypatch):
    from pyrsia.builds import members as rules

    path = tmp_path / "a.whl"
    path.write_bytes(_zip([("a", bytes(100_000))]))
    monkeypatch.setattr(rules, "MAX_UNPACKED_BYTES", Limit(50_000, "test"))
    with pytest.raises(Malformed, match="unpacks to more"):
        members_of(path)
    path.write_bytes(_zip([("a", b"x")], zipfile.ZIP_BZIP2))
    with pytest.raises(Malformed, match="unknown method"):
        members_of(path)
    for data in (b"", b"PK\3\4", _zip([("a", b"x" * 50)])[:-30]):
        path.write_bytes(data)
        with pytest.raises(Malformed):
            members_of(path)


def test_a_wheel_whose_list_is_longer_than_any_is_not_read(tmp_path):
    """As it was found: `zipfile` makes an object of each member before any rule looks at them."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *[0] * 7, 1, *[0] * 6) + b"a"
    count = DIRECTORY_BYTES.value // len(entry) + 1
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, count * len(entry), 0, 0)
    path = tmp_path / "a.whl"
    path.write_bytes(entry * count + end)
    with pytest.raises(Malformed, match="its directory has more"):
        members_of(path)


# -- offline ----------------------------------------------------------------------------------------


def test_a_bundle_says_the_same_without_a_node(check, venv, node, tmp_path):
    path = tmp_path / "proofs.zip"
    first = check("--venv", venv, "--save-bundle", path)
    asked = len(node.seen)
    assert check("--venv", venv, source=("--bundle", path)) == first
    assert len(node.seen) == asked
    (venv / "lib/python3.11/site-packages/idna/core.py").write_text("evil\n")
    assert check("--venv", venv, source=("--bundle", path))[0] == 1


def test_a_file_is_checked_with_a_bundle_too(pyrsia, check, story, trust, tmp_path, venv):
    bundle, file = tmp_path / "proofs.zip", tmp_path / WHEEL
    file.write_bytes(story.data)
    check("--venv", venv, "--save-bundle", bundle)
    code, out, _ = pyrsia("verify", file, "--bundle", bundle, "--trust", trust)
    assert (code, out.splitlines()[0]) == (0, PURL)
    file.write_bytes(b"other")
    assert pyrsia("verify", file, "--bundle", bundle, "--trust", trust)[0] == 3


def test_epochs_for_which_a_proof_has_no_room_come_from_the_node_and_lie_in_the_bundle(
    pyrsia, node, tmp_path
):
    later = Story(world=three_epochs(Reigns(count=6)))
    rows = [later.row(i, later.size) for i in later.leaves()]
    short = later.proof(extra=evidence.pack(rows, later.now(), later.world.steps[1:], 1))
    trust, bundle = tmp_path / "later.genesis", tmp_path / "proofs.zip"
    trust.write_bytes(later.genesis.raw)
    node.answers[f"/api/v1/artifacts/{later.sha256}/proof"] = (200, short)
    ask = ("verify", f"sha256:{later.sha256}", "--trust", trust)
    assert pyrsia(*ask, "--node", node.url)[0] == 3
    node.answers |= {f"/log/epochs/{at}": (200, step) for at, step in enumerate(later.world.steps)}
    assert pyrsia(*ask, "--node", node.url, "--save-bundle", bundle)[0] == 0
    assert pyrsia(*ask, "--bundle", bundle)[0] == 0
    node.answers["/log/epochs/0"] = (200, later.world.steps[1])
    code, out, _ = pyrsia(*ask, "--node", node.url, "--json")
    assert (code, json.loads(out)["files"][0]["outcome"]) in ((1, "refused"), (3, "no proof"))


def _zip(members, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"x" * 1_000, _zip([]), _zip([("pyrsia-bundle.json", b"[]")]),
     _zip([("pyrsia-bundle.json", b'{"v":2}')]),
     _zip([("pyrsia-bundle.json", b'{"v":1}')], zipfile.ZIP_BZIP2), _zip([("pyrsia-bundle.json", b" " * (1 << 21))]),
     _zip([("pyrsia-bundle.json", b"[" * 100_000)])],
)  # fmt: skip
def test_a_bundle_that_is_none_is_refused(pyrsia, trust, venv, tmp_path, data):
    path = tmp_path / "proofs.zip"
    path.write_bytes(data)
    code, _, err = pyrsia("verify", "--venv", venv, "--bundle", path, "--trust", trust)
    assert code == 2
    assert "is no bundle of proofs" in err


def test_a_bundle_that_is_all_directory_is_refused_before_that_is_read(tmp_path, monkeypatch):
    """600,000 names in 30 MB took 269 MB and seconds; here the end of a file says that 1 GiB of names precede it."""
    path = tmp_path / "proofs.zip"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 1 << 30, 0, 0))
    with pytest.raises(Refusal, match="directory has more than"):
        bundles.FromBundle(path)
    monkeypatch.setattr(bundles, "MAX_BUNDLE_MEMBERS", Limit(2, "for this test"))
    recorder = bundles.Recorder(Nothing())
    for epoch in range(2):
        recorder.step(epoch)
    with pytest.raises(Refusal, match="more than 2 members"):
        recorder.save(tmp_path / "new.zip", {})


class Nothing:
    current = True

    def step(self, epoch):
        return b"a step"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bundle_with_two_members_of_a_name_or_a_bomb_is_refused(story, tmp_path):
    path = tmp_path / "proofs.zip"
    head = ("pyrsia-bundle.json", b'{"v":1}')
    path.write_bytes(_zip([head, ("proofs/a", b"1"), ("proofs/a", b"2")]))
    with pytest.raises(Refusal, match="two of one name"):
        bundles.FromBundle(path)
    path.write_bytes(_zip([head, (f"proofs/{story.sha256}", bytes(3 << 20)), ("epochs/1", bytes(1 << 20))]))
    source = bundles.FromBundle(path)
    try:
        for ask in (lambda: source.proof(story.sha256), lambda: source.step(1)):
            with pytest.raises(Refusal, match="too large"):
                ask()
        with pytest.raises(Refusal) as caught:
            source.proof("0" * 64)
        assert caught.value.code == "no-proof"
    finally:
        source.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_bundle_accepts_nothing_that_the_whole_one_does_not(
    check, venv, tmp_path, pyrsia, trust, data
):
    """Property: bytes of a bundle changed anywhere: a refusal, or rows that accept no other file than before."""
    path = tmp_path / "proofs.zip"
    if not path.exists():
        (venv / "lib/python3.11/site-packages/idna/evil.py").write_text("evil\n")
        check("--venv", venv, "--save-bundle", path)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    new = data.draw(st.binary(min_size=1, max_size=8))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(whole[:at] + new + whole[at + len(new) :])
    code, out, _ = pyrsia("verify", "--venv", venv, "--bundle", damaged, "--trust", trust, "--json")
    assert code in (1, 2, 3)
    told = json.loads(out)
    accepted = {
        row["file"].rpartition("venv/")[2] for row in told.get("files", []) if row["outcome"] == "accepted"
    }
    assert not any("evil" in one for one in accepted)
    assert len(accepted) <= len(FILES) + len(MADE)


# -- digests, Maven, Conan, images, locks ------------------------------------------------------------


def test_a_digest_is_enough(check, story):
    code, rows = check(f"sha256:{story.sha256}")
    assert (code, rows[0]["package"], rows[0]["outcome"]) == (0, PURL, "accepted")
    assert check(f"sha256:{story.sha256}", "--as", "pkg:pypi/other@1.0")[0] == 1
    assert check("sha256:" + "0" * 64)[0] == 3


def test_a_digest_or_a_choice_that_is_none_is_a_usage_error(pyrsia, trust, venv):
    for arguments in (("sha256:12",), (), ("--venv", venv, "nothing.whl"), ("nothing.whl",), ("--save-bundle", "x"),
                      ("--venv", venv, "--bundle", trust, "--node", "x")):  # fmt: skip
        assert pyrsia("verify", *arguments, "--trust", trust)[0] == 2


@pytest.fixture(scope="module")
def maven():
    return Published({"text-1.0.jar": b"a jar", "text-1.0.pom": b"<project/>"}, asked=TEXT)


def test_a_local_maven_repository_is_checked_by_digest_and_place(check, node, maven, tmp_path):
    node.answers.update(answers(maven, TEXT["purl"]))
    folder = tmp_path / "m2/repository/org/example/text/1.0"
    folder.mkdir(parents=True)
    for name, data in maven.files.items():
        (folder / name).write_bytes(data)
        (folder / f"{name}.sha1").write_text("0")
    (folder / "_remote.repositories").write_text("text-1.0.jar>pyrsia=\n")
    (folder.parent / "maven-metadata-pyrsia.xml").write_text("<metadata/>")
    code, rows = check("--m2", tmp_path / "m2")
    assert (code, len(rows), {row["package"] for row in rows}) == (0, 2, {TEXT["purl"]})

    (folder / "text-1.0.jar").write_bytes(b"another jar")
    assert check("--m2", tmp_path / "m2")[0] == 3
    (folder / "text-1.0.jar").write_bytes(b"a jar")
    wrong = tmp_path / "m2/repository/org/example/other/1.0"
    wrong.mkdir(parents=True)
    (wrong / "other-1.0.jar").write_bytes(b"a jar")
    code, rows = check("--m2", tmp_path / "m2")
    assert code == 1
    assert [row["why"] for row in rows if row["outcome"] == "refused"] == [
        f"these bytes are {TEXT['purl']}, not pkg:maven/org.example/other@1.0"
    ]
    (wrong / "other-1.0.jar").unlink()
    (wrong / "other-1.0.jar").symlink_to(folder / "text-1.0.jar")
    assert check("--m2", tmp_path / "m2")[0] == 1
    (wrong / "other-1.0.jar").unlink()
    (wrong / "_remote.repositories").write_text("other-1.0.jar>=\n")
    (wrong / "other-1.0.jar").write_bytes(b"mine")
    code, rows = check("--m2", tmp_path / "m2")
    assert code == 3
    assert "mvn install" in next(row["why"] for row in rows if row["outcome"] == "no proof")


@pytest.mark.parametrize(
    "name", ["text-1.0.jar", "text-1.0-sources.jar", "text-1.0-linux-x86_64.jar", "text-1.0.pom"]
)
def test_another_file_of_the_same_version_is_not_the_one_whose_place_it_takes(
    check, node, maven, tmp_path, name
):
    node.answers.update(answers(maven, TEXT["purl"]))
    folder = tmp_path / "repository/org/example/text/1.0"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"a jar" if name.endswith(".pom") else b"<project/>")
    code, rows = check("--m2", tmp_path)
    assert (code, rows[0]["outcome"], "put in its place" in rows[0]["why"]) == (1, "refused", True)


@pytest.mark.parametrize(
    "place",
    ["org/apache/archetype-catalog/2.4/archetype-catalog-2.4.jar", "org/x/maven-metadata/1/maven-metadata-1.jar",
     "org/x/maven-metadata/1/maven-metadata-1.xml", ".evil/a/1/a-1.jar"],
)  # fmt: skip
def test_an_artifact_whose_name_begins_like_a_note_of_maven_s_is_looked_at(check, tmp_path, place):
    path = tmp_path / "repository" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"evil")
    code, rows = check("--m2", tmp_path)
    assert (code != 0, len(rows)) == (True, 1)


def test_maven_s_own_notes_are_left_out(pyrsia, node, trust, tmp_path):
    for place in ("archetype-catalog.xml", "archetype-catalog-central.xml", ".cache/x", "org/x/a/maven-metadata.xml",
                  "org/x/a/1-SNAPSHOT/maven-metadata-local.xml", "org/x/a/1/a-1.jar.sha1"):  # fmt: skip
        (tmp_path / "repository" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repository" / place).write_text("x")
    code, out, _ = pyrsia("verify", "--m2", tmp_path, "--node", node.url, "--trust", trust)
    assert (code, out.splitlines()[0]) == (3, "nothing to check")


RREV, PKGID, PREV = "1" * 32, "2" * 40, "3" * 32
LIBRARY = {"include/tiny.h": b"int tiny(void);\n", "lib/libtiny.so.1": b"elf"}


@pytest.fixture(scope="module")
def conan():
    package = f"{RREV}~{PKGID}~{PREV}~"
    files = {
        f"{RREV}~conanfile.py": b"class Tiny: pass\n",
        f"{RREV}~conanmanifest.txt": b"1\n",
        f"{package}conaninfo.txt": b"[settings]\n",
        f"{package}conanmanifest.txt": b"2\n",
        f"{package}conan_package.tgz": b"packed",
    }
    return Published(files, {f"{package}conan_package.tgz": listed(LIBRARY)}, asked=CONAN)


@pytest.fixture
def conan_home(tmp_path, conan):
    root = tmp_path / "conan" / "p"
    recipe, package = root / "tiny1", root / "tiny2"
    for folder in (recipe / "d", recipe / "e", package / "d", package / "p"):
        folder.mkdir(parents=True)
    for name, data in conan.files.items():
        *_, last = name.split("~")
        place = package if name.count("~") > 1 else recipe
        (place / ("d" if last.endswith(".tgz") else "p" if place == package else "e") / last).write_bytes(
            data
        )
    for rel, data in LIBRARY.items():
        (package / "p" / rel).parent.mkdir(exist_ok=True)
        (package / "p" / rel).write_bytes(data)
    (package / "p/lib/libtiny.so").symlink_to("libtiny.so.1")
    database = sqlite3.connect(root / "cache.sqlite3")
    database.execute("CREATE TABLE recipes (reference, rrev, path, timestamp, lru)")
    database.execute("CREATE TABLE packages (reference, rrev, pkgid, prev, path, timestamp, build_id, lru)")
    database.execute("INSERT INTO recipes VALUES ('tiny/1.0', ?, 'tiny1', 1, 1)", (RREV,))
    database.execute(
        "INSERT INTO packages VALUES ('tiny/1.0', ?, ?, ?, 'tiny2', 1, NULL, 1)", (RREV, PKGID, PREV)
    )
    database.commit()
    database.close()
    return root.parent


def test_a_conan_home_is_checked_with_what_was_unpacked(check, node, conan, conan_home):
    node.answers.update(answers(conan, CONAN["purl"]))
    code, rows = check("--conan-home", conan_home)
    assert (code, bad(rows)) == (0, set())
    assert len(rows) == 5 + len(LIBRARY)
    package = conan_home / "p/tiny2"
    for change, why in (
        (
            lambda: (package / "p/lib/libtiny.so.1").write_bytes(b"evil"),
            "changed: it is not what the archive holds",
        ),
        (
            lambda: (package / "p/include/more.h").write_bytes(b"x"),
            "additional: the archive does not hold it",
        ),
        (lambda: (package / "p/lib/libc.so").symlink_to("/lib/libc.so.6"), "additional: a symbolic link"),
        (lambda: (package / "p/include/tiny.h").unlink(), "missing: the archive holds it"),
        (lambda: (conan_home / "p/tiny1/e/conanfile.py").write_bytes(b"1\n"), "these bytes are"),
    ):
        change()
        code, rows = check("--conan-home", conan_home)
        assert code == 1
        assert any(said.startswith(why) for _, said in bad(rows)), (why, bad(rows))


def test_a_recipe_of_another_version_in_the_place_of_this_one_is_refused(check, node, conan, conan_home):
    """A published file of the same name, put over this version's, is not this version's."""
    older = {**CONAN, "coordinates": {"name": "tiny", "version": "0.9"}, "purl": "pkg:conan/tiny@0.9"}
    rrev = "9" * 32
    files = {f"{rrev}~conanfile.py": b"evil = 'of 0.9'\n", f"{rrev}~conanmanifest.txt": b"old manifest\n"}
    node.answers.update(answers(conan, CONAN["purl"]))
    rows = node.answers["/api/v1/packages"][1]
    told = answers(Published(files, asked=older), older["purl"])
    theirs = told.pop("/api/v1/packages")[1]
    node.answers.update(told)
    folder = conan_home / "p/tiny1/e"
    for name, data in files.items():
        (folder / name.rpartition("~")[2]).write_bytes(data)
    code, found = check("--conan-home", conan_home)
    assert code == 1
    assert {name for name, _ in bad(found)} == {
        "tiny/1.0#11111111 conanfile.py",
        "tiny/1.0#11111111 conanmanifest.txt",
    }
    assert all("these bytes are pkg:conan/tiny@0.9" in why for _, why in bad(found))
    # Recipes are the same in many versions: the proof under this one's name says it, the list of files alone does not.
    node.answers["/api/v1/packages"] = (200, [row for row in rows if row["file"].count("~") > 1] + [
        {**row, "version": "1.0", "file": row["file"].replace(rrev, RREV)} for row in theirs])  # fmt: skip
    assert check("--conan-home", conan_home)[0] == 1
    listed = node.answers["/api/v1/packages"]
    for revision in (RREV, "8" * 32):
        same = Published({name.replace(rrev, revision): data for name, data in files.items()}, asked=CONAN)
        for name in same.files:
            one = same.of(name)
            node.answers[f"/api/v1/artifacts/{one.sha256}/proof"] = (200, one.proof())
        assert check("--conan-home", conan_home)[0] == 0, (
            "this revision, or listed at it and proven of another"
        )
    node.answers["/api/v1/packages"] = (200, rows)
    assert check("--conan-home", conan_home)[0] == 1, "another revision's, and not listed at this one"
    assert listed != rows


def test_bytes_of_several_packages_are_proven_under_the_one_that_they_stand_for(check, node, maven, tmp_path):
    """An empty jar is published many times; the node's first answer names one of them."""
    other = {
        **TEXT,
        "coordinates": {**TEXT["coordinates"], "name": "other"},
        "purl": "pkg:maven/org.example/other@1.0",
    }
    twin = Published({name.replace("text", "other"): data for name, data in maven.files.items()}, asked=other)
    for name in maven.files:
        mine, theirs = maven.of(name), twin.of(name.replace("text", "other"))
        assert mine.sha256 == theirs.sha256
        proofs = {TEXT["purl"]: mine.proof(), "first": theirs.proof()}
        answer = partial(lambda of, query: of.get(query.get("purl"), of["first"]), proofs)
        node.answers[f"/api/v1/artifacts/{mine.sha256}/proof"] = (200, answer)
    folder = tmp_path / "m2/repository/org/example/text/1.0"
    folder.mkdir(parents=True)
    for name, data in maven.files.items():
        (folder / name).write_bytes(data)
    bundle = tmp_path / "proofs.zip"
    assert check("--m2", tmp_path / "m2", "--save-bundle", bundle)[0] == 0
    assert check("--m2", tmp_path / "m2", source=("--bundle", bundle))[0] == 0
    moved = tmp_path / "m2/repository/org/example/third/1.0"
    moved.mkdir(parents=True)
    (moved / "third-1.0.jar").write_bytes(maven.files["text-1.0.jar"])
    assert check("--m2", tmp_path / "m2")[0] == 1


def test_a_conan_package_of_another_revision_or_place_is_none(check, node, conan, conan_home):
    node.answers.update(answers(conan, CONAN["purl"]))
    database = sqlite3.connect(conan_home / "p/cache.sqlite3")
    database.execute("UPDATE packages SET prev = ?", ("4" * 32,))
    database.execute("UPDATE recipes SET path = '../../../etc'")
    database.commit()
    database.close()
    code, rows = check("--conan-home", conan_home)
    assert code == 1
    assert any("these bytes are pkg:conan/tiny@1.0" in why for _, why in bad(rows))
    assert any("exported or built on this machine" in why for _, why in bad(rows))


def test_a_conan_database_that_is_none_is_refused(pyrsia, node, trust, conan_home):
    (conan_home / "p/cache.sqlite3").write_bytes(b"garbage" * 100)
    code, _, err = pyrsia("verify", "--conan-home", conan_home, "--node", node.url, "--trust", trust)
    assert code == 1
    assert "cannot be read" in err


LAYER, CONFIG = b"a layer", b'{"os":"linux"}'
MANIFEST = json.dumps({
    "schemaVersion": 2,
    "config": {"digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}", "size": len(CONFIG)},
    "layers": [{"digest": f"sha256:{hashlib.sha256(LAYER).hexdigest()}", "size": len(LAYER)}],
}).encode()  # fmt: skip


@pytest.fixture(scope="module")
def image():
    named = {f"sha256~{hashlib.sha256(one).hexdigest()}": one for one in (LAYER, CONFIG)}
    asked = {"coordinates": {"name": "app", "namespace": "team", "version": "1"}, "ecosystem": "oci",
             "purl": "pkg:docker/team/app@1", "target": CONAN["target"]}  # fmt: skip
    return Published({"manifest~1": MANIFEST, **named}, asked=asked)


@pytest.fixture
def layout(tmp_path):
    root = tmp_path / "layout"
    blobs = root / "blobs/sha256"
    blobs.mkdir(parents=True)
    for data in (LAYER, CONFIG, MANIFEST):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    manifest = {"digest": f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}", "size": len(MANIFEST)}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return root


def test_an_image_is_checked_blob_by_blob(check, node, image, layout, tmp_path):
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    code, rows = check("--image", layout)
    assert (code, len(rows)) == (0, 3)
    assert check("--image", f"oci:{layout}:latest")[0] == 0
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, ".")
    assert check("--image", archive)[0] == 0
    folder = tmp_path / "dir"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(MANIFEST)
    for data in (LAYER, CONFIG):
        (folder / hashlib.sha256(data).hexdigest()).write_bytes(data)
    assert check("--image", f"dir:{folder}")[0] == 0

    (layout / "blobs/sha256" / hashlib.sha256(LAYER).hexdigest()).write_bytes(b"evil")
    code, rows = check("--image", layout)
    assert (code, [row["why"][:8] for row in rows if row["outcome"] == "refused"]) == (1, ["changed:"])
    (folder / hashlib.sha256(LAYER).hexdigest()).unlink()
    assert check("--image", folder)[0] == 1


def test_what_docker_save_writes_is_checked_as_far_as_the_log_knows_it(check, node, image, tmp_path):
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    saved = tmp_path / "saved.tar"

    def save(layer):
        with tarfile.open(saved, "w") as tar:
            for name, data in (("c.json", CONFIG), ("l/layer.tar", layer),
                               ("manifest.json", b'[{"Config":"c.json","Layers":["l/layer.tar"]}]')):  # fmt: skip
                one = tarfile.TarInfo(name)
                one.size = len(data)
                tar.addfile(one, io.BytesIO(data))

    save(LAYER)
    assert check("--image", saved)[0] == 0
    save(b"unpacked")
    assert check("--image", saved)[0] == 3


def test_an_image_at_a_node_is_its_manifest_and_what_that_names(check, node, image):
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    node.answers["/v2/team/app/manifests/1"] = (200, MANIFEST)
    assert check("--image", "team/app:1")[0] == 0
    assert check("--image", "docker://docker.io/team/app:1")[0] == 0
    node.answers["/v2/other/app/manifests/1"] = (200, MANIFEST)
    code, rows = check("--image", "other/app:1")
    assert (code, rows[0]["why"]) == (1, "these bytes are team/app, not other/app")
    node.answers["/v2/team/app/manifests/2"] = (200, MANIFEST + b" ")
    assert check("--image", "team/app:2")[0] == 3
    node.answers["/v2/team/app/manifests/3"] = (200, MANIFEST)
    code, rows = check("--image", "team/app:3")
    assert (code, rows[0]["why"]) == (3, "these bytes are proven as 1, not as what 3 is")
    for name in ("pp:9", "app", "app:1"):  # which `team/app` ends with
        node.answers[f"/v2/{name.partition(':')[0]}/manifests/{name.partition(':')[2] or 'latest'}"] = (
            200,
            MANIFEST,
        )
        assert check("--image", name)[0] == 1
    digest = hashlib.sha256(MANIFEST).hexdigest()
    for asked, code in ((digest, 0), ("0" * 64, 1)):
        node.answers[f"/v2/team/app/manifests/sha256:{asked}"] = (200, MANIFEST)
        assert check("--image", f"team/app@sha256:{asked}")[0] == code


EVIL = b"evil"
BESIDE = json.dumps({"config": {"digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"},
                     "layers": [{"digest": f"sha256:{hashlib.sha256(EVIL).hexdigest()}"}]}).encode()  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "dir:", "oci:"])
def test_of_two_documents_in_a_folder_both_are_checked(check, node, image, layout, prefix):
    """skopeo's `dir:` takes manifest.json, `oci:` takes index.json."""
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    (layout / "manifest.json").write_bytes(BESIDE)
    for data in (EVIL, CONFIG):
        (layout / hashlib.sha256(data).hexdigest()).write_bytes(data)
    code, rows = check("--image", f"{prefix}{layout}")
    assert code == 3
    assert f"sha256:{hashlib.sha256(EVIL).hexdigest()}" in {where for where, _ in bad(rows)}


def test_of_two_documents_in_an_archive_both_are_checked(check, node, image, layout, tmp_path):
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    (layout / "manifest.json").write_bytes(b'[{"Config":"evil.json","Layers":["evil.tar"]}]')
    (layout / "evil.json").write_bytes(b"{}")
    (layout / "evil.tar").write_bytes(EVIL)
    archive = tmp_path / "i.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, ".")
    code, rows = check("--image", f"docker-archive:{archive}:team/app:1")
    assert (code, {where for where, _ in bad(rows)}) == (3, {"evil.json", "evil.tar"})


def _tar(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            one = tarfile.TarInfo(name)
            one.size = len(data)
            tar.addfile(one, io.BytesIO(data))


SAVED = ("manifest.json", b'[{"Config":"c.json","Layers":["l/layer.tar"]}]')


@pytest.mark.parametrize(
    "twice", ["l/layer.tar", "./l/layer.tar", "l//layer.tar", "l/x/../layer.tar", "/l/layer.tar"]
)
def test_an_archive_with_two_members_of_one_name_is_none(pyrsia, node, trust, image, tmp_path, twice):
    """Programs do not agree on whether the first or the last counts."""
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    _tar(tmp_path / "i.tar", (twice, EVIL), ("c.json", CONFIG), ("l/layer.tar", LAYER), SAVED)
    code, out, err = pyrsia("verify", "--image", tmp_path / "i.tar", "--node", node.url, "--trust", trust)
    assert (code, "is there twice" in out + err) == (2, True)


def test_an_archive_whose_header_says_gigabytes_takes_no_memory(pyrsia, node, trust, tmp_path):
    one = tarfile.TarInfo("././@PaxHeader")
    one.type, one.size = tarfile.XHDTYPE, 3 << 30
    path = tmp_path / "i.tar"
    with path.open("wb") as file:
        file.write(one.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(3 << 30)
    code, out, err = pyrsia("verify", "--image", path, "--node", node.url, "--trust", trust)
    assert (code, "is too long" in out + err) == (2, True)


@pytest.mark.parametrize(
    ("index", "codes"),
    [
        ({"manifests": [{"digest": f"sha512:{'0' * 128}"}]}, {1}),
        ({"manifests": [{}]}, {1}),
        ({"manifests": ["x"]}, {1}),
        ({"manifests": []}, {2}),
        ({}, {2}),
        ({"manifests": None}, {2}),
    ],
)
def test_an_image_of_which_nothing_is_checked_is_not_accepted(pyrsia, node, trust, layout, index, codes):
    (layout / "index.json").write_text(json.dumps(index))
    code, out, err = pyrsia("verify", "--image", layout, "--node", node.url, "--trust", trust)
    assert code in codes, out + err


def test_a_manifest_that_begins_with_white_space_or_is_of_an_older_form_is_read_too(check, node, layout):
    blobs = layout / "blobs/sha256"
    for text in (b"\n" + MANIFEST, json.dumps({"fsLayers": [{"blobSum": "sha256:" + "1" * 64}]}).encode()):
        digest = hashlib.sha256(text).hexdigest()
        (blobs / digest).write_bytes(text)
        (layout / "index.json").write_text(json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}))
        _, rows = check("--image", layout)
        assert len(rows) > 1


def test_the_images_of_all_platforms_in_a_folder_are_read(check, node, image, tmp_path):
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    digest = hashlib.sha256(MANIFEST).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}))
    (tmp_path / f"{digest}.manifest.json").write_bytes(MANIFEST)
    for data in (LAYER, CONFIG):
        (tmp_path / hashlib.sha256(data).hexdigest()).write_bytes(data)
    code, rows = check("--image", f"dir:{tmp_path}")
    assert (code, [row["outcome"] for row in rows]) == (3, ["no proof", "accepted", "accepted", "accepted"])


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b'{"manifests": 3}', b'{"manifests": [{"digest": "sha256:../x"}]}']
)
def test_an_image_that_is_none_says_nothing(pyrsia, node, trust, tmp_path, data):
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout/index.json").write_bytes(data)
    code, out, _ = pyrsia("verify", "--image", tmp_path / "layout", "--node", node.url, "--trust", trust)
    assert code == 2 or "its digest is no SHA-256" in out


def test_a_lock_is_checked_package_by_package(check, story, tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        f"# made by a tool\n--index-url https://x\nidna==1.0 \\\n    --hash=sha256:{'0' * 64} \\\n"
        f"    --hash=sha256:{story.sha256}  # ours\n"
    )
    code, rows = check("-r", lock)
    assert (code, rows[0]["outcome"], rows[0]["file"]) == (0, "accepted", "idna==1.0")
    lock.write_text(
        lock.read_text()
        + f"other==2.0 --hash=sha256:{story.sha256}\nplain==1\nunknown==1 --hash=sha256:{'1' * 64}\n"
    )
    code, rows = check("-r", lock)
    assert code == 1
    assert [row["outcome"] for row in rows] == ["accepted", "refused", "no proof", "no proof"]
    uv = tmp_path / "uv.lock"
    uv.write_text(
        'version = 1\n[[package]]\nname = "mine"\nversion = "0"\nsource = { editable = "." }\n'
        '[[package]]\nname = "idna"\nversion = "1.0"\nsource = { registry = "https://pypi.org/simple" }\n'
        f'wheels = [{{ url = "u", hash = "sha256:{story.sha256}" }}]\n'
    )
    code, rows = check("-r", uv)
    assert (code, [row["outcome"] for row in rows]) == (0, ["skipped", "accepted"])
    pylock = tmp_path / "pylock.toml"
    pylock.write_text(
        f'[[packages]]\nname = "idna"\nversion = "1.0"\nwheels = [{{hashes = {{sha256 = "{story.sha256}"}}}}]\n'
    )
    assert check("-r", pylock)[0] == 0


def test_a_lock_without_versions_names_the_package_all_the_same(check, story, tmp_path):
    (tmp_path / "r.txt").write_text(
        f"evil @ https://x/evil-1.whl --hash=sha256:{story.sha256}\nidna>=1 --hash=sha256:{story.sha256}\n"
    )
    code, rows = check("-r", tmp_path / "r.txt")
    assert (code, [row["outcome"] for row in rows]) == (1, ["refused", "accepted"])


NONE = "0" * 64


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.txt", "-r evil.txt\n"),
        ("r.txt", "--requirement=evil.txt\n"),
        ("r.txt", "-rnot-there.txt\n"),
        ("r.txt", "-e git+https://evil.example/x\n"),
        ("r.txt", "--editable=https://evil.example/x.tar.gz\n"),
        ("r.txt", "--edit git+https://evil.example/x\n"),
        ("r.txt", f"# a comment \\\nevil==1 --hash=sha256:{NONE}\n"),
        ("r.txt", f"--pre\x0cevil==1 --hash=sha256:{NONE}\n"),
        ("r.txt", f"evil==1 --hash=sha256:{NONE} \\"),
        (
            "pylock.toml",
            f"package = []\n[[packages]]\nname='evil'\nwheels=[{{hashes={{sha256='{NONE}'}}}}]\n",
        ),
        (
            "pylock.toml",
            "[[packages]]\nname='evil'\nwheels=[{hashes={sha256='GOOD'}}]\nvcs={url='https://x'}\n",
        ),
        ("pylock.toml", "[[packages]]\nname='evil'\ndirectory={path='.'}\nvcs={url='https://x'}\n"),
        (
            "uv.lock",
            f"[[package]]\nname='evil'\nsource={{path='v/e.whl'}}\nwheels=[{{hash='sha256:{NONE}'}}]\n",
        ),
        ("uv.lock", f"packages = []\n[[package]]\nname='evil'\nwheels=[{{hash='sha256:{NONE}'}}]\n"),
        ("uv.lock", "[[package]]\nname='evil'\nsource={virtual='.', registry='https://x'}\n"),
        ("conan.lock", json.dumps({"version": "0.5", "config_requires": [f"evil/1.0#{'1' * 32}"]})),
    ],
)
def test_nothing_that_a_lock_installs_is_passed_over(pyrsia, node, trust, story, tmp_path, name, text):
    (tmp_path / name).write_text(text.replace("GOOD", story.sha256))
    (tmp_path / "evil.txt").write_text(f"evil==1 --hash=sha256:{NONE}\n")
    code, out, _ = pyrsia("verify", "-r", tmp_path / name, "--node", node.url, "--trust", trust)
    assert code in (2, 3)
    assert "evil" in out or "not-there" in out or code == 2


def test_requirements_are_followed_once_and_the_project_s_own_folder_is_skipped(check, story, tmp_path):
    (tmp_path / "a.txt").write_text("-r b.txt\n-e .\n--index-url https://x\n--require-hashes\n-c c.txt\n")
    (tmp_path / "b.txt").write_text(
        f"-r a.txt\n--requirement b.txt\nidna==1.0 --hash=sha256:{story.sha256}\n"
    )
    code, rows = check("-r", tmp_path / "a.txt")
    assert (code, sorted(row["outcome"] for row in rows)) == (0, ["accepted", "skipped"])


def test_a_conan_lock_is_checked_by_recipe_revision(check, node, conan, tmp_path):
    node.answers.update(answers(conan, CONAN["purl"]))
    lock = tmp_path / "conan.lock"
    lock.write_text(json.dumps({"version": "0.5", "requires": [f"tiny/1.0#{RREV}%1700000000.0"]}))
    assert check("-r", lock)[0] == 0
    lock.write_text(json.dumps({"version": "0.5", "requires": [f"tiny/1.0#{'9' * 32}%1.0", "tiny/1.0"]}))
    code, rows = check("-r", lock)
    assert (code, [row["outcome"] for row in rows]) == (3, ["no proof", "no proof"])


def test_a_lock_s_key_of_many_parts_is_refused_before_it_is_read(pyrsia, node, trust, tmp_path):
    (tmp_path / "uv.lock").write_text("[[package]]\n" + ".".join(["a"] * 100_000) + " = 1\n")
    code, out, err = pyrsia("verify", "-r", tmp_path / "uv.lock", "--node", node.url, "--trust", trust)
    assert (code in (2, 3), "line 2: it has more than 32 dots" in " ".join((out + err).split())) == (
        True,
        True,
    )


_ODD = (b'{"requires": 3}', b"[[package]]\nname = 3\n", b'{"requires": ["x#' + b"1" * 32 + b'"]}')
_LOCKS = st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode), st.sampled_from(_ODD))


@pytest.mark.parametrize("name", ["requirements.txt", "uv.lock", "pylock.toml", "conan.lock", "pom.xml"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=_LOCKS)
def test_a_lock_that_is_none_is_refused_or_accepts_nothing(pyrsia, node, trust, tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    code, out, _ = pyrsia("verify", "-r", tmp_path / name, "--node", node.url, "--trust", trust, "--json")
    told = json.loads(out)
    assert code in (0, 2, 3)
    assert not [row for row in told.get("files", []) if row["outcome"] == "accepted"]


def test_an_image_must_be_the_one_that_as_names(check, pyrsia, node, trust, image, layout, tmp_path):
    node.answers.update(answers(image, "pkg:docker/team/app@1"))
    node.answers["/v2/team/app/manifests/1"] = (200, MANIFEST)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "c.json").write_bytes(CONFIG)
    (saved / "l.tar").write_bytes(LAYER)
    (saved / "manifest.json").write_text(json.dumps([{"Config": "c.json", "Layers": ["l.tar"]}]))
    for what in (layout, saved, "team/app:1"):
        for purl in ("pkg:docker/team/app@1", "pkg:docker/team/app"):
            assert check("--image", what, "--as", purl)[0] == 0, (what, purl)
        code, rows = check("--image", what, "--as", "pkg:docker/other/app@9")
        assert code == 1
        assert [row["why"] for row in rows if row["outcome"] == "refused"] == [
            "these bytes are pkg:docker/team/app@1, not pkg:docker/other/app@9"
        ]
        assert check("--image", what, "--as", "pkg:docker/team/app@2")[0] == 3
    for purl in ("pkg:pypi/idna@1.0", "app"):
        assert pyrsia("verify", "--image", layout, "--as", purl, "--node", node.url, "--trust", trust)[0] == 2


@pytest.mark.parametrize("option", ["--venv", "--m2", "--conan-home", "-r"])
def test_as_is_refused_where_it_could_not_be_heeded(pyrsia, node, trust, tmp_path, option):
    (tmp_path / "lock.txt").write_text("idna==1.0\n")
    what = tmp_path / "lock.txt" if option == "-r" else tmp_path
    code, _, err = pyrsia("verify", option, what, "--as", PURL, "--node", node.url, "--trust", trust)
    assert code == 2
    assert "--as" in err


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--venv", "the interpreter, its standard library"),
        ("--m2", "Maven's own notes"),
        ("-r", "the project's own"),
    ],
)
def test_what_is_not_looked_at_is_said_at_the_end(pyrsia, node, trust, venv, tmp_path, option, part):
    (tmp_path / "lock.txt").write_text("idna==1.0\n")
    (tmp_path / "m2").mkdir()
    what = {"--venv": venv, "--m2": tmp_path / "m2", "-r": tmp_path / "lock.txt"}[option]
    ask = ("verify", option, what, "--node", node.url, "--trust", trust)
    last = pyrsia(*ask)[1].splitlines()[-1]
    assert last.startswith("not looked at: ")
    assert part in last
    (told,) = json.loads(pyrsia(*ask, "--json")[1])["not_looked_at"]
    assert part in told
