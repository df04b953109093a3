"""`verify` and `log verify` as people and scripts call them; `fetch` and the file names of a hostile node."""

import hashlib
import json
import os
import shutil

import pytest

from pyrsia.cli import packages
from pyrsia.errors import Refusal
from pyrsia.units import MAX_PROOFFILE_BYTES, Limit
from pyrsia.verify.pins import Pins
from tests.reference.ledger import World
from tests.reference.story import SIGNED_S, WHEEL, Story
from tests.unit.verify.test_evidence import told

PURL = "pkg:pypi/idna@1.0"


@pytest.fixture(scope="module")
def story():
    return Story()


@pytest.fixture
def trust_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path / "pins"))
    return tmp_path / "pins"


@pytest.fixture(autouse=True)
def today(monkeypatch):
    """The proofs were made in the ledger's own time."""
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 60))


@pytest.fixture
def files(story, tmp_path, trust_folder):
    return story.write(tmp_path)


def test_an_accepted_file_prints_its_purl_first_and_exits_0(pyrsia, files):
    file, _, trust = files
    code, out, err = pyrsia("verify", file, "--trust", trust)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == PURL
    code, out, err = pyrsia("verify", file, "--trust", trust, "--as", PURL, "--json")
    assert (code, err) == (0, "")
    assert (json.loads(out)["ok"], json.loads(out)["purl"]) == (True, PURL)


def test_a_pinned_network_needs_no_trust_file(pyrsia, files):
    file, _, trust = files
    code, out, _ = pyrsia("verify", file, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "not-pinned")
    assert pyrsia("trust", "add", trust)[0] == 0
    assert pyrsia("verify", file)[0] == 0


def test_a_trust_file_for_one_call_leaves_nothing_behind(pyrsia, files, trust_folder):
    file, _, trust = files
    assert pyrsia("verify", file, "--trust", trust)[0] == 0
    assert not trust_folder.exists()
    assert pyrsia("verify", file)[0] == 3


def test_each_lie_exits_1_with_a_reason(pyrsia, files, tmp_path, story):
    file, proof, trust = files
    other = Story(dissenter=True)

    def refused(*arguments):
        code, out, err = pyrsia("verify", *arguments, "--trust", trust)
        assert (code, out) == (1, "")
        assert err.startswith("pyrsia: ")
        return err

    renamed = tmp_path / "requests-2.0-py3-none-any.whl"
    shutil.copy(file, renamed)
    assert "called requests" in refused(renamed, "--proof", proof)
    another = tmp_path / "other.proof"
    another.write_bytes(other.proof(leaves=[other.artifact.leaf]))
    assert refused(file, "--proof", another)
    assert "not pkg:pypi/evil@1" in refused(file, "--as", "pkg:pypi/evil@1")
    file.write_bytes(story.data[:-1] + b"\1")
    assert "SHA-256" in refused(file)
    proof.write_bytes(b"x" * (MAX_PROOFFILE_BYTES.value * 3))
    assert "more than" in refused(file)


def test_no_proof_exits_3(pyrsia, files):
    file, proof, trust = files
    proof.unlink()
    code, out, _ = pyrsia("verify", file, "--trust", trust, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "no-proof")
    assert pyrsia("verify", file, "--trust", trust, "--proof", proof.parent)[0] in (2, 3)


@pytest.mark.parametrize("answer", [(503, b""), (404, b"{}"), (500, b"oops"), (421, b"")])
def test_a_node_that_gives_no_proof_exits_3(pyrsia, files, node, story, answer):
    file, _, trust = files
    node.answers[f"/api/v1/artifacts/{story.sha256}/proof"] = answer
    code, out, _ = pyrsia("verify", file, "--trust", trust, "--node", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "no-proof")
    node.answers[f"/api/v1/artifacts/{story.sha256}/proof"] = (200, story.proof())
    assert pyrsia("verify", file, "--trust", trust, "--node", node.url)[0] == 0


