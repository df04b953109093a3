"""Proofs of files that are no wheels, of several files of one build, of claims and of what was only witnessed."""

import pytest

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.verify import evidence, roll, standing
from pyrsia.verify.artifact import judge
from pyrsia.wire import purl
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, about
from tests.reference.ledger import World, blob, key
from tests.reference.story import NOW_MS, Story
from tests.unit.verify.test_artifact import changed

JAR, POM, SOURCES = "text-1.0.jar", "text-1.0.pom", "text-1.0-sources.jar"
FILES = {SOURCES: b"sources", JAR: b"a jar", POM: b"<project/>"}
TEXT = {
    "coordinates": {"name": "text", "namespace": "org.example", "version": "1.0"},
    "ecosystem": "maven",
    "purl": "pkg:maven/org.example/text@1.0",
    "target": {"arch": "x86_64", "jdk": "17", "libc": "glibc-2.36", "os": "linux"},
}
ALL = ("conan", "maven", "oci", "pip", "witness")


def placed(story, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(story.data)
    return path


def judged(path, story, proof=None, expected=None):
    return judge(path, proof or story.proof(), [story.pin], now_ms=NOW_MS, expected=expected, verify=verify)


def refused(path, story, proof=None, expected=None):
    with pytest.raises(Refusal) as caught:
        judged(path, story, proof, expected)
    return caught.value.what


@pytest.fixture(scope="module")
def text():
    return Story(world=World(capabilities=ALL), asked=TEXT, files=FILES)


@pytest.fixture(scope="module")
def seen():
    return Story(world=World(capabilities=ALL), asked={**TEXT, "ecosystem": "witness"}, files={JAR: b"a jar"})


@pytest.fixture(scope="module")
def claimed():
    world = World(capabilities=ALL)
    own = str(purl.under(b32(world.follower.public), purl.parse("pkg:pypi/idna@1.0")))
    source = {"file": "a.tar", "manifest": "ab" * 32, "sha256": blob("source")["sha256"], "size": 5}
    return Story(world=world, asked={"purl": own, "source": source}, revealed={"source": "claimed"})


@pytest.mark.parametrize("name", FILES)
def test_each_file_of_a_build_has_a_proof_of_its_own(text, tmp_path, name):
    story = text.of(name)
    found = judged(placed(story, tmp_path, name), story, expected=TEXT["purl"])
    assert (found.purl, found.file, found.sha256) == (TEXT["purl"], name, story.sha256)
    assert (found.index, found.verdict, len(found.builders)) == (story.artifact.leaf, "REPRODUCED", 3)
    assert len({one.artifact.leaf for one in map(text.of, FILES)}) == 3


def test_no_file_passes_as_another_of_the_same_build(text, tmp_path):
    jar, pom = text.of(JAR), text.of(POM)
    assert "SHA-256" in refused(placed(jar, tmp_path, JAR), jar, pom.proof())
    assert POM in refused(placed(jar, tmp_path, POM), jar)
    both = [leaf for leaf in text.view.leaves if leaf != text.of(SOURCES).artifact.leaf]
    assert "2 leaves of type artifact.add" in refused(placed(jar, tmp_path, JAR), jar, jar.proof(leaves=both))


@pytest.mark.parametrize(
    "fields",
    [
        {"file": POM},
        {"metadata": blob("made up")},
        {"requires_python": ">=3.8"},
        {"size": 1},
        {"verdict": "WITNESSED"},
        {"source": "claimed"},
    ],
)
def test_a_record_of_one_file_that_the_reveals_do_not_give_is_refused_even_under_a_quorum(
    text, tmp_path, fields
):
    jar = text.of(JAR)
    told = changed(jar, jar.artifact.leaf, **fields)
    path = placed(jar, tmp_path, fields.get("file", JAR))
    assert "not what the reveals give" in refused(path, told)


def test_a_file_that_is_no_zip_is_not_opened(text, tmp_path):
    """Of a jar or a pom the digest says everything; a broken one is published as the broken one that it is."""
    story = Story(world=World(capabilities=ALL), asked=TEXT, files={"text-1.0.whl": b"no wheel of ours"})
    one = story.of("text-1.0.whl")
    assert judged(placed(one, tmp_path, "text-1.0.whl"), one).verdict == "REPRODUCED"


def test_a_file_may_bear_the_name_that_its_client_gives_it(tmp_path):
    name = "0123~89ab~cdef~conan_package.tgz"
    asked = {
        **TEXT,
        "coordinates": {"name": "zlib", "version": "1.3"},
        "ecosystem": "conan",
        "purl": "pkg:conan/zlib@1.3",
    }
    story = Story(world=World(capabilities=ALL), asked=asked, files={name: b"a package"}).of(name)
    assert judged(placed(story, tmp_path, name), story).file == name
    assert judged(placed(story, tmp_path, "conan_package.tgz"), story).purl == "pkg:conan/zlib@1.3"
    for other in ("package.tgz", "cdef~conan_package.tgz", "89ab"):
        assert other in refused(placed(story, tmp_path, other), story)


def test_what_was_witnessed_is_never_called_built(seen, tmp_path):
    story = seen.of(JAR)
    found = judged(placed(story, tmp_path, JAR), story)
    lines = list(found.lines())
    assert any("WITNESSED: same bytes seen by 3 nodes, not rebuilt" in line for line in lines)
    assert not any("built by" in line or "REPRODUCED" in line for line in lines)
    told = found.as_dict()
    assert (told["verdict"], told["rebuilt"], told["containment"]) == ("WITNESSED", False, "none")
    lie = changed(story, story.artifact.leaf, verdict="REPRODUCED")
    assert "not what the reveals give" in refused(placed(story, tmp_path, JAR), lie)


def test_a_claim_is_printed_as_the_claim_of_its_node(claimed, tmp_path):
    story = claimed
    found = judged(placed(story, tmp_path, "idna-1.0-py3-none-any.whl"), story)
    assert "(claimed source of node 4)" in "\n".join(found.lines())
    assert next(found.lines()).startswith("pkg:generic/")
    told = found.as_dict()
    assert (told["claimed_by"], told["source"]["by"], told["rebuilt"]) == ("node 4", "claimed", True)


def test_a_claim_is_never_the_known_package(claimed, tmp_path):
    path = placed(claimed, tmp_path, "idna-1.0-py3-none-any.whl")
    assert "not pkg:pypi/idna@1.0" in refused(path, claimed, expected="pkg:pypi/idna@1.0")
    assert "another package" in refused(
        path, changed(claimed, claimed.artifact.leaf, purl="pkg:pypi/idna@1.0")
    )


def test_a_claim_of_another_node_is_refused_even_under_a_quorum(claimed, tmp_path):
    """The ledger refuses such a request; a quorum that took it is not believed either."""
    other = b32(key(0, "node").public)
    index = claimed.view.request.leaf
    body = entries.parse(claimed.world.leaves[index]).body
    stolen = str(purl.under(other, purl.parse("pkg:pypi/idna@1.0")))
    raw = claimed.world.entry(claimed.world.follower, "build.request", {**body, "purl": stolen})
    told = claimed.rewritten(index, raw)
    fields = {"purl": stolen, "request": entries.entry_id(raw).hex()}
    told = changed(told, claimed.artifact.leaf, **fields)
    path = placed(claimed, tmp_path, "idna-1.0-py3-none-any.whl")
    assert "own name of a node that did not ask" in refused(path, told)


def test_a_result_of_the_most_and_longest_files_still_has_its_proof(tmp_path):
    """Seven reveals of half an entry each, with their provenance."""
    files = {f"{'r' * 32}~{'p' * 40}~{'v' * 32}~file-{at:02}.tgz": b"%d" % at for at in range(32)}
    world = World(count=9, builders=8, drawn=7, agreeing=4, capabilities=ALL)
    story = Story(world=world, asked=TEXT, files=files)
    one = story.of(next(iter(files)))
    reveals = [len(story.world.leaves[leaf]) for leaf in story.kinds("build.reveal")]
    assert min(reveals) > 30_000
    proof = one.proof()
    assert judged(placed(one, tmp_path, next(iter(files))), one, proof).verdict == "REPRODUCED"
    assert len(proof) > 262_144  # what a proof file could hold when a result was one wheel
    assert evidence.read(proof, [story.pin], verify).index == one.artifact.leaf


def test_the_status_that_counts_is_that_of_the_purl_which_is_printed(tmp_path):
    """The same bytes under an own name say nothing about those under the package's, and the other way round."""
    world = Governed(count=12, builders=11, capabilities=list(ALL))
    known = Story(world=world)
    own = str(purl.under(b32(world.follower.public), purl.parse("pkg:pypi/idna@1.0")))
    copy = Story(world=world, asked={"purl": own}, revealed={"source": "claimed"})
    path = placed(known, tmp_path, known.artifact.body["file"])
    assert known.sha256 == copy.sha256
    assert (judged(path, known).purl, judged(path, copy).purl) == ("pkg:pypi/idna@1.0", own)

    world.enact(about("artifact.withdraw", known.sha256))
    assert "WITHDRAWN" in refused(path, known)
    assert judged(path, copy).status == "REPRODUCED"
    people = roll.wanted(known.view.draw.body, known.view.author)
    others = known.now(keys=[copy.status_key, *people])
    assert "leaves out" in refused(path, known, known.proof(now=others))
    believed = evidence.read(known.proof(now=others), [known.pin], verify)
    assert standing.offered(believed.now, known.sha256, own) == "REPRODUCED"
    with pytest.raises(Malformed, match="leaves out"):
        standing.offered(believed.now, known.sha256, "pkg:pypi/idna@1.0")


def test_what_was_witnessed_and_is_built_later_is_proven_as_reproduced(tmp_path):
    world = Governed(count=12, builders=11, capabilities=list(ALL))
    seen = Story(world=world, asked={"ecosystem": "witness"})
    path = placed(seen, tmp_path, seen.artifact.body["file"])
    assert judged(path, seen).status == "WITNESSED"
    made = Story(world=world)
    assert made.sha256 == seen.sha256
    found = judged(path, made)
    assert (found.verdict, found.status) == ("REPRODUCED", "REPRODUCED")
    assert judged(path, seen).verdict == "WITNESSED"  # the older leaf says what was found then
