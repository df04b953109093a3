"""Asking from the command line: many packages, files, sources; plans; logs; what the exit code says."""

import base64
import hashlib
import json
import threading

import pytest

from pyrsia.cli.builds import follow
from pyrsia.cli.builds import request as build_request
from tests.reference.fakenode import BUILD

REQUEST = BUILD["request"]


class Node:
    """Answers orders as a test says: package or purl -> (status, body)."""

    def __init__(self, node):
        self.fake, self.orders, self.answers = node, [], {}

        class Turning(dict):
            def __init__(inner, old):
                super().__init__(old)

            def get(inner, path, otherwise=None):
                if path == "/api/v1/builds" and node.seen[-1][0] == "POST":
                    order = json.loads(node.seen[-1][3])
                    self.orders.append(order)
                    called = order.get("purl") or order.get("name")
                    return self.answers.get(called, (202, asked(called)))
                return super().get(path, otherwise)

        node.answers = Turning(node.answers)
        self.url = node.url


def asked(name, **more):
    request = hashlib.sha256(name.encode()).hexdigest()
    row = {"request": request, "purl": name, "ecosystem": "pip", "known": False, "note": "", **more}
    return {"requests": [row], "plans": []}


def no(code, what):
    return 422, {"error": {"code": code, "what": what, "who": "the index", "do": "ask for another"}}


@pytest.fixture
def desk(node):
    return Node(node)


@pytest.mark.parametrize("code", ["unauthenticated", "forbidden", "no-sandbox"])
def test_a_no_that_is_about_the_asker_ends_the_command_at_once(pyrsia, desk, code):
    desk.answers = {"one": no(code, "not you"), "two": (202, asked("two"))}
    status, _, err = pyrsia("build", "request", "one", "two", "--node", desk.url)
    assert (status, [one.get("name") for one in desk.orders]) == (1, ["one"])
    assert "not you" in err


def test_every_package_is_an_order_of_its_own_and_asked_for_once(pyrsia, desk):
    words = ("idna==3.10", "pkg:maven/org.demo/lib@1", "idna==3.10", "newest")
    code, out, err = pyrsia("build", "request", *words, "--node", desk.url)
    assert code == 0
    assert [(one.get("purl"), one.get("name"), one.get("version")) for one in desk.orders] == [
        (None, "idna", "3.10"), ("pkg:maven/org.demo/lib@1", None, None), (None, "newest", ""),
    ]  # fmt: skip
    assert out.count("asked: ") == 3
    assert "planning 2 of 3: pkg:maven/org.demo/lib@1" in err


def test_one_that_cannot_be_built_is_named_with_its_reason_and_keeps_no_other_back(pyrsia, desk):
    desk.answers["bad"] = no("no-sdist", "no source archive: bad 1")
    code, out, err = pyrsia("build", "request", "bad", "good", "--node", desk.url)
    assert (code, len(desk.orders)) == (1, 2)
    assert "asked: good" in out
    assert "no: bad: no source archive: bad 1; ask for another" in out
    assert "1 of the packages could not be asked for" in err


def test_a_single_no_is_told_as_the_node_says_it(pyrsia, desk):
    desk.answers["bad"] = no("no-sdist", "no source archive: bad 1")
    code, out, err = pyrsia("build", "request", "bad", "--node", desk.url)
    assert (code, out) == (1, "")
    assert err.startswith("pyrsia: no source archive: bad 1\n  who: the index\n")


def test_a_node_that_is_not_there_ends_the_command_at_once(pyrsia):
    code, _, err = pyrsia("build", "request", "a", "b", "--node", "http://127.0.0.1:9")
    assert (code, "no node answers" in err) == (1, True)


def test_a_file_asks_for_all_it_lists_and_says_what_it_left_out(pyrsia, desk, tmp_path):
    path = tmp_path / "uv.lock"
    path.write_text(
        '[[package]]\nname = "idna"\nversion = "3.10"\nsource = { registry = "x" }\n'
        '[[package]]\nname = "app"\nversion = "1"\nsource = { virtual = "." }\n'
    )
    code, out, _ = pyrsia("build", "request", "-r", path, "--node", desk.url)
    assert code == 0
    assert desk.orders == [
        {"ecosystem": "pip", "name": "idna", "version": "3.10", "closure": False, "witness": True}
    ]
    assert "left out: uv.lock: app: its source is virtual" in out