def test_a_dead_node_proves_nothing_and_exits_3(pyrsia, files, tmp_path):
    file, _, trust = files
    for dead in ("http://127.0.0.1:9", tmp_path / "none"):
        code, out, err = pyrsia("verify", file, "--trust", trust, "--node", dead)
        assert (code, out) == (3, "")
        assert "there is no proof: no node answers" in err
    assert pyrsia("verify", file, "--trust", trust, "--node", "http://")[0] == 2


def test_a_proof_that_is_too_old_exits_3(pyrsia, files, monkeypatch):
    file, _, trust = files
    monkeypatch.setattr("time.time", lambda: float(SIGNED_S + 400 * 86_400))
    code, out, _ = pyrsia("verify", file, "--trust", trust, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "too-old")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["missing.whl"],
        ["."],
        ["{file}", "--trust", "missing"],
        ["{file}", "--proof", "x", "--node", "http://x"],
        ["{file}", "--nonsense"],
    ],
)
def test_a_wrong_command_line_exits_2(pyrsia, files, arguments):
    code, out, _ = pyrsia("verify", *[one.format(file=files[0]) for one in arguments])
    assert (code, out) == (2, "")


def test_a_trust_file_that_is_no_genesis_exits_2(pyrsia, files):
    file, proof, _ = files
    assert pyrsia("verify", file, "--trust", proof)[0] == 2


def test_a_node_gives_the_proof_and_its_no_is_no_proof(pyrsia, files, node, story):
    file, proof, trust = files
    path = f"/api/v1/artifacts/{story.sha256}/proof"
    node.answers[path] = (200, proof.read_bytes())
    assert pyrsia("verify", file, "--trust", trust, "--node", node.url)[0] == 0
    node.answers[path] = (404, {"error": Refusal("no-proof", what="none", who="w", do="d").as_dict()})
    assert pyrsia("verify", file, "--trust", trust, "--node", node.url)[0] == 3
    node.answers[path] = (200, b"<html>")
    assert pyrsia("verify", file, "--trust", trust, "--node", node.url)[0] == 1


def test_a_nodes_older_head_is_refused_and_an_old_proof_file_is_not(pyrsia, files, node, story):
    file, proof, trust = files
    pyrsia("trust", "add", trust)
    older = story.proof(size=story.size)
    story.world.block(story.world.request(version="2.0")[0])  # the log goes on
    proof.write_bytes(story.proof())
    assert pyrsia("verify", file)[0] == 0
    node.answers[f"/api/v1/artifacts/{story.sha256}/proof"] = (200, older)
    code, out, _ = pyrsia("verify", file, "--node", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "too-old")
    proof.write_bytes(older)
    assert pyrsia("verify", file)[0] == 0


def test_a_fork_is_refused(pyrsia, files, story, trust_folder):
    file, _, trust = files
    pyrsia("trust", "add", trust)
    pins = Pins(trust_folder)
    head = story.head(root=b"\1" * 32)
    pins.saw(pins.all()[0], story.note(head), head)
    code, _, err = pyrsia("verify", file)
    assert (code, "two histories" in err) == (1, True)
    assert [name for name in os.listdir(trust_folder) if name.endswith(".fork")]


def test_a_trust_folder_that_cannot_be_written_still_verifies_and_says_so(pyrsia, files, monkeypatch):
    file, _, trust = files
    pyrsia("trust", "add", trust)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pins, "_keep", full)
    code, out, err = pyrsia("verify", file)
    assert (code, out.startswith(PURL), "not remembered" in err) == (0, True, True)


def test_a_leafs_proof_is_checked_offline(pyrsia, story, tmp_path, trust_folder):
    trust = tmp_path / "genesis.json"
    trust.write_bytes(story.genesis.raw)
    leaf = tmp_path / "leaf.json"
    leaf.write_text(json.dumps(told(story, 3)))
    code, out, _ = pyrsia("log", "verify", leaf, "--trust", trust)
    assert (code, out) == (0, f"leaf 3 is in test at {story.size}\n")
    assert pyrsia("log", "verify", leaf)[0] == 3
    leaf.write_text(json.dumps(told(story, 3, index=4)))
    assert pyrsia("log", "verify", leaf, "--trust", trust)[0] == 1
    for damage in (
        b"",
        b"[" * 500_000,
        b"\xff",
        b"null",
        b"[]",
        b'{"proof":"\\ud800","entry":"","index":1}',
        b"1" * 2_000_000,
    ):
        leaf.write_bytes(damage)
        code, out, err = pyrsia("log", "verify", leaf, "--trust", trust)
        assert (code in (1, 2), out) == (True, "")
        assert "Traceback" not in err
    assert pyrsia("log", "verify", tmp_path / "none")[0] == 2


