"""`package show`, `describe`, `withdraw`, `badge`, `keys`: what people see, what goes to the node, what is refused."""

import io
import json

import msgspec
import pytest

from pyrsia.keys import KeyPair, load_key, verify
from pyrsia.ledger import views
from pyrsia.ledger.withdrawing import signed_text
from pyrsia.serve.desks.providing import (
    AdvisoryView,
    DescriptionView,
    FileView,
    LicenceView,
    MappingView,
    Overview,
    RecheckView,
    SbomView,
    VersionView,
)
from tests.reference.fakenode import ANSWERS, NODE, FakeNode
from tests.reference.governance import Governed, mapping
from tests.unit.cli.package.test_package import MOTION
from tests.unit.serve.toyknowledge import row

OVERVIEW = "/api/v1/packages/overview"
PURL = "pkg:pypi/idna"
EVIL = "evil\x1b[31m\u202e\n"
DIGESTS = ("ab" * 32, "cd" * 32)


def file(sha256=DIGESTS[0], status="REPRODUCED", name="idna-1.0-py3-none-any.whl"):
    return FileView(
        name, sha256, 9, "REPRODUCED", status, "", ("amber", "birch"), ("coral",), 5, 7, "12" * 32, 4
    )


def version(*files, status="REPRODUCED", **more):
    return VersionView(
        f"{PURL}@1.0",
        "1.0",
        "REPRODUCED",
        status,
        more.pop("reason", ""),
        5,
        files or (file(),),
        downloads=4,
        **more,
    )


def overview(*versions, keys=(), **more):
    told = {"mapping": MappingView("https://example.org/idna", "v{version}", tuple(keys), 3), **more}
    answer = Overview(
        PURL, PURL, 120, 1_700_000_000_000, told.pop("whole", True), versions or (version(),), **told
    )
    return (200, msgspec.to_builtins(answer))


@pytest.fixture
def node():
    with FakeNode({**ANSWERS, OVERVIEW: overview()}) as made:
        yield made


def sent(node, path):
    return [json.loads(body) for method, where, _, body in node.seen if (method, where) == ("POST", path)]


# -- show --


def test_show_tells_each_version_and_what_does_not_fit_a_row(pyrsia, node):
    advisory = AdvisoryView(
        "GHSA-1", ("CVE-1",), "high", "", "1.0 lies in [0, 1.1)", False, "1.1", "amber", 8, 1_700_000_000_000, "",
        (("birch", "not-affected", 9),),
    )  # fmt: skip
    told = version(
        file(status="WITHDRAWN"), status="WITHDRAWN", reason="it leaks", advisories=(advisory,), worst="high",
        licences=(LicenceView("BSD-3-Clause", "amber", 10), LicenceView("", "birch", 13)),
        sboms=(SbomView("spdx", "birch", 11),),
        rechecks=(RecheckView("contradicts", "coral", 1_700_000_000_000, 12, "12" * 32),),
    )  # fmt: skip
    description = DescriptionView(PURL, "amber", 5, 6, "Names", ("dns",), "https://x.example")
    node.answers[OVERVIEW] = overview(told, descriptions=(description,), whole=False)

    code, out, err = pyrsia("package", "show", PURL, "--node", node.url)

    assert (code, err) == (0, "")
    for words in (
        "as of 120 entries, 2023-11-14", "more may be known", "https://example.org/idna", "no maintainer keys",
        "amber says of pkg:pypi/idna (entry 6): Names", "tags: dns", "homepage: https://x.example",
        "1, worst high", "BSD-3-Clause, in words only", "amber, birch", "coral", "1.0: WITHDRAWN: it leaks",
        "GHSA-1, CVE-1: high, fixed in 1.1; known since 2023-11-14 22:13:20, by amber (entry 8)",
        "counts as affected", "birch says not-affected (VEX, entry 9)", "spdx SBOM by birch", "contradicts",
        DIGESTS[0], "downloads here",
    ):  # fmt: skip
        assert words in out, words


