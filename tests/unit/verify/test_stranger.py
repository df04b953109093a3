"""A verifier written from docs/log.md alone, beside ours: what a node makes passes both, no lie divides them."""

import ast
import base64
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.audit import fsck
from pyrsia.audit.copying import Copy
from pyrsia.audit.heads import Quorum
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.sources import DirectorySource
from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.node.log.proofs import Proofs
from pyrsia.verify import evidence, history, standing
from pyrsia.verify.artifact import judge
from pyrsia.verify.epochs import Line
from pyrsia.verify.history import Subject
from pyrsia.wire import canonical
from pyrsia.wire.text import b32
from tests.reference import stranger
from tests.reference.governance import Governed, about, member_motion, numbers
from tests.reference.ledger import World, key
from tests.reference.parts import Kept
from tests.reference.reigns import KeptReigns, three_epochs
from tests.reference.story import NOW_MS, WHEEL, Story
from tests.unit.audit.files import read as files_below
from tests.unit.audit.files import write
from tests.unit.audit.signed import SignedLog

IDNA, NOBODY = "pkg:pypi/idna", "pkg:pypi/nobody-ever"
PAGE = Path(__file__).parents[3] / "docs" / "log.md"


class Deciding(Kept, Governed):
    """A world on disk whose validators agree on what they are asked."""


def network_of(genesis):
    return stranger.trust(genesis.raw, hashlib.sha256(genesis.raw).hexdigest())


class Desk:
    """A story's proofs from its archive, before both verifiers. Each answers what it found, or None."""

    def __init__(self, story, folder):
        self.story = story
        self.network = network_of(story.genesis)
        self.file = folder / WHEEL
        self.file.write_bytes(story.data)

    def sign(self, **how):
        """A new checkpoint."""
        self.story.world.archive.keep_checkpoint(self.story.note(**how))
        return self

    @property
    def proof(self):
        return Proofs(self.story.world.archive).of_artifact(self.story.sha256)

    @property
    def steps(self):
        return self.story.steps(self.story.size)

    def history(self, text):
        return trio.run(Proofs(self.story.world.archive).of_history, Subject.parse(text))

    def judged(self, proof):
        try:
            return judge(self.file, proof, [self.story.pin], now_ms=NOW_MS, expected=None, verify=verify)
        except Refusal:
            return None

    def believed(self, proof):
        """Ours, without the way from the request to the verdict: the head and the status."""
        try:
            found = evidence.read(proof, [self.story.pin], verify)
            return found.head.checkpoint.size, standing.offered(
                found.now, self.story.sha256, self.story.asked["purl"]
            )
        except (Refusal, Malformed):
            return None

    def strange(self, proof):
        try:
            head, body, status = stranger.check_proof(self.network, proof, self.story.data)
        except stranger.Refused:
            return None
        assert body["sha256"] == self.story.sha256
        return head.size, status["status"]

    def agreed(self, proof):
        """Whether both accept; what only the build's own leaves show, the stranger may miss."""
        judged, found = self.judged(proof), self.strange(proof)
        assert found is None or found == self.believed(proof)
        assert judged is None or found == (judged.size, judged.status)
        return judged is not None

    def agreed_history(self, data, asked=IDNA):
        try:
            found = history.read(data, [self.story.pin], verify)
            ours = (found.head.checkpoint.size, found.head.time_s, list(found.leaves))
            ours = ours if found.subject == Subject.parse(asked) else None
        except Refusal:
            ours = None
        try:
            head, leaves = stranger.check_history(self.network, data, {Subject.parse(asked).kind: asked})
            theirs = (head.size, head.time_s, leaves)
        except stranger.Refused:
            theirs = None
        assert ours == theirs
        return ours


@pytest.fixture(scope="module", params=["one epoch", "three epochs"])
def desk(tmp_path_factory, request):
    """A file with its proof; histories with further leaves; no signature more than needed."""
    folder = tmp_path_factory.mktemp("kept")
    world = Kept(folder) if request.param == "one epoch" else three_epochs(KeptReigns(folder))
    story = Story(world=world, dissenter=True)
    for at in range(3):
        world.block(world.fact(f"about idna {at}"))
    yield Desk(story, tmp_path_factory.mktemp("files")).sign(signers=3)
    world.close()