# -- fetch --


def listed(filename, sha256, version="1.0"):
    return {
        "file": filename, "sha256": sha256, "size": 1, "version": version, "verdict": "REPRODUCED", "log_index": 7,
    }  # fmt: skip


def index(node, story, filename=WHEEL, sha256=None):
    sha256 = sha256 or story.sha256
    node.answers["/api/v1/packages"] = (200, [listed(filename, sha256)])
    node.answers[f"/pypi/files/{sha256}/{filename}"] = (200, story.data)
    node.answers[f"/pypi/files/{sha256}/{filename}.tlog-proof"] = (200, story.proof())


def test_a_fetched_file_lies_beside_its_proof_and_verifies(pyrsia, node, story, tmp_path, trust_folder):
    index(node, story)
    out = tmp_path / "new" / "folder"
    code, said, _ = pyrsia("fetch", PURL, "--out", out, "--node", node.url, "--json")
    assert (code, json.loads(said)["sha256"]) == (0, story.sha256)
    assert sorted(os.listdir(out)) == [WHEEL, f"{WHEEL}.tlog-proof"]
    trust = tmp_path / "genesis.json"
    trust.write_bytes(story.genesis.raw)
    assert pyrsia("verify", out / WHEEL, "--trust", trust)[0] == 0


def offering(node, story, *filenames):
    """An index that published these files in this order; each has bytes of its own."""
    files = []
    for filename in filenames:
        data = filename.encode()
        digest = hashlib.sha256(data).hexdigest()
        files.append(listed(filename, digest))
        node.answers[f"/pypi/files/{digest}/{filename}"] = (200, data)
        node.answers[f"/pypi/files/{digest}/{filename}.tlog-proof"] = (200, story.proof())
    node.answers["/api/v1/packages"] = (200, files)


def wheel(version, name="idna", tag="py3"):
    return f"{name}-{version}-{tag}-none-any.whl"


@pytest.mark.parametrize(
    ("published", "newest"),
    [
        ([wheel("1.10"), wheel("1.9")], wheel("1.10")),
        ([wheel("2.0"), wheel("2.1rc1"), wheel("1.0")], wheel("2.0")),
        ([wheel("1.0a1"), wheel("1.0rc1"), wheel("1.0.dev1")], wheel("1.0rc1")),
        ([wheel("1.0"), wheel("1.0.post1"), wheel("0.9")], wheel("1.0.post1")),
        ([wheel("1!0.1"), wheel("9")], wheel("1!0.1")),
        ([wheel("1.0"), wheel("1.0", tag="py2.py3")], wheel("1.0", tag="py2.py3")),
        ([wheel("1.0"), wheel("9.9", name="evil"), wheel("no"), "idna-8"], wheel("1.0")),
    ],
)
def test_without_a_version_the_newest_is_fetched_and_not_the_last_published(
    pyrsia, node, story, tmp_path, published, newest
):
    offering(node, story, *published)
    code, said, _ = pyrsia("fetch", "idna", "--out", tmp_path / "out", "--node", node.url, "--json")
    assert code == 0
    assert json.loads(said)["file"] == str(tmp_path / "out" / newest)


def test_a_named_version_is_that_version_and_no_other(pyrsia, node, story, tmp_path):
    offering(node, story, wheel("1.0"), wheel("1.0.1"), wheel("1.0-1"), wheel("2.0"))
    code, said, _ = pyrsia("fetch", "idna@1.0.1", "--out", tmp_path / "out", "--node", node.url, "--json")
    assert (code, json.loads(said)["file"]) == (0, str(tmp_path / "out" / wheel("1.0.1")))
    assert pyrsia("fetch", "idna@1.1", "--out", tmp_path / "out", "--node", node.url)[0] == 1


