"""Motions, withdrawals and facts for tests: a body of each kind, and what it takes to enact one."""

from pyrsia.ledger import entries, withdrawing
from pyrsia.wire.text import b32
from tests.reference.ledger import ENVIRONMENT, World, blob, key, links_end

REASON = "because it is so"
MAINTAINER = key("maintainer")
NEWCOMERS = ("new", "other", "third", "fourth", "fifth")


def secret(word, purpose, turn=0):
    """The key of the member that `word` stands for; `turn` counts the keys that it has had for this purpose."""
    return key(word, purpose, turn) if turn else key(word, purpose)


def newcomer(word="new", roles=("builder",), turn=0, **changes):
    """Fields of a member; with a number for `word` those of a genesis, which gives its members the same keys."""
    validates, builds = "validator" in roles, "builder" in roles

    def public(purpose, wanted):
        return secret(word, purpose, turn).public.hex() if wanted else ""

    return {
        "build": public("build", builds),
        "capabilities": ["pip"] if builds else [],
        "chain_end": links_end(secret(word, "chain", turn).seed).hex() if validates else "",
        "cosign": public("cosign", validates),
        "domain": f"domain-{word}",
        "log": public("log", validates),
        "name": f"node {word}",
        "node": b32(key(word, "node").public),
        "operator": f"operator-{word}",
        "roles": sorted(roles),
        "vote": public("vote", validates),
        **changes,
    }


def mapping(purl="pkg:pypi/idna", replaces=0, **changes):
    return {
        "keys": [MAINTAINER.public.hex()],
        "kind": "mapping.set",
        "purl": purl,
        "reason": REASON,
        "recipe": {
            "backend": "pip/wheel@1",
            "environment": ENVIRONMENT,
            "isolation": "pure",
            "normaliser": "wheel@1",
            "parameters": [["extras", "none"]],
        },
        "replaces": replaces,
        "repository": "https://github.com/kjd/idna",
        "tag": "v{version}",
        **changes,
    }


def numbers(**changes):
    return {"kind": "network.set", "reason": REASON, **changes}


def about(kind, sha256, purl="pkg:pypi/idna@1.0"):
    return {"kind": kind, "purl": purl, "reason": REASON, "sha256": sha256}


def member_motion(kind, **fields):
    return {"kind": kind, "reason": REASON, **fields}


def every_motion(world, sha256="ab" * 32):
    """One body of each kind."""
    node = b32(world.follower.public)
    return {
        "artifact.withdraw": about("artifact.withdraw", sha256),
        "dispute.resolve": about("dispute.resolve", sha256),
        "mapping.set": mapping(),
        "member.add": member_motion("member.add", member=newcomer()),
        "member.remove": member_motion("member.remove", node=node),
        "member.replace": member_motion("member.replace", member=newcomer(), node=node),
        "member.rotate": member_motion(
            "member.rotate", node=b32(world.nodes[0].public), build=key("next", "build").public.hex()
        ),
        "network.set": numbers(
            agreeing=3, builders=4, environments=[ENVIRONMENT, "oci:" + "1" * 64],
            limits=[["builder", 500], ["member", 100]], rules={"height": 1_000, "version": 1},
        ),
    }  # fmt: skip


def withdrawal(world, sha256, purl="pkg:pypi/idna@1.0", signer=MAINTAINER, net=None, **changes):
    """The body of `artifact.withdraw`, signed by a maintainer."""
    body = {"purl": purl, "reason": REASON, "sha256": sha256}
    text = withdrawing.signed_text(net or world.genesis.net, body)
    return {**body, "key": signer.public.hex(), "sig": signer.sign(text).hex(), **changes}


def fact(kind="description", subject="pkg:pypi/idna@1.0", **changes):
    return {"kind": kind, "subject": subject, "text": "a word", "valid_from": 1, **changes}


def every_fact():
    """One body of each kind, with all the fields that it may have."""
    ranges = [{"fixed": "1.2", "introduced": "0"}, {"introduced": "2.0", "last": "2.1"}, {"introduced": "3"}]
    return {
        "advisory": fact(
            "advisory", "pkg:pypi/idna", advisory="GHSA-jjg7-2v4v-x38h", aliases=["CVE-2024-3651", "PYSEC-2024-60"],
            cvss="CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", range=ranges, severity="medium", blob=blob("osv"),
            modified_ms=2, versions=["1.0", "1.1"],
        ),
        "commit-signature": fact("commit-signature", commit="ab" * 20, good=True, key="SHA256:abc/def+g"),
        "description": fact(
            homepage="https://example.org/idna", json='{"stars": 1.5}', namespace="kjd", tags=["dns", "names"],
        ),
        "licence": fact("licence", expression="BSD-3-Clause OR MIT"),
        "recheck": fact(
            "recheck", "sha256:" + "cd" * 32, outcome="contradicts", request="12" * 32,
            files=[
                {"expected": "cd" * 32, "file": "a.jar", "found": "ef" * 32}, {"expected": "01" * 32, "file": "b.pom"},
            ],
        ),
        "review": fact("review", outcome="approved", rating="positive", thoroughness="low", understanding="high"),
        "sbom": fact("sbom", format="cyclonedx", blob=blob("sbom"), components=12),
        "vex": fact(
            "vex", advisory="CVE-2024-3651", outcome="not-affected", justification="vulnerable-code-not-present",
        ),
    }  # fmt: skip


class Governed(World):
    """A world whose validators agree on what they are asked."""

    def __init__(self, **changes):
        super().__init__(**changes)
        for word in (*range(len(self.nodes)), *NEWCOMERS):
            self.know(word)

    def know(self, word, turn=0):
        """So that the member can lead and be caught lying: its chain of links, and its vote key."""
        seed, vote = secret(word, "chain", turn).seed, secret(word, "vote", turn)
        self.seeds[links_end(seed)] = seed
        self.vote_keys[vote.public] = vote

    def validators(self):
        """Node keys of those who validate now: of the first members in order, then of newcomers."""
        known = {one.public: one for one in (*self.nodes, *(key(word, "node") for word in NEWCOMERS))}
        seated = {one.node for one in self.seats().validators}
        return [one for public, one in known.items() if public in seated]

    @property
    def q(self):
        n = len(self.seats().validators)
        return n - (n - 1) // 3

    def propose_motion(self, body, author=None):
        raw = self.entry(author or self.follower, "motion.propose", body)
        self.block(raw)
        return entries.entry_id(raw).hex()

    def approval(self, motion, validator):
        return self.entry(validator, "motion.approve", {"motion": motion})

    def enact(self, body, author=None, *, missing=0):
        """Propose, and let q validators (less `missing`) approve in one block."""
        motion = self.propose_motion(body, author)
        self.block(*(self.approval(motion, one) for one in self.validators()[: self.q - missing]))
        return motion

    def published(self, version="1.0"):
        """SHA-256 of the artifact of one finished build."""
        request, builders = self.drawn(version=version)
        done = self.run(request, [(builder, self.reveal(request, version)) for builder in builders])
        return done.artifact.body["sha256"]
