"""A published wheel with its proof, made by the real ledger: the truth that the tests of `verify` lie about.

The tree under the proof is the slow reference one, so the proofs are not made by the code that checks them.
"""

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

from pyrsia.builds import attest
from pyrsia.ledger import entries, prefixtree, views
from pyrsia.ledger import index as index_of
from pyrsia.log import checkpoint
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import COMMIT_WINDOW_MS, LeafIndex, TreeSize
from pyrsia.verify import evidence, roll, standing
from pyrsia.verify import leaves as leaves_of
from pyrsia.verify.pins import Pin
from pyrsia.wire.text import b32
from tests.reference import merkle
from tests.reference.ledger import ENVIRONMENT, START, World, blob, key

WHEEL = "idna-1.0-py3-none-any.whl"
SIGNED_S = START // 1000 + 60
NOW_MS = (SIGNED_S + 3_600) * 1000


def wheel(name="idna", version="1.0", *, metadata=None, members=(), method=zipfile.ZIP_DEFLATED) -> bytes:
    """A small wheel; `members`: further (name, bytes)."""
    told = (
        metadata
        if metadata is not None
        else f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\ntext\n"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for path, data in (("idna/__init__.py", b"x = 1\n"), *members):
            archive.writestr(zipfile.ZipInfo(path), data, method)
        archive.writestr(zipfile.ZipInfo("idna-1.0.dist-info/METADATA"), told, method)
    return out.getvalue()


class Story:
    """One build from request to artifact. Whatever is a lie is said by the caller.

    Attributes:
        builders: node keys in draw order.
        numbers: node id text -> number of the member, which names its other keys.
    """

    def __init__(
        self,
        *,
        data=None,
        world=None,
        dissenter=False,
        silent=False,
        redrawn=False,
        attestations=None,
        asked=None,
        files=None,
        revealed=None,
        **outputs,
    ):
        """`attestations`: (story, place in the draw, reveal so far) -> attestation, instead of the honest ones.

        `asked`: fields of the request; `files`: name -> bytes of a result that is no wheel; `revealed`: fields of
        reveals.
        """
        self.files = files
        self.revealed = revealed or {}
        self.world = world or World()
        self.also = ()  # node ids of others whose records the proof carries
        self.genesis = self.world.genesis
        self.data = data if data is not None else wheel()
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.numbers = {b32(node.public): i for i, node in enumerate(self.world.nodes)}
        self.request, self.builders = self.world.drawn(**(asked or {}))
        if redrawn:
            # One builder commits, the other two stay silent: the draw came to nothing and is made again.
            self.world.block(self.world.commit(self.builders[0], self.reveal()))
            self.world.propose(wait=COMMIT_WINDOW_MS.value + 2_000)
            self.world.settle()
            self.builders = self.world.builders(self.request)
        self.asked = views.request(self.world.db.get, self.request).request.body
        bodies = []
        for place, builder in enumerate(self.builders):
            if silent and place == 0:
                continue
            word = "altered" if dissenter and place == 0 else "same"
            body = self.reveal(word, **outputs)
            made = attestations(self, place, body) if attestations else None
            body["attestation"] = made if made is not None else self.attestation(builder, body)
            bodies.append((builder, body))
        self.view = self._run(bodies, silent)
        self.artifact = self.view.artifact

    @property
    def status_key(self):
        """docs/ledger.md, "State keys"."""
        return f"status/{self.sha256}/{self.asked['purl']}"

    def _run(self, bodies, silent):
        if not silent:
            return self.world.run(self.request, bodies)
        self.world.block(*(self.world.commit(*pair) for pair in bodies))
        self.world.propose(wait=700_000)
        self.world.propose()
        self.world.block(*(self.world.entry(builder, "build.reveal", body) for builder, body in bodies))
        self.world.propose(wait=200_000)
        self.world.settle()
        return views.request(self.world.db.get, self.request)

    def reveal(self, word="same", **outputs):
        body = self.world.reveal(self.request, word, **self.revealed)
        output = body["outputs"][0]
        if self.files is not None:
            body["outputs"] = [
                self.plain(output, name, data if word == "same" else b"altered", **outputs)
                for name, data in self.files.items()
            ]
            return body
        if word == "same":
            output["raw"] = {**output["raw"], "sha256": self.sha256, "size": len(self.data)}
        output.update(name=WHEEL, **outputs)
        return body

    def plain(self, output, name, data, **outputs):
        """An output without metadata."""
        raw = {"manifest": "9" * 64, "members": blob((name, "members"))}
        raw.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        return {**output, "canonical": raw, "name": name, "raw": raw, **outputs}

    def of(self, name):
        """The same story, told of the published file with this name."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.data = self.files[name]
        made.sha256 = hashlib.sha256(made.data).hexdigest()
        made.artifact = next(one for one in self.view.artifacts if one.body["file"] == name)
        return made

    def statement(self, builder, body, **changes):
        fields = {
            "request_id": self.request,
            "request": self.asked,
            "subjects": [(one["name"], one["raw"]["sha256"]) for one in body["outputs"]],
            "builder": b32(builder.public),
            "environment": ENVIRONMENT,
            "isolation": body["isolation"],
            "lock_sha256": blob("lock")["sha256"],
            **changes,
        }
        return attest.statement(**fields)

    def attestation(self, builder, body, signer=None, **changes):
        pair = signer or self.build_key(builder)
        return attest.envelope(self.statement(builder, body, **changes), pair.sign, pair.public.hex())

    def build_key(self, builder):
        return key(self.numbers[b32(builder.public)], "build")

    # -- the log around it --

    @property
    def size(self):
        return len(self.world.leaves)

    @property
    def pin(self):
        return Pin(
            self.genesis.name, hashlib.sha256(self.genesis.raw).hexdigest(), Path("pinned"), self.genesis
        )

    def hashes(self, size):
        return [merkle.leaf_hash(leaf) for leaf in self.world.leaves[:size]]

    def head(self, size=None, root=None):
        size = self.size if size is None else size
        return Checkpoint(self.genesis.origin, TreeSize(size), root or merkle.root(self.hashes(size)))

    def note(self, head=None, *, signers=None, time_s=SIGNED_S, strangers=0):
        """The checkpoint signed by `signers` validators (all of them) of its epoch, and by keys of nobody."""
        head = head or self.head()
        lines = []
        if hasattr(self.world, "reigns"):
            count = len(self.world.reigns[self.world.epoch_at(head.size)]) if signers is None else signers
            return self.world.cosigned(head, signers=count, time_s=time_s)
        for i in range(len(self.genesis.validators) if signers is None else signers):
            lines += signature_lines(head, key(i, "log"), key(i, "cosign"), time_s)
        for i in range(strangers):
            lines += signature_lines(head, key("stranger", i, "log"), key("stranger", i, "cosign"), time_s)
        return SignedNote(head.text(), tuple(lines)).encode()

    def leaves(self):
        """Indices that an honest proof carries."""
        others = {one.leaf for one in self.view.artifacts if one != self.artifact}
        return [leaf for leaf in self.view.leaves if leaf not in others]

    def row(self, index, size):
        return index, self.world.leaves[index], merkle.path(index, self.hashes(size))

    def now(self, size=None, *, keys=None, seal=None):
        """What the state says at a head, as far as its values have not changed since."""
        size = self.size if size is None else size
        people = [
            *roll.wanted(self.view.draw.body, self.view.author),
            *(f"member/{one}" for one in self.also),
        ]
        trees = self.world.trees[size]
        values = []
        for name in dict.fromkeys([self.status_key, *people]) if keys is None else keys:
            value = self.world.db.get(name.encode())
            _, path = prefixtree.prove(trees.state, self.world.fetch, index_of.state_key(name.encode()))
            values.append((name, value, path))
        return standing.pack(leaves_of.row(*self.row(size - 1 if seal is None else seal, size)), values)

    def proof(self, *, leaves=None, note=None, index=None, extra=None, size=None, now=None):
        size = self.size if size is None else size
        index = self.artifact.leaf if index is None else index
        rows = [self.row(i, size) for i in (self.leaves() if leaves is None else leaves)]
        packed = evidence.pack(rows, self.now(size) if now is None else now, self.steps(size))
        made = TlogProof(
            packed if extra is None else extra,
            LeafIndex(index),
            tuple(merkle.path(index, self.hashes(size))),
            note or self.note(self.head(size)),
        )
        return made.encode()

    def steps(self, size):
        """Between the epochs that had ended by this size, where the world keeps them."""
        ends = getattr(self.world, "ends", ())
        return [step for step, end in zip(getattr(self.world, "steps", ()), ends, strict=True) if end <= size]

    def kinds(self, kind):
        """Leaf indices of one entry type among those of the proof."""
        return [i for i in self.leaves() if entries.parse(self.world.leaves[i]).kind == kind]

    def rewritten(self, index, leaf):
        """A log that differs in one leaf, cosigned by everybody: what only the checks of meaning can catch."""
        made = object.__new__(Story)
        made.__dict__.update(self.__dict__)
        made.world = object.__new__(World)
        made.world.__dict__.update(self.world.__dict__)
        made.world.leaves = [*self.world.leaves[:index], leaf, *self.world.leaves[index + 1 :]]
        return made

    def write(self, folder, name=WHEEL):
        """The file with its proof and trust file: (file, proof, trust)."""
        file = Path(folder) / name
        file.write_bytes(self.data)
        proof = file.with_name(name + ".tlog-proof")
        proof.write_bytes(self.proof())
        trust = Path(folder) / "genesis.json"
        trust.write_bytes(self.genesis.raw)
        return file, proof, trust


def signature_lines(head, log, cosign, time_s):
    return [
        checkpoint.log_line(head, log.sign, log.public),
        checkpoint.cosign_line(head, cosign.sign, cosign.public, time_s),
    ]


def as_signed_at(evidence_, time_s):
    """The same evidence with another time on its head."""
    return replace(evidence_, head=replace(evidence_.head, time_s=time_s))