@pytest.mark.parametrize(
    ("as_of", "query"), [("7", "as_of=7"), ("2026-01-31", "as_of_time=1769817600000"), (None, None)]
)
def test_show_asks_for_the_moment_that_was_written(pyrsia, node, as_of, query):
    code, out, _ = pyrsia(
        "package", "show", "idna", "--json", "--node", node.url, *(["--as-of", as_of] if as_of else [])
    )
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(overview()[1]))
    asked = node.seen[-1][1]
    assert "purl=pkg%3Apypi%2Fidna" in asked
    assert (query or "as_of") in asked if query else "as_of" not in asked


def test_strangers_words_reach_no_terminal_raw(pyrsia, node):
    told = version(
        file(name=EVIL), reason=EVIL, status="DISPUTED", licences=(LicenceView(EVIL, EVIL, 1),),
        advisories=(AdvisoryView(EVIL, (EVIL,), EVIL, EVIL, EVIL, True, EVIL, EVIL, 1, 2**62, EVIL),),
    )  # fmt: skip
    node.answers[OVERVIEW] = overview(
        told, descriptions=(DescriptionView(EVIL, EVIL, 1, 1, EVIL, (EVIL,), EVIL),)
    )
    code, out, err = pyrsia("package", "show", PURL, "--node", node.url)
    assert code == 0
    assert not {"\x1b", "\u202e"} & set(out + err)


@pytest.mark.parametrize("purl", ["pkg:", "pkg:pypi/A B", "-", "\x1b"])
def test_what_is_no_purl_is_said_before_anybody_is_asked(pyrsia, node, purl):
    assert pyrsia("package", "show", "--node", node.url, "--", purl)[0] == 2
    assert node.seen == []


def test_a_foreign_answer_is_a_refusal(pyrsia, node):
    node.answers[OVERVIEW] = (200, {"versions": 3})
    code, _, err = pyrsia("package", "show", PURL, "--node", node.url)
    assert code != 0
    assert "not what a node gives" in err


# -- describe --


def facts_of(*rows):
    """Two rows a page."""
    told = {"subject": PURL, "size": 40, "time_ms": 5, "whole": True}

    def answer(query):
        begin = int(query.get("first", 0))
        found = [msgspec.to_builtins(one) for one in rows if one.kind == query["kind"] and one.leaf >= begin]
        return told | {"facts": found[:2], "next": found[2]["leaf"] if len(found) > 2 else -1}

    return (200, answer)


def test_describe_without_words_shows_what_is_said(pyrsia, node):
    node.answers["/api/v1/facts"] = facts_of(
        row(3, "description", tags=["dns"]), row(4, "licence", expression="MIT")
    )
    code, out, _ = pyrsia("package", "describe", PURL, "--node", node.url)
    assert code == 0
    assert "description by toy (entry 3, stands)" in out
    assert "tags: dns" in out
    assert "licence by toy (entry 4, stands), pkg:pypi/idna: MIT" in out
    assert all(method == "GET" for method, *_ in node.seen)


def test_describe_shows_what_was_said_at_a_moment_and_says_nothing_in_the_past(pyrsia, node):
    node.answers["/api/v1/facts"] = facts_of(row(3, "description", tags=["dns"]))
    code, out, _ = pyrsia("package", "describe", PURL, "--as-of", "40", "--node", node.url)
    assert (code, "tags: dns" in out) == (0, True)
    assert all("as_of=40" in target for _, target, *_ in node.seen)
    before = len(node.seen)
    for words in (("--text", "x"), ("--withdraw",), ("--licence", "MIT")):
        code, _, err = pyrsia("package", "describe", PURL, "--as-of", "40", *words, "--node", node.url)
        assert (code, "in the past" in err) == (2, True)
    assert len(node.seen) == before


