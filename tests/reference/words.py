"""A log with words in it: members say, correct, announce and take back facts, as a random script has it."""

from hypothesis import strategies as st

from tests.reference.ledger import START, blob
from tests.reference.parts import Kept

PACKAGES = ("pkg:pypi/idna", "pkg:pypi/other", "pkg:maven/org.example/lib")
VERSIONS = ("", "@1.0", "@2.0")
DIGEST = "sha256:" + blob("file")["sha256"]
SUBJECTS = (*(package + version for package in PACKAGES for version in VERSIONS), DIGEST)

_WORDS = {
    "advisory": lambda n: {"advisory": f"CVE-{n % 3}", "severity": ("low", "high", "unknown")[n % 3]},
    "vex": lambda n: {"advisory": f"CVE-{n % 3}", "outcome": ("fixed", "affected", "not-affected")[n % 3]},
    "licence": lambda n: {"expression": ("MIT", "GPL-3.0-only", "MIT OR Apache-2.0")[n % 3]},
    "sbom": lambda n: {"format": ("spdx", "cyclonedx")[n % 2]},
    "description": lambda n: {"tags": [f"tag-{n}"]},
    "review": lambda n: {"rating": "positive"},
}

# One step: (who, kind, subject, variant, from when in ms after START, what to do with which earlier one, block after)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(sorted(_WORDS)),
        st.sampled_from(SUBJECTS),
        st.integers(0, 5),
        st.sampled_from((0, 0, 0, 9_000, 40_000)),
        st.sampled_from(("say", "say", "change", "withdraw")),
        st.integers(0, 30),
        st.booleans(),
    ),
    max_size=24,
)


class Words(Kept):
    """`told`: (author, id, body) of each fact that stands in nobody's place yet."""

    def __init__(self, folder, **changes):
        super().__init__(folder, **changes)
        self.told = []
        self.waiting = []

    def say(self, who, kind, subject, variant=0, later=0, **fields):
        """An entry, and its id; it goes into the next block."""
        body = {
            "kind": kind,
            "subject": subject,
            "text": f"word {variant}",
            "valid_from": START + later,
            **_WORDS[kind](variant),
            **fields,
        }
        return self._put(who, body)

    def _put(self, who, body):
        from pyrsia.ledger import entries

        raw = self.entry(self.nodes[who], "fact.add", body)
        name = entries.entry_id(raw).hex()
        self.waiting.append(raw)
        if "withdrawn" not in body:
            self.told.append((who, name, body))
        return name

    def end(self, which, later=0, **fields):
        """Take an earlier word back, or change it by `fields`."""
        who, name, body = self.told.pop(which % len(self.told))
        if self.waiting:  # it must stand in an earlier block
            self.seal()
        about = {
            "kind": body["kind"],
            "subject": body["subject"],
            "text": "again",
            "valid_from": START + later,
        }
        if not fields:
            return self._put(who, {**about, "supersedes": name, "withdrawn": True})
        kept = {key: value for key, value in body.items() if key != "supersedes"}
        return self._put(who, {**kept, **about, **fields, "supersedes": name})

    def seal(self):
        raws, self.waiting = self.waiting, []
        if raws:
            self.block(*raws)

    def play(self, steps):
        """Go through a script, and say after each block that it has grown."""
        for who, kind, subject, variant, later, what, which, block in steps:
            if what == "say" or not self.told:
                self.say(who, kind, subject, variant, later)
            elif what == "withdraw":
                self.end(which, later)
            else:
                self.end(which, later, text=f"changed {variant}")
            if block:
                self.seal()
                yield self.archive.size
        self.seal()
        yield self.archive.size
