"""A revision of Conan's of which one file is refused is shown by no list, and who asks for it is told why."""

import pytest

from pyrsia.errors import Refusal
from pyrsia.serve.conan.published import Shelves, ref_of
from pyrsia.serve.desks.views import ProjectFile, Refused

RREV, OTHER, ID, PREV = "0" * 32, "1" * 32, "2" * 40, "3" * 32
RECIPE = ("conanfile.py", "conanmanifest.txt", "conan_export.tgz")
PACKAGE = ("conaninfo.txt", "conanmanifest.txt", "conan_package.tgz")
NAMES = [f"{rrev}~{name}" for rrev in (RREV, OTHER) for name in RECIPE]
NAMES += [f"{RREV}~{ID}~{PREV}~{name}" for name in PACKAGE]


class Toy:
    """A catalogue that refuses some files of one reference."""

    def __init__(self, refused):
        self.bad = refused

    def revision(self):
        return 1

    def packages(self, start):
        return ["pkg:conan/tiny"]

    async def prepare(self, name):
        pass

    def files(self, name):
        return [_file(one) for one in NAMES if one not in self.bad]

    def refused(self, name):
        no = Refusal("denied", what="no", who="the policy", do="ask for another")
        return [Refused(_file(one), no) for one in NAMES if one in self.bad]


def _file(name):
    digest = f"{NAMES.index(name):064x}"
    return ProjectFile(filename=name, sha256=digest, size=1, upload_time_ms=1, purl="pkg:conan/tiny@1.0", name="tiny",
                       version="1.0", verdict="REPRODUCED", log_index=1, request="r", requires_python="",
                       metadata_sha256="", upstream="none", agreeing=(), dissenting=())  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_revision_with_a_refused_file_is_not_shown(name):
    found = Shelves(Toy({name})).of("", ref_of("pkg:conan/tiny", "1.0"))
    recipes = {rrev for rrev, _ in found.shelf.recipes()}
    if "~" + ID in name:
        assert (recipes, found.shelf.package_ids(RREV)) == ({RREV, OTHER}, [])
    else:
        assert recipes == {RREV, OTHER} - {name.partition("~")[0]}
        assert found.shelf.package_ids(RREV) == ([ID] if RREV in recipes else [])


def test_a_whole_one_is():
    found = Shelves(Toy(set())).of("", ref_of("pkg:conan/tiny", "1.0"))
    assert len(found.shelf.recipe_files(RREV)) == 3
    assert found.shelf.package_files(RREV, ID, PREV) == sorted(PACKAGE)