def fallen(node, story, status):
    """An index that offers nothing, of which the log has one file with this status."""
    index(node, story)
    none = {"code": "package-unknown", "what": "no file", "who": "you", "do": "ask for a build"}
    node.answers["/api/v1/packages"] = (404, {"error": none})
    row = {"purl": "pkg:pypi/idna@1.0", "sha256": story.sha256, "status": status, "origin": "network"}
    node.answers["/api/v1/policy/facts"] = (200, {"files": [row]})
    about = {"file": WHEEL, "size": len(story.data), "purl": "pkg:pypi/idna@1.0"}
    node.answers[f"/api/v1/artifacts/{story.sha256}"] = (200, about)


@pytest.mark.parametrize("status", ["WITHDRAWN", "DISPUTED"])
def test_what_is_withdrawn_is_fetched_by_its_digest_alone(pyrsia, node, story, tmp_path, status):
    fallen(node, story, status)
    out = tmp_path / "out"
    code, _, err = pyrsia("fetch", "pkg:pypi/idna@1.0", "--out", out, "--node", node.url)
    assert (code, f"is {status} in the log" in err) == (1, True)
    assert f"pyrsia fetch sha256:{story.sha256}" in err
    assert not out.exists()
    code, said, err = pyrsia("fetch", f"sha256:{story.sha256}", "--out", out, "--node", node.url)
    assert (code, f"{WHEEL} is {status}" in err) == (0, True)
    assert str(out / WHEEL) in said
    assert (out / WHEEL).read_bytes() == story.data


def test_of_what_policy_refuses_nobody_is_told_to_have_it_built(pyrsia, node, story, tmp_path):
    fallen(node, story, "REPRODUCED")
    for asked in ("pkg:pypi/idna@1.0", "idna"):
        code, _, err = pyrsia("fetch", asked, "--out", tmp_path / "out", "--node", node.url)
        assert (code, "build request" in err) == (1, False)
        assert "see why: pyrsia policy explain pkg:pypi/idna@1.0" in err


@pytest.mark.parametrize("digest", ["sha256:", "sha256:AB", "sha256:" + "0" * 63, "sha256:" + "g" * 64])
def test_a_digest_is_written_whole(pyrsia, node, digest):
    assert pyrsia("fetch", digest, "--node", node.url)[0] == 2


@pytest.mark.parametrize("told", [[], {"files": 3}, {"file": "../x", "size": 1, "purl": "p"}, {"file": 1}])
def test_a_node_that_tells_nonsense_about_a_digest_is_refused(pyrsia, node, story, tmp_path, told):
    fallen(node, story, "WITHDRAWN")
    node.answers[f"/api/v1/artifacts/{story.sha256}"] = (200, told)
    node.answers["/api/v1/policy/facts"] = (200, told)
    code, _, err = pyrsia("fetch", f"sha256:{story.sha256}", "--out", tmp_path / "o", "--node", node.url)
    assert (code != 0, "Traceback" in err, (tmp_path / "o").exists()) == (True, False, False)


class Later(dict):
    """Answers of a node whose proof comes with the third question for it."""

    asked = 0

    def get(self, path, otherwise=None):
        if path.endswith(".tlog-proof"):
            self.asked += 1
            if self.asked < 3:
                return 404, {"error": {"code": "no-proof", "what": "not yet", "who": "w", "do": "d"}}
        return super().get(path, otherwise)


def test_a_file_that_is_about_to_be_cosigned_is_waited_for(pyrsia, node, story, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "POLL_S", 0.001)
    index(node, story)
    node.answers = Later(node.answers)
    code, _, err = pyrsia("fetch", PURL, "--out", tmp_path / "out", "--node", node.url)
    assert (code, err.count("waiting for the validators")) == (0, 1)
    assert sorted(os.listdir(tmp_path / "out")) == [WHEEL, f"{WHEEL}.tlog-proof"]


