"""How each client learns to log in, and how the guard's refusals read at `/v2/`."""

import base64
import sys
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import PUSHES, Images, client, code_of, shelf

DOCKERD = {"user-agent": "docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 kernel/6 os/linux arch/amd64"}


@pytest.fixture
def node(tmp_path: Path) -> Images:
    return Images(tmp_path)


async def test_the_root_says_yes_to_everybody_and_names_basic_for_those_who_decide_there(node: Images):
    async with client(node) as web:
        anyone = await web.get("/v2/")
        empty = await web.get(
            "/v2/", headers={"authorization": "Basic Og=="}
        )  # containers/image, without a login
        known = await web.get("/v2/", auth=("u", PUSHES))
        head = await web.head("/v2/")

    assert (anyone.status_code, anyone.json()) == (200, {})
    assert anyone.headers["docker-distribution-api-version"] == "registry/2.0"
    assert anyone.headers["www-authenticate"] == 'Basic realm="pyrsia"'
    assert (empty.status_code, known.status_code, head.status_code) == (200, 200, 200)
    assert int(head.headers["content-length"]) == 2


async def test_dockerd_is_sent_for_a_token_and_pulls_with_one_that_is_none(node: Images):
    node.image("app", "1")
    async with client(node) as web:
        asked = await web.get("/v2/", headers=DOCKERD)
        challenge = asked.headers["www-authenticate"]
        realm = challenge.partition('realm="')[2].partition('"')[0]
        told = (await web.get(realm, params={"service": "pyrsia", "scope": "repository:app:pull"})).json()
        bearer = {**DOCKERD, "authorization": f"Bearer {told['token']}"}
        pulled = await web.get("/v2/app/manifests/1", headers=bearer)
        pushed = await web.post("/v2/mine/blobs/uploads/", headers=bearer)

    assert code_of(asked) == (401, "UNAUTHORIZED")
    assert challenge.startswith('Bearer realm="http://127.0.0.1:')
    assert told["token"] == told["access_token"] == "anonymous"
    assert pulled.status_code == 200
    assert code_of(pushed) == (401, "UNAUTHORIZED")


async def test_dockerd_logs_in_with_a_password_that_is_then_its_token(node: Images, tmp_path: Path):
    basic = base64.b64encode(f"anyone:{PUSHES}".encode()).decode()
    with shelf(tmp_path) as local:
        async with client(node, local) as web:
            told = await web.get("/v2/_token", headers={"authorization": f"Basic {basic}"})
            bearer = {**DOCKERD, "authorization": f"Bearer {told.json()['token']}"}
            login = await web.get("/v2/", headers=bearer)
            pushed = await web.post("/v2/mine/blobs/uploads/", headers=bearer)
            wrong = await web.get("/v2/_token", headers={"authorization": "Basic dTpub25l"})

    assert (told.headers["cache-control"], login.status_code, pushed.status_code) == ("no-store", 200, 202)
    assert code_of(wrong) == (401, "UNAUTHORIZED")


async def test_what_the_guard_refuses_reads_as_the_specification_writes_it(node: Images):
    async with client(node) as web:
        host = await web.get("/v2/", headers={"host": "registry.evil.example"})
        site = await web.post("/v2/app/blobs/uploads/", headers={"origin": "https://evil.example"})
        token = await web.get("/v2/app/tags/list", headers={"authorization": "Bearer stolen"})
        elsewhere = await web.get("/pypi/simple/", headers={"authorization": "Bearer stolen"})

    assert host.status_code == 421
    assert host.json()["errors"][0]["detail"]["code"] == "wrong-host"
    assert code_of(site) == (403, "DENIED")
    assert code_of(token) == (401, "UNAUTHORIZED")
    assert token.headers["www-authenticate"] == 'Basic realm="pyrsia"'
    assert "errors" not in elsewhere.json()


async def test_a_refusal_s_text_moves_nothing_in_a_terminal(node: Images):
    async with client(node) as web:
        answer = await web.get("/v2/app/manifests/sha256:%1b[31mred")
        assert isinstance(answer, httpx.Response)

    assert code_of(answer) == (400, "DIGEST_INVALID")
    assert "\x1b" not in answer.json()["errors"][0]["message"]