@pytest.fixture
def deciding(tmp_path):
    world = Deciding(tmp_path, count=6, builders=5)
    yield world
    world.close()


# -- what is true --


def test_both_accept_what_a_node_makes(desk):
    assert desk.agreed(desk.proof)
    size, _, leaves = desk.agreed_history(desk.history(IDNA))
    assert size == desk.story.size
    assert len(leaves) > 10
    assert len(desk.agreed_history(desk.history(desk.story.sha256), desk.story.sha256)[2]) >= 3
    for nobody in (NOBODY, "0" * 64):
        assert desk.agreed_history(desk.history(nobody), nobody)[2] == []
        assert desk.agreed_history(desk.history(nobody)) is None


def test_both_accept_proofs_of_builders_that_rotated_keys_or_left_and_refuse_what_is_withdrawn(
    deciding, tmp_path
):
    deciding.enact(numbers(agreeing=3, builders=5))
    desk = Desk(Story(world=deciding), tmp_path).sign()
    assert desk.agreed(desk.proof)
    for at, builder in enumerate(desk.story.builders[:2]):
        new = key("next", at, "build").public.hex()
        deciding.enact(member_motion("member.rotate", node=b32(builder.public), build=new))
    assert desk.sign().agreed(desk.proof)
    deciding.enact(member_motion("member.remove", node=b32(deciding.nodes[4].public)))
    assert desk.sign().agreed(desk.proof)
    assert desk.judged(desk.proof).gone
    deciding.enact(about("artifact.withdraw", desk.story.sha256))
    assert not desk.sign().agreed(desk.proof)
    assert desk.strange(desk.proof) is None
    assert desk.agreed_history(desk.history(IDNA))


@pytest.fixture(scope="module", params=["one epoch", "three epochs"])
def log(request):
    """The log of a world, in memory, cosigned by as few as may be; two bundles, one hash in the tile above."""
    world = World() if request.param == "one epoch" else three_epochs()
    return grown(SignedLog(world=world).follow(), 257)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


def grown(log, size):
    """`log` with as many facts as make it so large: the last leaf of each block is its seal."""
    world, body = log.world, {"kind": "description", "subject": IDNA, "valid_from": 1}
    while log.frontier.size < size:
        count = min(60, size - log.frontier.size - 1)
        world.block(
            *(world.entry(world.follower, "fact.add", {**body, "text": f"{i}"}) for i in range(count))
        )
        before = log.frontier.size
        assert log.follow().frontier.size > before  # a block of nothing has no seal
    assert log.frontier.size == size
    return log


def files_of(log):
    steps = {f"epochs/{at}": step for at, step in enumerate(log.steps)}
    return {"checkpoint": log.note, "genesis": log.world.genesis.raw, **steps, **dict(log.every())}


def checked(world, folder):
    """The size that both find the log in a folder to have, or None."""
    try:
        ours = fsck.check(
            DirectorySource(folder), Quorum(world.genesis), lambda *_: None
        ).head.checkpoint.size
    except Malformed:
        ours = None
    try:
        theirs = stranger.check_log(network_of(world.genesis), files_below(folder))[0].size
    except stranger.Refused:
        theirs = None
    assert ours == theirs
    return ours


@pytest.mark.parametrize("sizes", [(2, 20, 256, 512, 514), (255, 257, 511, 513)])
def test_both_find_an_exported_log_whole_at_the_edges_of_a_bundle(tmp_path, sizes):
    log = SignedLog(world=World()).follow()
    for size in sizes:
        keeper = Keeper(tmp_path)
        Copy(grown(log, size), log.rule, keeper, lambda *_: None).round()
        keeper.close()
        assert checked(log.world, tmp_path) == size
        assert stranger.check_log(network_of(log.world.genesis), files_below(tmp_path))[1] == log.world.leaves