def test_describe_says_what_is_new_and_keeps_what_this_node_said_before(pyrsia, node, tmp_path):
    own = msgspec.structs.replace(row(3, "description", tags=["old"], homepage="https://x"), author=NODE)
    other = msgspec.structs.replace(row(5, "description", tags=["other"], namespace="n"), author="b" * 52)
    node.answers["/api/v1/facts"] = facts_of(own, other)
    node.answers["/api/v1/facts/batch"] = (
        200,
        {"outcomes": [{"outcome": "changed", "leaf": 9}, {"outcome": "added", "leaf": 10}]},
    )
    (tmp_path / "x.json").write_text('{ "stars": 3 }')

    code, out, _ = pyrsia(
        "package", "describe", PURL, "--tag", "dns", "--tag", "a", "--json-file", tmp_path / "x.json",
        "--licence", "MIT", "--node", node.url,
    )  # fmt: skip

    assert code == 0
    assert sent(node, "/api/v1/facts/batch") == [
        {
            "facts": [
                {
                    "fields": {"homepage": "https://x", "json": '{"stars":3}', "tags": ["a", "dns"]},
                    "kind": "description",
                    "subject": PURL,
                    "text": "a word",
                },
                {"fields": {"expression": "MIT"}, "kind": "licence", "subject": PURL},
            ]
        }
    ]
    assert "description of pkg:pypi/idna: changed, entry 9" in out


def test_what_this_node_said_is_found_behind_whatever_others_say(pyrsia, node):
    """Else a word too many of a stranger would wipe this node's text, and hide what it may take back."""
    others = [
        msgspec.structs.replace(row(at, "description", tags=["x"]), author="b" * 52, subject=f"{PURL}@{at}")
        for at in range(9)
    ]
    own = msgspec.structs.replace(row(20, "description", homepage="https://x"), author=NODE)
    node.answers["/api/v1/facts"] = facts_of(*others, own)
    node.answers["/api/v1/facts/batch"] = (200, {"outcomes": [{"outcome": "changed", "leaf": 21}]})

    assert pyrsia("package", "describe", PURL, "--tag", "a", "--node", node.url)[0] == 0
    assert pyrsia("package", "describe", PURL, "--withdraw", "--node", node.url)[0] == 0

    said, taken = (one["facts"] for one in sent(node, "/api/v1/facts/batch"))
    assert said[0]["fields"] == {"homepage": "https://x", "tags": ["a"]}
    assert said[0]["text"] == "a word"
    assert taken == [{"kind": "description", "subject": PURL, "withdraw": True}]


@pytest.mark.parametrize("licence", ["Not A Licence", "Apache", "NONE", "MIT AND", "\x1b[1m", "("])
def test_a_licence_that_is_none_is_said_before_anybody_is_asked(pyrsia, node, licence):
    code, _, err = pyrsia("package", "describe", PURL, "--licence", licence, "--node", node.url)
    assert (code, node.seen) == (2, [])
    assert "pyrsia facts add licence PURL --text" in " ".join(err.split())
    assert "\x1b" not in err


def test_describe_takes_back_only_what_this_node_said(pyrsia, node):
    node.answers["/api/v1/facts"] = facts_of(row(3, "description"))
    node.answers["/api/v1/status"] = (200, {**ANSWERS["/api/v1/status"][1], "node_id": "z" * 52})
    assert pyrsia("package", "describe", PURL, "--withdraw", "--node", node.url)[0] != 0
    node.answers["/api/v1/status"] = ANSWERS["/api/v1/status"]  # whose facts they are
    node.answers["/api/v1/facts/batch"] = (200, {"outcomes": [{"outcome": "withdrawn", "leaf": 9}]})
    assert pyrsia("package", "describe", PURL, "--withdraw", "--node", node.url)[0] == 0
    assert sent(node, "/api/v1/facts/batch") == [
        {"facts": [{"kind": "description", "subject": PURL, "withdraw": True}]}
    ]


def test_what_the_log_refuses_is_an_exit_code(pyrsia, node):
    node.answers["/api/v1/facts"] = facts_of()
    error = {"code": "entry-refused", "what": f"no {EVIL}", "who": "x", "do": "y"}
    node.answers["/api/v1/facts/batch"] = (200, {"outcomes": [{"outcome": "refused", "error": error}]})
    code, out, _ = pyrsia("package", "describe", PURL, "--text", "x", "--node", node.url)
    assert code == 1
    assert "refused: no evil" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"' + "x" * 2_000 + '"', "\udcff"])
