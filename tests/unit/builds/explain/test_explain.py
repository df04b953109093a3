"""Why two results differ: each usual cause is named, none is invented, and hostile contents cost little."""

import gzip
import io
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.explain import causes, report, worker
from pyrsia.builds.explain.report import SENTENCES, Pair, Said

TIME = (2024, 1, 1, 0, 0, 0)


def zipped(members, *, time=TIME, mode=0o100644, method=zipfile.ZIP_STORED, level=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, time)
            info.external_attr, info.compress_type = mode << 16, method
            archive.writestr(info, data, compresslevel=level)
    return out.getvalue()


def tarred(members, *, mtime=5):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def compared(folder, first, second, ending=".whl"):
    names = [f"{side}-file{ending}" for side in ("first", "second")]
    for name, data in zip(names, (first, second), strict=True):
        (folder / name).write_bytes(data)
    return worker.told({"first": names[0], "second": names[1]}, folder, folder)


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (b"a\nb\nc\n", b"c\na\nb\n", "order"),
        (b"built 2024-05-01T10:00:00Z\n", b"built 2026-11-27T09:31:12Z\n", "date"),
        (b"on Mon, May 12 at 10:11:12", b"on Fri, Nov 27 at 08:09:10", "date"),
        (b"stamp 1714557600", b"stamp 1795769999", "date"),
        (b"from /build/x/y.c", b"from /home/me/pkg/src/y.c", "path"),
        (b"Generator: setuptools (75.1.0)", b"Generator: setuptools (80.9.0)", "version"),
        (b"id 3fe8f3c9-aaaa-4bbb-8ccc-0123456789ab", b"id 9c2d11ee-1234-4321-8aaa-ba9876543210", "random"),
        (b"\x7fELF\0\0/build/dir-one/main.c\0\0", b"\x7fELF\0\0/work/elsewhere/main.c\0\0", "path"),
        (b"x = 1\n", b"x = 1\n# altered by somebody\n", "unknown"),
        (b"", b"x", "unknown"),
    ],
)
def test_each_usual_cause_is_told_from_the_lines_that_differ(first, second, name):
    found = causes.cause(first, second)
    assert (found.name, bool(found.shown)) == (name, True)


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_two_contents_have_a_cause_and_few_short_lines(first, second):
    found = causes.cause(first, second)
    assert found.name in {"order", "date", "path", "version", "random", "unknown"}
    assert len(found.shown) <= causes.MAX_SHOWN
    assert all(len(line) <= causes.MAX_LINE for pair in found.shown for line in pair)