def test_the_worked_example_of_an_index_on_the_page_is_true():
    text = PAGE.read_text(encoding="utf-8")
    leaves = {"attrs": (3,), "click": (5, 9), "six": (7,)}
    keys = {name: stranger.index_key({"purl": f"pkg:pypi/{name}"}) for name in (*leaves, "flask")}
    values = {
        name: stranger.history_value([(at, b"entry %d" % at) for at in touching])
        for name, touching in leaves.items()
    }
    attrs, click, six = (stranger.sha(keys[name], values[name]) for name in leaves)
    inner = stranger.sha(b"\x03", six, click)
    root = stranger.sha(b"\x02", inner, attrs)
    for said in (keys["six"], values["six"], attrs, click, six, inner, root):
        assert f"= {said.hex()}" in text
    way = {"steps": [[3, click.hex()], [2, attrs.hex()]]}
    stranger.check_path(root, keys["six"], values["six"], way)
    ends = [keys["attrs"].hex(), values["attrs"].hex()]
    stranger.check_path(root, keys["flask"], None, {"other": ends, "steps": [[2, inner.hex()]]})
    other = [keys["six"].hex(), values["six"].hex()]
    with pytest.raises(stranger.Refused):
        stranger.check_path(root, keys["flask"], None, {"other": other, **way})


def test_the_worked_example_of_keys_on_the_page_is_true():
    text, name, public = PAGE.read_text(encoding="utf-8"), "example.net/abcdefghijklmnop", bytes(range(32))
    cosigner = f"{name}/{stranger.base32(public)[:16]}"
    assert f"`{cosigner}`" in text
    for signer, kind in ((name, stranger.LOG), (cosigner, stranger.COSIGN)):
        assert stranger.key_id(signer, kind, public).hex() in text
    assert stranger.tile_path(0, 1_234_067, 256) == "tile/0/x001/x234/067"


