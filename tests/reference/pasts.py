"""A governed log on disk with everything in it that becomes a record, and the same log cut short."""

from pyrsia.ledger import views
from pyrsia.node.log.archive import Archive
from pyrsia.store.rocks import Database
from pyrsia.units import KEEP_BUILDERS_MS
from pyrsia.wire.text import b32
from tests.reference.governance import (
    Governed,
    about,
    fact,
    mapping,
    member_motion,
    newcomer,
    secret,
    withdrawal,
)
from tests.reference.ledger import blob, file_record
from tests.reference.parts import Kept


class Eventful(Kept, Governed):
    """Builds of three versions, a dispute that is resolved, withdrawals both ways, members that come, change and go.

    Attributes:
        commits: all that was written, to be written again elsewhere.
        ends: the log's size behind each block.
    """

    def __init__(self, folder):
        self.commits = []
        self.start(folder)
        self._tell()

    def start(self, folder):
        super().__init__(folder, count=12, builders=11)

    def write(self, commit):
        self.commits.append(commit)
        super().write(commit)

    @property
    def ends(self):
        return [one.tree_size for one in self.commits]

    def upto(self, folder, size):
        """The same log, ended at `size`, which must be a block's end: (archive, database)."""
        database = Database.open(folder)
        archive = Archive(database, self.genesis)
        for commit in self.commits:
            if commit.tree_size <= size:
                archive.write(commit, None, None)
        assert archive.size == size
        return archive, database

    # -- what happens --

    def _tell(self):
        self.first = self._built("one")
        self.block(self.entry(self.nodes[0], "fact.add", self._advisory("1.1")))
        self.other = self._built(
            "other", version="2.0", names=("idna-2.0.tar.gz", "idna-2.0-py3-none-any.whl")
        )
        self.propose(wait=KEEP_BUILDERS_MS.value + 1)
        self.second = self._built("two")  # contradicts the first
        self.enact(about("dispute.resolve", self.sha256(self.first)))
        self.enact(member_motion("member.add", member=newcomer()))
        self.third = self._built("three", version="3.0")
        request, self.asked = self.request(version="4.0")
        self.block(request)
        self.enact(mapping())
        self.block(
            self.entry(
                self.nodes[1],
                "artifact.withdraw",
                withdrawal(self, self.sha256(self.first), "pkg:pypi/idna@1.0"),
            )
        )
        self.block(self.entry(self.nodes[1], "fact.add", self._advisory("0.9", id="CVE-2")))
        rotated = {"build": secret("new", "build", 1).public.hex()}
        self.enact(member_motion("member.rotate", node=newcomer()["node"], **rotated))
        self.enact(about("artifact.withdraw", self.sha256(self.third), "pkg:pypi/idna@3.0"))
        self.enact(member_motion("member.remove", node=newcomer()["node"]))

    def _advisory(self, fixed, id="CVE-1"):
        ranges = [{"fixed": fixed, "introduced": "0"}]
        return fact("advisory", "pkg:pypi/idna", advisory=id, severity="high", range=ranges)

    def _built(self, word, names=("idna-1.0-py3-none-any.whl",), **changes):
        request, builders = self.drawn(**changes)
        asked = views.request(self.db.get, request).request.body
        body = self.reveal(request, word, lock_sha256=asked["lock"]["sha256"])
        plain = body["outputs"][0]
        body["outputs"] = [
            {
                **plain,
                "canonical": file_record((word, name, "canonical")),
                "name": name,
                "raw": file_record((word, name)),
            }
            for name in names
        ]
        nonces = ((one, {**body, "nonce": b32(one.public).encode().hex()[:64]}) for one in builders)
        return self.run(request, list(nonces))

    def sha256(self, view):
        return view.artifact.body["sha256"]

    def status(self, view):
        return views.status(self.db.get, self.sha256(view), view.artifact.body["purl"])["status"]


PACKAGES = {
    "oci": ("pkg:docker/alpine@3.16.0", None, "alpine", "3.16.0"),
    "maven": ("pkg:maven/commons-codec/commons-codec@1.15", "commons-codec", "commons-codec", "1.15"),
    "pip": ("pkg:pypi/idna@1.0", None, "idna", "1.0"),
    "conan": ("pkg:conan/team/stable/zlib@1.3.1", "team/stable", "zlib", "1.3.1"),
}


class Mixed(Eventful):
    """A build of two files in each ecosystem, an image built twice, and one of its files withdrawn.

    Attributes:
        builds: the builds by ecosystem; `again`: the second one of the image.
    """

    def start(self, folder):
        Kept.__init__(self, folder, count=12, builders=11, capabilities=sorted(PACKAGES))

    def _tell(self):
        self.builds = {one: self._of(one, "first", f"{one}-1", f"{one}-2") for one in PACKAGES}
        self.propose(wait=KEEP_BUILDERS_MS.value + 1)
        self.again = self._of("oci", "second", "oci-1", lock={**blob("lock"), "sha256": "ab" * 32})
        self.enact(about("artifact.withdraw", self.again.artifacts[0].body["sha256"], PACKAGES["oci"][0]))

    def _of(self, ecosystem, word, *names, **changes):
        text, namespace, name, version = PACKAGES[ecosystem]
        coordinates = {"name": name, "version": version} | ({"namespace": namespace} if namespace else {})
        return self._built(word, names, coordinates=coordinates, ecosystem=ecosystem, purl=text, **changes)