@pytest.mark.parametrize("piece", [b"1.", b"/a", b"0123456789abcdef-", b"2024-", b"0x", b"9" * 9])
def test_the_lie_a_long_line_of_almost_matches_is_looked_at_once(piece):
    """Patterns with a bounded number of steps for each place: what would take minutes else takes a moment."""
    data = piece * (200_000 // len(piece))
    assert causes.cause(data, data + b"!").name in {"unknown", "path", "random", "version", "date"}


def test_members_that_one_side_lacks_and_contents_and_modes_are_told_apart(tmp_path):
    first = zipped({"a.py": b"x = 1\n", "b.py": b"built 2024-01-01", "only.py": b""})
    second = zipped({"a.py": b"x = 1\n", "b.py": b"built 2025-02-02", "new.py": b""})
    answer = compared(tmp_path, first, second)
    assert [(one["path"], one["how"], one.get("cause", "")) for one in answer["differing"]] == [
        ("b.py", "content", "date"),
        ("new.py", "only-second", ""),
        ("only.py", "only-first", ""),
    ]
    assert (answer["members"], answer["more"], answer["packing"]) == (4, 0, [])


@pytest.mark.parametrize(
    ("changes", "packing"),
    [
        ({"time": (2025, 1, 1, 0, 0, 0)}, ["time"]),
        ({"mode": 0o100664}, ["mode"]),
        ({"method": zipfile.ZIP_DEFLATED}, ["compression"]),
        ({"mode": 0o100664, "time": (2025, 1, 1, 0, 0, 0)}, ["mode", "time"]),
    ],
)
def test_what_differs_in_the_packing_alone_is_named(tmp_path, changes, packing):
    members = {"a.py": b"x = 1\n" * 50, "b.py": b"y"}
    answer = compared(tmp_path, zipped(members), zipped(members, **changes))
    assert (answer["differing"], answer["packing"]) == ([], packing)


def test_the_order_of_packing_is_named(tmp_path):
    answer = compared(tmp_path, zipped({"a": b"1", "b": b"2"}), zipped({"b": b"2", "a": b"1"}))
    assert (answer["differing"], answer["packing"]) == ([], ["order"])


def test_a_tar_is_compared_by_member_and_a_plain_file_as_itself(tmp_path):
    one, other = tarred({"p/a.c": b"int x;"}), tarred({"p/a.c": b"int y;"}, mtime=9)
    answer = compared(tmp_path, gzip.compress(one), gzip.compress(other), ".tar.gz")
    assert [each["path"] for each in answer["differing"]] == ["p/a.c"]
    assert answer["packing"] == ["time"]
    plain = compared(tmp_path, b"<v>1.0</v>", b"<v>1.1</v>", ".pom")
    assert [(each["how"], each["cause"]) for each in plain["differing"]] == [("content", "version")]


def test_an_archive_that_may_not_be_read_is_compared_as_bytes_and_says_why(tmp_path):
    answer = compared(tmp_path, b"no zip at all", zipped({"a": b"1"}))
    assert answer["unread"]
    assert answer["differing"][0]["how"] == "content"


def test_more_members_than_anybody_reads_are_counted(tmp_path):
    many = {f"m{at}": b"1" for at in range(150)}
    answer = compared(tmp_path, zipped(many), zipped(dict.fromkeys(many, b"2")))
    assert (len(answer["differing"]), answer["more"]) == (100, 50)


# -- the report --


def view(reveals, *, verdict=None, builders=("a", "b", "c")):
    placed = [SimpleNamespace(author=who, body=body, round=0) for who, body in reveals.items()]
    return SimpleNamespace(
        draw=SimpleNamespace(body={"builders": list(builders)}),
        reveals=placed,
        round=0,
        verdict=verdict and SimpleNamespace(body=verdict),
    )


def revealed(raw="11", *, phase=""):
    outputs = [] if phase else [{"name": "t.whl", "raw": {"sha256": raw}}]
    return {
        "isolation": "namespace",
        "outcome": "failed" if phase else "built",
        "outputs": outputs,
        "phase": phase,
    }


def test_each_drawn_builder_is_told_with_its_group_its_outcome_and_why():
    verdict = {"agreeing": ["a", "c"], "dissenting": [{"builder": "b", "why": "other contents"}]}
    found = report.said(
        view({"a": revealed(), "b": revealed("22"), "c": revealed()}, verdict=verdict), {"a": "org"}
    )
    assert [(one.builder, one.group, one.outcome, one.agrees, one.why) for one in found] == [
        ("a", "A", "built", True, ""),
        ("b", "B", "built", False, "other contents"),
        ("c", "A", "built", True, ""),
    ]
    ((first, second),) = report.to_compare(found)
    assert (first.builder, second.builder) == ("a", "b")


def test_silent_failed_and_waiting_builders_are_not_compared():
    waiting = report.said(view({"a": revealed()}), {})
    assert [one.outcome for one in waiting] == ["built", "waiting", "waiting"]
    ended = report.said(view({"a": revealed(phase="build")}, verdict={"agreeing": [], "dissenting": []}), {})
    assert [one.outcome for one in ended] == ["failed", "silent", "silent"]
    assert report.to_compare(ended) == ()
    words = report.sentences(ended, [])
    assert any("failed: build" in one for one in words)
    assert any("said nothing" in one for one in words)


def test_every_cause_has_its_sentence_and_a_stranger_s_answer_adds_none():
    first, second = (Said(who, "", who.upper(), "built", "namespace", True, "") for who in "ab")
    lines = [["\x1b[31mred", "x" * 900]]
    told = report.pair(
        "t.whl",
        first,
        second,
        {
            "members": 9,
            "more": -4,
            "packing": ["time", "mode", "praise", 7],
            "differing": [
                *(
                    {"path": f"p{at}", "how": "content", "cause": name, "shown": lines}
                    for at, name in enumerate(SENTENCES)
                ),
                {"path": "evil", "how": "content", "cause": "praise"},
                "no object",
            ],
        },
    )
    assert {one.cause for one in told.differing} == set(SENTENCES)
    assert (told.more, told.packing) == (0, ("time", "mode"))
    assert all(
        "\x1b" not in line and len(line) <= 200
        for one in told.differing
        for pair in one.shown
        for line in pair
    )
    words = report.sentences((first, second), [told])
    assert all("{" not in line for line in words)
    assert any("only A packed it" in line for line in words)


@pytest.mark.parametrize("answer", [{}, {"differing": 7, "packing": None}, {"members": True, "more": "9"}])
def test_an_answer_without_form_is_an_empty_comparison(answer):
    first, second = (Said(who, "", who.upper(), "built", "namespace", True, "") for who in "ab")
    assert report.pair("t.whl", first, second, answer) == Pair("t.whl", "A", "B")


def outputs(*rows):
    return [{"name": name, "raw": {"sha256": digest}} for name, digest in rows]


def test_files_whose_names_hold_digests_are_matched_by_the_rest_of_their_names():
    ours = outputs(
        ("manifest~1.0", "m1"),
        (f"sha256~{'1' * 64}", "c1"),
        (f"sha256~{'2' * 64}", "same"),
        (f"{'a' * 32}~{'b' * 40}~{'c' * 32}~conan_package.tgz", "p1"),
        ("only.jar", "j"),
    )
    theirs = outputs(
        ("manifest~1.0", "m2"),
        (f"sha256~{'2' * 64}", "same"),
        (f"sha256~{'3' * 64}", "c2"),
        (f"{'a' * 32}~{'b' * 40}~{'d' * 32}~conan_package.tgz", "p2"),
    )
    found = [
        (one and one["raw"]["sha256"], other and other["raw"]["sha256"])
        for one, other in report.matched(ours, theirs)
    ]
    assert found == [("p1", "p2"), ("m1", "m2"), ("j", None), ("c1", "c2")]
    assert report.matched(ours, ours) == []
