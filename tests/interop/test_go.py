"""A few of our logs before Go's own note and tlog packages, where they are at hand; nothing is fetched."""

import pytest

from tests.interop import checkers, logs
from tests.interop.tampering import FILES, flips

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    found = checkers.build(tmp_path_factory.mktemp("go"), offline=True)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.mark.parametrize("size", [1, 256, 513])
def test_go_finds_our_log_its_cosignature_and_its_proofs_whole(built, tmp_path, size):
    logs.of_size(size, tmp_path / "log")

    assert built.complaints(tmp_path / "log", logs.VKEY, logs.COSIGNER_VKEY) == [""]


def test_go_finds_what_a_node_exports_whole(built, tmp_path):
    vkey, size = logs.of_a_node(tmp_path / "log", tmp_path / "data")

    assert size > 200
    assert built.complaints(tmp_path / "log", vkey) == [""]


def test_go_sees_a_flipped_bit_wherever_it_is(built, tmp_path):
    logs.of_size(513, tmp_path / "log")
    complaints = [built.complaints(tmp_path / "log", logs.VKEY) for _ in flips(tmp_path / "log")]

    assert len(complaints) == len(FILES)
    assert all(text for [text] in complaints)