def test_json_that_is_none_or_too_long_is_refused_here(pyrsia, node, tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert pyrsia("package", "describe", PURL, "--json-file", tmp_path / "x.json", "--node", node.url)[0] == 2
    assert node.seen == []


# -- withdraw --


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def key(tmp_path):
    pair = KeyPair(b"m" * 32)
    (tmp_path / "maintainer.key").write_text(pair.seed.hex() + "\n")
    return tmp_path / "maintainer.key", pair


def withdraw(pyrsia, node, *more):
    return pyrsia("package", "withdraw", f"{PURL}@1.0", "--reason", "it leaks", "--node", node.url, *more)


def test_a_maintainer_s_withdrawal_is_one_that_the_ledger_takes(pyrsia, node, key):
    """Signed by the command, carried by any member, enacted by the real ledger."""
    path, pair = key
    world = Governed()
    digest = world.published()
    world.enact({**mapping(), "keys": [pair.public.hex()]})
    node.answers[OVERVIEW] = overview(version(file(digest)), keys=[pair.public.hex()])
    node.answers["/log/genesis"] = (200, world.genesis.raw)
    node.answers["/api/v1/withdrawals"] = (200, {"entry": "cd" * 32, "state": "committed", "index": 77})

    code, out, err = withdraw(pyrsia, node, "--key", path, "--yes")

    assert (code, err) == (0, "")
    assert "withdrawn in entry 77" in out
    (body,) = sent(node, "/api/v1/withdrawals")
    assert verify(pair.public, signed_text(world.genesis.net, body), bytes.fromhex(body["sig"]))
    world.block(world.entry(world.follower, "artifact.withdraw", body))
    record = views.status(world.db.get, digest)
    assert (record["status"], record["reason"]) == ("WITHDRAWN", "it leaks")


def test_a_key_that_the_mapping_does_not_name_signs_nothing(pyrsia, node, key):
    for answer in (overview(keys=["ab" * 32]), overview(mapping=None)):
        node.answers[OVERVIEW] = answer
        code, _, err = withdraw(pyrsia, node, "--key", key[0], "--yes")
        assert code != 0
        assert "pyrsia package map --key" in err
    assert all(method == "GET" for method, *_ in node.seen)


def test_without_a_key_it_is_a_motion_for_the_validators(pyrsia, node):
    node.answers["/api/v1/motions"] = (201, {**MOTION, "kind": "artifact.withdraw"})
    code, out, _ = withdraw(pyrsia, node, "--yes")
    assert code == 0
    assert "motion 0123456789ab" in out
    assert sent(node, "/api/v1/motions") == [
        {
            "approve": True,
            "motion": {
                "kind": "artifact.withdraw",
                "purl": f"{PURL}@1.0",
                "reason": "it leaks",
                "sha256": DIGESTS[0],
            },
        }
    ]


def test_nothing_is_withdrawn_unasked(pyrsia, node, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody there to say yes
    code, _, err = withdraw(pyrsia, node)
    assert code == 2
    assert "for good" in err
    assert "it leaks" in err
    assert "no terminal to ask at: add --yes" in err
    assert withdraw(pyrsia, node, "--json")[0] == 2
    assert all(method == "GET" for method, *_ in node.seen)
    node.seen.clear()
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    code, _, err = withdraw(pyrsia, node)
    assert (code, "--yes" in err) == (130, False)
    assert all(method == "GET" for method, *_ in node.seen)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1_025, "\u20ac" * 342])
def test_a_withdrawal_has_a_reason_that_the_log_takes(pyrsia, node, reason):
    code, _, err = pyrsia("package", "withdraw", f"{PURL}@1.0", "--reason", reason, "--node", node.url)
    assert code == 2
    assert "--reason is a text of 1 to 1,024 bytes" in err
    assert node.seen == []


@pytest.mark.parametrize(
    "page", ["javascript:alert(1)", "ftp://a", "a.example", "https://", "https://a b", "http://[:"]
)
def test_a_homepage_is_a_page_on_the_web(pyrsia, node, page):
    code, _, err = pyrsia("package", "describe", PURL, "--homepage", page, "--node", node.url)
    assert code == 2
    assert "no page on the web" in err
    assert node.seen == []