def test_what_is_witnessed_and_what_is_known_already_is_told_as_that(pyrsia, desk):
    note = "witnessed, not rebuilt: no source archive"
    desk.answers["torch"] = (202, asked("pkg:pypi/torch@2", note=note, known=True))
    _, out, _ = pyrsia("build", "request", "torch", "--node", desk.url)
    assert "known: pkg:pypi/torch@2 (" in out
    assert note in out


def test_flags_become_fields_of_the_order_and_nothing_else(pyrsia, desk):
    pyrsia("build", "request", "a", "--no-witness", "--only-verified-inputs", "--node", desk.url)
    pyrsia("build", "request", "org.demo:lib==1", "--as", "maven", "--node", desk.url)
    pyrsia("build", "request", "pkg:pypi/torch@2", "--as", "witness", "--node", desk.url)
    assert desk.orders == [
        {"ecosystem": "pip", "name": "a", "version": "", "verified_only": True},
        {"ecosystem": "maven", "name": "org.demo:lib", "version": "1", "witness": True},
        {"purl": "pkg:pypi/torch@2", "ecosystem": "witness", "witness": True},
    ]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a", "--param", "x=y"],
        ["pkg:pypi/a@1", "--source", "SOURCE"],
        ["a", "b", "--source", "SOURCE"],
        ["a==1", "--source", "SOURCE", "--param", "no-value"],
        ["a==1", "--source", "nowhere"],
        ["a==1", "--source", "SOURCE", "--as", "witness"],
        ["a==1", "--source", "git+https://example.com/x@short"],
    ],
)
def test_a_command_that_makes_no_sense_is_refused_before_anything_is_asked(pyrsia, desk, tmp_path, words):
    (tmp_path / "SOURCE").mkdir()
    given = [str(tmp_path / "SOURCE") if word == "SOURCE" else word for word in words]
    code, _, _ = pyrsia("build", "request", *given, "--node", desk.url)
    assert (code, desk.orders) == (2, [])