def test_the_stranger_knows_nothing_of_ours():
    tree = ast.parse(Path(stranger.__file__).read_text(encoding="utf-8"))
    names = [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    names += [node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    tops = {name.partition(".")[0] for name in names}
    assert tops - sys.stdlib_module_names == {"blake3", "nacl"}
    assert not tops & {"importlib", "runpy", "sys"}


# -- what is not --


@st.composite
def tampered(draw, good):
    """Bytes that differ from `good` in a bit, a line, an order or a length."""
    at = draw(st.integers(0, len(good) - 1))
    lines = good.split(b"\n")
    one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match draw(st.sampled_from(["bit", "bit", "byte", "cut", "more", "drop", "swap", "again"])):
        case "bit":
            return good[:at] + bytes([good[at] ^ 1 << draw(st.integers(0, 7))]) + good[at + 1 :]
        case "byte":
            return good[:at] + good[at + 1 :]
        case "cut":
            return good[:at]
        case "more":
            return good[:at] + draw(st.sampled_from([b"\n", b" ", b"\r", b"0", b"\xc2\xa0"])) + good[at:]
        case "drop":
            del lines[one]
        case "swap":
            lines[one], lines[other] = lines[other], lines[one]
        case "again":
            lines.insert(one, lines[other])
    return b"\n".join(lines)


@st.composite
def edited(draw, document):
    """A JSON document with one value gone, changed, doubled or put elsewhere."""
    made = json.loads(json.dumps(document))
    places = list(containers(made))
    where = draw(st.sampled_from(places))
    names = list(where) if isinstance(where, dict) else list(range(len(where)))
    name, other = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    match draw(st.sampled_from(["drop", "swap", "change", "again"])):
        case "drop":
            del where[name]
        case "swap":
            where[name], where[other] = where[other], where[name]
        case "change":
            where[name] = draw(st.sampled_from([0, 2, 1 << 53, -1, 1.5, None, "", "00" * 32, [], {}, [[]]]))
        case "again" if isinstance(where, list):
            where.insert(name, where[other])
    return made


def containers(value):
    if isinstance(value, dict | list):
        if value:
            yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


def dumped(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def packed(proof, extra):
    """The proof with other `extra` bytes, whatever they are."""
    first, _, rest = proof.split(b"\n", 2)
    return b"\n".join([first, b"extra " + base64.b64encode(extra), rest])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_tampered_proof_file_divides_nobody(desk, data):
    desk.agreed(data.draw(tampered(desk.proof)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_tampered_evidence_in_a_proof_file_divides_nobody(desk, data):
    proof = desk.proof
    extra = TlogProof.parse(proof).extra
    lie = data.draw(st.one_of(edited(json.loads(extra)).map(dumped), tampered(extra)))
    desk.agreed(packed(proof, lie))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_tampered_history_divides_nobody(desk, data):
    asked = data.draw(st.sampled_from([IDNA, NOBODY]))
    lie = data.draw(tampered(desk.history(asked)))
    desk.agreed_history(lie, asked)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_tampered_head_of_a_history_divides_nobody(desk, data):
    asked = data.draw(st.sampled_from([IDNA, NOBODY]))
    first, head, rest = desk.history(asked).split(b"\n", 2)
    lie = dumped(data.draw(edited(json.loads(head))))
    desk.agreed_history(b"\n".join([first, lie, rest]), asked)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_tampered_note_divides_nobody(desk, data):
    lie = data.draw(tampered(desk.story.note(signers=data.draw(st.sampled_from([3, 4])), strangers=1)))
    try:
        line = Line.of(desk.story.genesis, desk.steps, verify)
        head = line.trusted(SignedNote.parse(lie))
        ours = (head.checkpoint.size, head.checkpoint.root, head.time_s)
    except (Refusal, Malformed):
        ours = None
    try:
        head = stranger.read_note(stranger.follow(desk.network, dict(enumerate(desk.steps)).get), lie)
        theirs = (head.size, head.root, head.time_s)
    except stranger.Refused:
        theirs = None
    assert ours == theirs


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_tampered_file_of_a_log_divides_nobody(log, scratch, data):
    honest = files_of(log)
    path = data.draw(st.sampled_from(sorted(honest)))
    folder = write(Path(tempfile.mkdtemp(dir=scratch)), {**honest, path: data.draw(tampered(honest[path]))})
    checked(log.world, folder)


def test_signatures_that_are_not_needed_may_go_and_no_others(desk):
    story = desk.story
    for signers, kept in ((4, 6), (4, 8), (3, 6), (3, 4), (2, 4)):
        lines = SignedNote.parse(story.note(signers=signers)).lines[:kept]
        proof = story.proof(note=SignedNote(story.head().text(), lines).encode())
        assert desk.agreed(proof) == (kept >= 6)


def test_leaves_of_other_types_in_a_proof_mean_nothing_and_a_lost_commitment_is_for_ours_to_see(desk):
    story = desk.story
    seal = next(
        at for at in range(story.size) if story.world.leaves[at].endswith(b'"type":"block.seal","v":1}')
    )
    assert desk.agreed(story.proof(leaves=sorted({*story.leaves(), seal})))
    without = [at for at in story.leaves() if at != story.kinds("build.commit")[0]]
    assert desk.strange(story.proof(leaves=without))
    assert desk.judged(story.proof(leaves=without)) is None
    for kind in ("build.request", "build.draw", "build.verdict", "artifact.add"):
        lost = story.proof(leaves=[at for at in story.leaves() if at not in story.kinds(kind)])
        assert (desk.judged(lost), desk.strange(lost)) == (None, None)


def test_values_of_the_state_that_are_needed_cannot_be_left_out(desk):
    story = desk.story
    keys = [row["key"] for row in story.now()["values"]]
    for gone in keys:
        proof = story.proof(now=story.now(keys=[one for one in keys if one != gone]))
        assert (desk.judged(proof), desk.strange(proof)) == (None, None)
    assert desk.agreed(story.proof(now=story.now(keys=[*keys, "member/nobody"])))


def test_another_trust_file_than_the_known_one_is_refused(desk):
    raw = desk.story.genesis.raw
    with pytest.raises(stranger.Refused):
        stranger.trust(raw, "0" * 64)
    other = canonical.encode({**canonical.decode(raw), "v": 2})
    with pytest.raises(stranger.Refused):
        stranger.trust(other, hashlib.sha256(other).hexdigest())