def test_of_several_files_it_is_said_which(pyrsia, node):
    node.answers["/api/v1/motions"] = (201, MOTION)
    two = version(file(), file(DIGESTS[1], name="idna-1.0.tar.gz"))
    node.answers[OVERVIEW] = overview(two)

    assert withdraw(pyrsia, node, "--yes")[0] == 2
    assert withdraw(pyrsia, node, "--yes", "--sha256", "ef" * 32)[0] != 0
    assert withdraw(pyrsia, node, "--yes", "--sha256", DIGESTS[0], "--all-files")[0] == 2
    assert sent(node, "/api/v1/motions") == []
    assert withdraw(pyrsia, node, "--yes", "--sha256", DIGESTS[1])[0] == 0
    assert withdraw(pyrsia, node, "--yes", "--all-files")[0] == 0
    named = [one["motion"]["sha256"] for one in sent(node, "/api/v1/motions")]
    assert named == [DIGESTS[1], *DIGESTS]


def test_what_is_withdrawn_already_and_what_names_no_version_is_refused(pyrsia, node):
    node.answers[OVERVIEW] = overview(version(file(status="WITHDRAWN"), status="WITHDRAWN", reason="old"))
    code, _, err = withdraw(pyrsia, node, "--yes")
    assert code != 0
    assert "withdrawn already: old" in err
    assert pyrsia("package", "withdraw", PURL, "--reason", "x", "--yes", "--node", node.url)[0] == 2


# -- keys --


def test_a_maintainer_key_is_made_once_and_shown_by_its_public_half(pyrsia, tmp_path):
    path = tmp_path / "m.key"
    code, out, _ = pyrsia("package", "keys", "make", path, "--json")
    public = json.loads(out)["public"]
    assert code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path, "m").public.hex() == public
    seed = path.read_text().strip()
    again, out, err = pyrsia("package", "keys", "make", path)
    assert again != 0
    assert path.read_text().strip() == seed
    code, shown, _ = pyrsia("package", "keys", "show", path)
    assert (code, shown.splitlines()[0]) == (0, public)
    assert seed not in out + err + shown


@pytest.mark.parametrize(
    ("name", "text"), [("m.key", "xx"), ("m.key", "ab"), ("m.key", None), ("m.pem", "ab" * 32)]
)
def test_what_is_no_key_file_is_refused(pyrsia, tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert pyrsia("package", "keys", "show", tmp_path / name)[0] != 0


# -- badge --


def test_a_badge_is_markdown_for_a_readme_and_a_picture_in_a_file(pyrsia, node, tmp_path):
    code, out, _ = pyrsia("package", "badge", PURL, "--out", tmp_path / "b.svg", "--node", node.url)
    assert code == 0
    assert out.splitlines() == [
        str(tmp_path / "b.svg"),
        "[![Pyrsia: verdict](http://127.0.0.1:1/badge/pypi/idna.svg)](http://127.0.0.1:1/packages/pkg:pypi/idna)",
    ]
    assert b"REPRODUCED by 2" in (tmp_path / "b.svg").read_bytes()


def test_a_badge_of_another_metric_as_readers_reach_it(pyrsia, node):
    code, out, _ = pyrsia(
        "package",
        "badge",
        PURL,
        "--metric",
        "downloads",
        "--base",
        "https://n.example/",
        "--json",
        "--node",
        node.url,
    )
    told = json.loads(out)
    assert code == 0
    assert told["markdown"].startswith(
        "[![Pyrsia: downloads](https://n.example/badge/pypi/idna.svg?metric=downloads)]"
    )
    assert told["svg"].startswith("<svg ")


def test_a_badge_of_a_moment_is_asked_for_and_linked_as_of_its_size(pyrsia, node):
    code, out, _ = pyrsia("package", "badge", PURL, "--as-of", "2026-01-31", "--node", node.url)
    asked = [target for _, target, *_ in node.seen if target.startswith(OVERVIEW)]
    assert (code, "as_of_time=1769817600000" in asked[-1]) == (0, True)
    assert "/badge/pypi/idna.svg?as_of=" in out


def test_of_an_unknown_package_there_is_no_badge(pyrsia, node):
    error = {"code": "package-unknown", "what": "no file of it", "who": "you", "do": "build it"}
    node.answers[OVERVIEW] = (404, {"error": error})
    code, _, err = pyrsia("package", "badge", PURL, "--node", node.url)
    assert code != 0
    assert "no file of it" in err