def test_a_folder_of_ones_own_is_packed_sent_and_named_in_the_order(pyrsia, desk, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    sent = {}

    class Taking(type(desk.fake.answers)):
        def get(inner, path, otherwise=None):
            if path == "/api/v1/builds/sources":
                data = desk.fake.seen[-1][3]
                sent["data"], sent["path"] = data, desk.fake.seen[-1][1]
                sha256 = hashlib.sha256(data).hexdigest()
                file = sent["path"].partition("file=")[2]
                return 201, {"file": file, "manifest": "ab" * 32, "sha256": sha256, "size": len(data)}
            return super().get(path, otherwise)

    desk.fake.answers = Taking(desk.fake.answers)
    code, _, err = pyrsia(
        "build",
        "request",
        "mine==1.0",
        "--source",
        folder,
        "--as",
        "pip",
        "--param",
        "a=b",
        "--node",
        desk.url,
    )
    assert code == 0, err
    (order,) = desk.orders
    assert b"pyproject.toml" in sent["data"]
    assert order["source"]["sha256"] == hashlib.sha256(sent["data"]).hexdigest()
    assert (order["ecosystem"], order["name"], order["version"], order["parameters"]) == (
        "pip", "mine", "1.0", {"a": "b"},
    )  # fmt: skip
    assert "witness" not in order


def plan_of(purl="pkg:pypi/idna@3.10"):
    row = {
        "purl": purl,
        "ecosystem": "pip",
        "source": {"file": "idna-3.10.tar.gz", "sha256": "5" * 64, "size": 7},
        "recipe": {
            "backend": "pip/wheel@1",
            "environment": "host:" + "e" * 64,
            "sde": 1,
            "parameters": [["a", "b"]],
        },
        "target": {"arch": "x86_64", "os": "linux"},
        "lock_sha256": "6" * 64,
        "inputs": [
            {
                "name": "flit-core",
                "version": "3.9",
                "file": "flit_core.whl",
                "sha256": "7" * 64,
                "size": 1,
                "entry": 41,
            }
        ],
        "request": "",
        "note": "",
    }
    return 202, {"requests": [], "plans": [row]}


def test_a_plan_shows_recipe_lock_inputs_and_environment_before_anything_runs(pyrsia, desk):
    desk.answers["idna"] = plan_of()
    code, out, _ = pyrsia("build", "plan", "idna==3.10", "--node", desk.url)
    assert (code, desk.orders[0]["dry_run"]) == (0, True)
    for told in (
        "pkg:pypi/idna@3.10 (pip)", "idna-3.10.tar.gz", "5" * 64, "host:" + "e" * 64, "pip/wheel@1", "sde 1",
        "a = b", "6" * 64, "1 inputs", "flit_core.whl", "in the log at 41", "would be     asked for",
    ):  # fmt: skip
        assert told in out, told
    told = json.loads(pyrsia("build", "plan", "idna", "--json", "--node", desk.url)[1])
    assert told["plans"][0]["purl"] == "pkg:pypi/idna@3.10"


def test_of_many_inputs_a_plan_shows_the_first_and_says_where_the_rest_is(pyrsia, desk):
    status, plan = plan_of()
    one = plan["plans"][0]["inputs"][0]
    plan["plans"][0]["inputs"] = [{**one, "file": f"{number}.jar"} for number in range(170)]
    desk.answers["idna"] = (status, plan)
    _, out, _ = pyrsia("build", "plan", "idna", "--node", desk.url)
    told = json.loads(pyrsia("build", "plan", "idna", "--json", "--node", desk.url)[1])
    assert (out.count(".jar"), "and 158 more; --json has all" in out) == (12, True)
    assert len(told["plans"][0]["inputs"]) == 170


def test_what_is_planned_meanwhile_is_told_where_it_takes_long(pyrsia, desk, monkeypatch):
    monkeypatch.setattr(build_request, "PROGRESS_S", 0.01)
    status = desk.fake.answers["/api/v1/status"][1]
    notes = ["0123abcd: building", "looking for idna on https://index.example"]
    desk.fake.answers["/api/v1/status"] = (200, {**status, "building": notes})
    told = threading.Event()

    class Slow(type(desk.fake.answers)):
        def get(inner, path, otherwise=None):
            if path == "/api/v1/status":
                told.set()
            elif path == "/api/v1/builds":
                assert told.wait(10)
            return super().get(path, otherwise)

    desk.fake.answers = Slow(desk.fake.answers)
    code, _, err = pyrsia("build", "request", "idna", "--node", desk.url)
    assert (code, err.splitlines()) == (0, ["  looking for idna on https://index.example"])


# -- following --


def test_each_package_has_a_line_with_its_verdict_its_wait_or_its_reason():
    base = {**BUILD, "purl": "p", "agreeing": ["a", "b", "c"], "dissenting": [], "file": "f"}
    assert follow.line({**base, "verdict": "WITNESSED"}) == (
        "p: WITNESSED: same bytes seen by 3 nodes, not rebuilt f"
    )
    assert follow.line({**base, "verdict": "FAILED", "note": "failed in build", "file": ""}) == (
        "p: FAILED (3 agreeing) because failed in build"
    )
    assert follow.line({**base, "state": "drawn", "verdict": "", "waits": "2 of 3 builders"}) == (
        "p: drawn, waits for 2 of 3 builders"
    )
    assert follow.line({**base, "verdict": ""}) == "p: cancelled"


def part(text, offset, size, builder="a" * 52):
    data = base64.b64encode(text).decode()
    return 200, {"request": REQUEST, "builder": builder, "offset": offset, "size": size, "data": data}


def test_a_log_is_read_to_its_end_part_by_part_and_made_harmless(pyrsia, node, monkeypatch):
    monkeypatch.setattr(follow, "POLL_S", 0.001)
    text = b"first \x1b[31mline\nsecond"
    answers = [
        (409, {"error": {"code": "not-yet", "what": "no log yet", "who": "the rules", "do": "wait"}}),
        part(text[:9], 0, len(text)),
        part(text[9:], 9, len(text)),
    ]

    class Turning(dict):
        def get(inner, path, otherwise=None):
            return answers.pop(0) if path.endswith("/log") else super().get(path, otherwise)

    node.answers = Turning(node.answers)
    code, out, _ = pyrsia("build", "logs", REQUEST, "--follow", "--node", node.url)
    assert (code, len(out.splitlines()), "\x1b" in out) == (0, 2, False)
    assert out.endswith("second\n")


def test_without_follow_a_log_that_may_not_be_read_yet_is_a_refusal(pyrsia, node):
    no_log = {"error": {"code": "not-yet", "what": "no log yet", "who": "the rules", "do": "wait"}}
    node.answers[f"/api/v1/builds/{REQUEST}/log"] = (409, no_log)
    code, out, err = pyrsia("build", "logs", REQUEST, "--node", node.url)
    assert (code, out, err.splitlines()[0]) == (1, "", "pyrsia: no log yet")


def test_a_request_is_cancelled_or_put_first_and_the_queue_is_shown(pyrsia, node):
    node.answers[f"/api/v1/builds/{REQUEST}/cancel"] = (200, {"request": REQUEST, "leaf": 9})
    node.answers[f"/api/v1/builds/{REQUEST}/prefer"] = (200, {"queue": ["ab: new"]})
    node.answers["/api/v1/builds/queue"] = (200, {"queue": []})
    assert pyrsia("build", "cancel", REQUEST, "--node", node.url)[1] == f"cancelled: {REQUEST} (leaf 9)\n"
    assert pyrsia("build", "prefer", REQUEST, "--node", node.url)[1] == "ab: new\n"
    assert pyrsia("build", "list", "--queue", "--node", node.url)[1] == "nothing waits here\n"


def test_the_status_tells_what_waits_here(pyrsia, node):
    status = node.answers["/api/v1/status"][1]
    assert "waiting:" not in pyrsia("status", "--node", node.url)[1]
    node.answers["/api/v1/status"] = (
        200,
        {**status, "queue": ["ab: new, asked by c", "cd: retry, asked by d"]},
    )
    assert "waiting:   2 builds, next ab: new, asked by c" in pyrsia("status", "--node", node.url)[1]


OWNER = "b" * 51 + "a"  # a node id's last digit holds one bit


@pytest.mark.parametrize(
    ("purl", "words"),
    [
        (f"pkg:generic/{OWNER}/pypi/lib@1.0", ["pip install --index-url AT/pypi/OWNER/simple/ lib==1.0"]),
        ("pkg:pypi/lib@1.0", ["pip install --index-url AT/pypi/simple/ lib==1.0"]),
        (
            f"pkg:generic/{OWNER}/maven/org.demo/lib@1.0",
            ["mvn dependency:get -Dartifact=org.demo:lib:1.0 -DremoteRepositories=AT/maven2/OWNER/"],
        ),
        (
            f"pkg:generic/{OWNER}/conan/lib@1.0",
            [
                "conan remote add pyrsia-bbbbbbbb AT/conan/OWNER",
                "conan install --requires=lib/1.0 --build=never -r pyrsia-bbbbbbbb",
            ],
        ),
        (
            "pkg:conan/me/test/lib@1.0",
            [
                "conan remote add pyrsia AT/conan",
                "conan install --requires=lib/1.0@me/test --build=never -r pyrsia",
            ],
        ),
        (
            f"pkg:generic/{OWNER}/docker/team/lib@1.0",
            [
                "docker pull HOST/OWNER/team/lib:1.0",
                "skopeo copy --src-tls-verify=false docker://HOST/OWNER/team/lib:1.0 oci:lib",
            ],
        ),
    ],
)
def test_what_was_agreed_on_is_told_with_the_words_that_install_it(pyrsia, desk, purl, words):
    build = {**BUILD, "purl": purl, "verdict": "REPRODUCED"}
    request = asked("idna")["requests"][0]["request"]
    desk.fake.answers[f"/api/v1/builds/{request}"] = (200, {**build, "request": request})
    code, out, _ = pyrsia("build", "request", "idna", "--wait", "--node", desk.url)
    told = [
        one.replace("AT", desk.url).replace("HOST", desk.url[7:]).replace("OWNER", OWNER) for one in words
    ]
    assert (code, out.split("install it:\n")[-1].splitlines()) == (0, [f"  {one}" for one in told])


def test_files_that_clients_do_not_get_are_not_told_as_installed(pyrsia, desk):
    request = asked("idna")["requests"][0]["request"]
    desk.fake.answers[f"/api/v1/builds/{request}"] = (
        200, {**BUILD, "verdict": "REPRODUCED", "request": request, "served": False},
    )  # fmt: skip
    code, out, _ = pyrsia("build", "request", "idna", "--wait", "--node", desk.url)
    assert code == 0
    assert "clients do not get these files" in out
    assert "install it" not in out


def test_own_names_are_short_for_people_and_whole_for_scripts(pyrsia, node):
    whole = f"pkg:generic/{OWNER}/maven/org.demo/lib@1.0"
    node.answers["/api/v1/builds"] = (200, {"builds": [{**BUILD, "purl": whole}]})
    _, shown, _ = pyrsia("build", "list", "--node", node.url)
    _, scripted, _ = pyrsia("build", "list", "--json", "--node", node.url)
    _, one, _ = pyrsia("build", "show", BUILD["request"][:8], "--node", node.url)
    assert "own:bbbbbbbb/maven/org.demo/lib@1.0" in shown
    assert OWNER not in shown
    assert json.loads(scripted)["builds"][0]["purl"] == whole
    assert f"package   {whole}\n" in one


def test_many_files_of_unreadable_names_are_counted():
    base = {**BUILD, "purl": "p", "dissenting": []}
    assert follow.line({**base, "file": "a~b", "files": ["a~b", "c"]}).endswith("agreeing) 2 files")
    assert follow.line({**base, "file": "a.jar", "files": ["a.jar", "a.pom"]}).endswith("a.jar and 1 more")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["pyproject.toml"], "pip"), (["setup.py", "x"], "pip"), (["pom.xml"], "maven"),
        (["conanfile.py", "CMakeLists.txt"], "conan"),
    ],
)  # fmt: skip
def test_what_a_folder_is_follows_from_what_lies_in_it(pyrsia, desk, tmp_path, monkeypatch, files, kind):
    for name in files:
        (tmp_path / name).write_text("x")
    monkeypatch.setattr(
        build_request,
        "_posted_source",
        lambda *_: {"file": "f", "sha256": "a" * 64, "size": 1, "manifest": "b" * 64},
    )
    pyrsia("build", "plan", "--source", str(tmp_path), "--node", desk.url)
    assert [one["ecosystem"] for one in desk.orders] == [kind]