def test_a_proof_that_never_comes_ends_the_wait_with_3_and_no_file(
    pyrsia, node, story, tmp_path, monkeypatch
):
    monkeypatch.setattr(packages, "PROOF_WAIT_S", Limit(0, "a test's patience"))
    index(node, story)
    no = {"error": {"code": "no-proof", "what": "not yet", "who": "w", "do": "d"}}
    node.answers[f"/pypi/files/{story.sha256}/{WHEEL}.tlog-proof"] = (404, no)
    assert pyrsia("fetch", PURL, "--out", tmp_path / "out", "--node", node.url)[0] == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "filename",
    ["../evil-1.0-x.whl", "/tmp/evil-1.0-x.whl", "a/b-1.0-c.whl", "..", "", "x-1.0-\x1b.whl", "-1.0-"],
)
def test_a_node_cannot_choose_where_a_file_lands(pyrsia, node, story, tmp_path, filename):
    index(node, story, filename)
    out = tmp_path / "out"
    before = sorted(tmp_path.rglob("*"))
    code, said, err = pyrsia("fetch", "pkg:pypi/idna", "--out", out, "--node", node.url)
    assert (code, said) == (1, "")
    assert "\x1b" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_bytes_that_the_index_does_not_name_are_not_kept(pyrsia, node, story, tmp_path):
    index(node, story, sha256=hashlib.sha256(b"other").hexdigest())
    code, _, err = pyrsia("fetch", PURL, "--out", tmp_path / "out", "--node", node.url)
    assert (code, "not what the node's own index names" in err) == (1, True)
    assert not list((tmp_path / "out").rglob("*"))


def test_a_version_that_the_network_lacks_says_how_to_ask_for_it(pyrsia, node, story, tmp_path):
    index(node, story)
    code, _, err = pyrsia("fetch", "pkg:pypi/idna@9.9", "--out", tmp_path, "--node", node.url)
    assert (code, "pyrsia build request idna==9.9" in err) == (1, True)


def test_every_file_of_another_ecosystem_s_version_is_fetched_with_what_stands_beside_it(
    pyrsia, node, story, tmp_path
):
    purl = "pkg:maven/org.example/tool"
    files = []
    for name, version in (("tool-1.0.jar", "1.0"), ("tool-2.0.jar", "2.0"), ("tool-2.0.pom", "2.0")):
        data = name.encode()
        digest = hashlib.sha256(data).hexdigest()
        files.append(listed(name, digest, version))
        node.answers[f"/pypi/files/{digest}/{name}"] = (200, data)
        node.answers[f"/pypi/files/{digest}/{name}.tlog-proof"] = (200, b"a proof")
        node.answers[f"/pypi/files/{digest}/{name}.intoto.jsonl"] = (200, b"{}\n")
    node.answers["/api/v1/packages"] = (200, files)
    code, said, _ = pyrsia("fetch", purl, "--out", tmp_path / "out", "--node", node.url)
    beside = ("", ".intoto.jsonl", ".tlog-proof")
    assert (code, "check it: pyrsia verify" in said) == (0, True)
    assert sorted(os.listdir(tmp_path / "out")) == [
        f"tool-2.0{ending}{more}" for ending in (".jar", ".pom") for more in beside
    ]
    assert node.seen[0][1] == "/api/v1/packages?purl=pkg%3Amaven%2Forg.example%2Ftool"
    code, said, _ = pyrsia("fetch", f"{purl}@1.0", "--out", tmp_path / "one", "--node", node.url, "--json")
    assert (code, [one["file"] for one in json.loads(said)["files"]]) == (
        0,
        [str(tmp_path / "one" / "tool-1.0.jar")],
    )
    assert pyrsia("fetch", f"{purl}@3.0", "--out", tmp_path / "none", "--node", node.url)[0] == 1


@pytest.mark.parametrize("purl", ["pkg:npm/x@1", "pkg:pypi/Idna@1.0", "pkg:pypi/../x", "a b", "pkg:"])
def test_what_is_no_purl_of_here_is_a_usage_error(pyrsia, node, purl):
    assert pyrsia("fetch", purl, "--node", node.url)[0] == 2
    assert node.seen == []


def test_another_network_is_not_pinned(pyrsia, files, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(World(name="other").genesis.raw)
    code, out, _ = pyrsia("verify", files[0], "--trust", other, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "not-pinned")