@pytest.mark.parametrize(
    ("files", "words", "told"),
    [
        ([], ["--as", "pip"], "has no pyproject.toml or setup.py"),
        ([], [], "has no project file"),
        (["pom.xml"], ["--as", "pip"], "it looks like one for --as maven"),
        (["setup.py", "Dockerfile"], [], "--as pip, --as oci"),
        (["Dockerfile"], [], "write NAME==TAG"),
        (["Dockerfile"], ["app"], "write NAME==TAG"),
    ],
)
def test_a_folder_that_is_no_such_source_is_refused_before_it_is_sent(
    pyrsia, desk, tmp_path, files, words, told
):
    for name in files:
        (tmp_path / name).write_text("x")
    code, _, err = pyrsia("build", "request", *words, "--source", str(tmp_path), "--node", desk.url)
    assert (code, told in err, desk.orders) == (2, True, [])


def test_a_cancel_that_comes_too_late_says_what_is_left_to_do(pyrsia, node):
    request = BUILD["request"]
    no_more = {
        "code": "entry-refused",
        "what": "after the draw nobody can",
        "who": "the author",
        "do": "sign anew",
    }
    node.answers[f"/api/v1/builds/{request}"] = (200, BUILD)
    node.answers[f"/api/v1/builds/{request}/cancel"] = (422, {"error": no_more})
    code, _, err = pyrsia("build", "cancel", request, "--node", node.url)
    assert code != 0
    assert "after the draw nobody can" in err
    assert "let it end" in err
