"""The worker's own steps, called as it calls them inside: what a source holds, what is taken of a build."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.maven import fixed, worker
from pyrsia.builds.members import Hostile, Member, decode
from pyrsia.builds.unpack import serve

TOP = "<project><groupId>org.example</groupId><artifactId>top</artifactId><version>2</version>{}</project>"
CORE = (
    "<project><parent><groupId>org.example</groupId><artifactId>top</artifactId><version>2</version></parent>"
    "<artifactId>core</artifactId><packaging>{}</packaging>{}</project>"
)
MODULES = "<packaging>pom</packaging><modules><module>core</module></modules>"


def pack(
    files: Mapping[str, str | bytes], *, top: str = "top-2", time: tuple[int, ...] = (2024, 1, 2, 3, 4, 6)
) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        for path, text in files.items():
            item = zipfile.ZipInfo(f"{top}/{path}" if top else path, time)  # type: ignore[arg-type]
            packed.writestr(item, text)
    return data.getvalue()


def study(
    folder: Path, files: Mapping[str, str | bytes], upstream: bytes = b"", **asked: str
) -> dict[str, Any]:
    (folder / "source.zip").write_bytes(pack(files))
    (folder / "upstream.zip").write_bytes(upstream)
    job = {"group": "", "artifact": "", "version": "", "source": "source.zip"} | asked
    return worker.study(job | {"upstream": "upstream.zip" if upstream else ""}, folder, folder)


def test_a_source_says_whose_it_is_and_where_a_module_stands(tmp_path: Path):
    files = {"pom.xml": TOP.format(MODULES), "core/pom.xml": CORE.format("jar", "")}

    whole = study(tmp_path, files)
    core = study(tmp_path, files, group="org.example", artifact="core", version="2")

    assert (whole["name"], whole["version"], whole["packaging"], whole["module"]) == ("top", "2", "pom", "")
    assert (core["name"], core["version"], core["packaging"], core["module"]) == ("core", "2", "jar", "core")
    assert core["newest"] == 1_704_164_646


def test_upstream_s_times_come_before_those_of_the_source(tmp_path: Path):
    upstream = pack({"a": "b"}, top="", time=(2020, 1, 1, 0, 0, 0))

    assert study(tmp_path, {"pom.xml": TOP.format("")}, upstream)["newest"] == 1_577_836_800


def test_test_data_that_is_no_project_file_does_not_disturb(tmp_path: Path):
    files = {
        "pom.xml": TOP.format(""),
        "src/test/pom.xml": "<broken",
        "x/pom.xml": b"\xff\xfe",
        "y/pom.xml": "<other/>",
    }

    assert study(tmp_path, files)["name"] == "top"


@pytest.mark.parametrize(
    "where", ["<build><plugins>{}</plugins></build>", "<profiles><profile>{}</profile></profiles>"]
)
def test_only_a_project_that_always_packs_its_sources_does_so_by_itself(tmp_path: Path, where: str):
    plugin = "<plugin><artifactId>maven-source-plugin</artifactId></plugin>"
    found = study(tmp_path, {"pom.xml": TOP.format(where.format(plugin))})

    assert found["attaches_sources"] is ("<build>" in where)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"README": ""}, "no pom.xml"),
        ({"pom.xml": "<broken"}, "no pom.xml"),
        ({"pom.xml": TOP.format("")}, "no project"),
    ],
)
def test_the_lie_a_source_without_the_project_is_refused(tmp_path: Path, files: dict[str, str], why: str):
    with pytest.raises(Hostile, match=why):
        study(tmp_path, files, group="org.example", artifact="core", version="2")


def outputs(
    folder: Path, files: Mapping[str, str], packaging: str = "jar", final_name: str = ""
) -> dict[str, str]:
    module, work = folder / "module", folder / "work"
    work.mkdir()
    for path, text in files.items():
        (module / path).parent.mkdir(parents=True, exist_ok=True)
        (module / path).write_text(text)
    job = {"artifact": "core", "version": "2", "packaging": packaging, "final_name": final_name}
    names = worker._outputs(job, module, work)
    assert names == sorted(path.name for path in (work / "out").iterdir())
    return {name: (work / "out" / name).read_text() for name in names}


def test_outputs_have_a_repository_s_names_whatever_the_build_calls_them(tmp_path: Path):
    files = {
        "pom.xml": "p",
        "target/mine.jar": "j",
        "target/mine-sources.jar": "s",
        "target/mine-tests.jar": "t",
    }

    assert outputs(tmp_path, files, final_name="mine") == {
        "core-2.jar": "j",
        "core-2-sources.jar": "s",
        "core-2.pom": "p",
    }


def test_the_pom_is_the_one_that_a_release_would_publish(tmp_path: Path):
    files = {"pom.xml": "p", ".flattened-pom.xml": "flat", "target/core-2.war": "w"}

    assert outputs(tmp_path, files, packaging="war") == {"core-2.war": "w", "core-2.pom": "flat"}


def test_a_project_of_poms_has_a_pom(tmp_path: Path):
    assert outputs(tmp_path, {"pom.xml": "p"}, packaging="pom") == {"core-2.pom": "p"}


def test_the_only_jar_is_the_jar_and_of_two_none(tmp_path: Path):
    files = {
        "pom.xml": "p",
        "target/${x}.jar": "j",
        "target/original-x.jar": "o",
        "target/x-javadoc.jar": "d",
    }
    assert outputs(tmp_path, files, final_name="${x}")["core-2.jar"] == "j"

    (tmp_path / "again").mkdir()
    with pytest.raises(Hostile, match="2 files"):
        outputs(tmp_path / "again", {"pom.xml": "p", "target/a.jar": "a", "target/b.jar": "b"})


def test_an_inspection_tells_all_of_a_build_s_files_and_names_what_is_not_compared(tmp_path: Path):
    manifest = "Manifest-Version: 1.0\r\n\r\n"
    jar = pack({"META-INF/MANIFEST.MF": manifest, "words.txt": "w", "A.class": "c"}, top="")
    (tmp_path / "source.zip").write_bytes(pack({"pom.xml": TOP.format(""), "src/words.txt": "w"}))
    (tmp_path / "0.ours").write_bytes(jar)
    (tmp_path / "0.theirs").write_bytes(jar + b"more")
    (tmp_path / "1.ours").write_text(TOP.format(""))
    (tmp_path / "1.theirs").write_text(TOP.format(" "))
    told = [
        {"name": "top-2.jar", "file": "0.ours", "upstream": "0.theirs"},
        {"name": "top-2.pom", "file": "1.ours", "upstream": "1.theirs"},
    ]
    job = {"operation": "inspect", "source": "source.zip", "files": told, "epoch": 1_700_000_000}
    (tmp_path / "job.json").write_text(json.dumps(job))

    assert serve(worker.OPERATIONS, tmp_path, tmp_path) == 0

    first, second = json.loads((tmp_path / "result.json").read_text())["files"]
    assert (first["containment"], first["missing"], first["relation"]) == (
        "partial",
        ["A.class"],
        "different",
    )
    assert "trailing" in first["upstream_reason"]
    assert not (tmp_path / "0.upstream.members").exists()
    assert (second["containment"], second["relation"], second["upstream_reason"]) == ("full", "different", "")
    digest = hashlib.sha256(TOP.format("").encode()).hexdigest()
    assert decode((tmp_path / "1.raw.members").read_bytes()) == (
        Member("top-2.pom", digest, len(TOP.format("")), False),
    )
    assert {one.path for one in decode((tmp_path / "0.raw.members").read_bytes())} == {
        "META-INF/MANIFEST.MF", "words.txt", "A.class",
    }  # fmt: skip


def test_lists_and_parents_of_a_repository_are_read(tmp_path: Path):
    (tmp_path / "list.xml").write_text(
        "<metadata><versioning><release>2</release><versions><version>1</version><version>2</version></versions>"
        "</versioning></metadata>"
    )
    (tmp_path / "pom.xml").write_text(CORE.format("jar", ""))
    (tmp_path / "other.xml").write_text("<project/>")

    assert worker.versions({"metadata": "list.xml"}, tmp_path, tmp_path) == {
        "release": "2",
        "versions": ["1", "2"],
    }
    assert worker.pom({"pom": "pom.xml"}, tmp_path, tmp_path)["parent"] == ("org.example", "top", "2")
    with pytest.raises(Hostile, match="list of versions"):
        worker.versions({"metadata": "other.xml"}, tmp_path, tmp_path)


def test_maven_is_told_one_mirror_and_one_version_of_its_own_plug_in(tmp_path: Path):
    settings = worker._settings("http://127.0.0.1:7999/central")
    fixed.lay(tmp_path)
    (listed,) = tmp_path.rglob("*.xml")

    assert settings.count("<mirror>") == 1
    assert "<mirrorOf>*</mirrorOf>" in settings
    assert set(worker.poms.read_xml(settings.encode()).get("mirrors/mirror/url").split()) == {
        "http://127.0.0.1:7999/central"
    }
    assert listed.name == "maven-metadata-central.xml"
    assert listed.stat().st_mode & 0o777 == 0o644
    assert worker.poms.read_xml(listed.read_bytes()).get("versioning/release") == fixed.VERSION


@pytest.mark.parametrize(
    ("epoch", "text"), [(315_532_802, "1980-01-01T00:00:02Z"), (1_683_838_180, "2023-05-11T20:49:40Z")]
)
def test_the_time_is_told_as_maven_reads_it(epoch: int, text: str):
    assert worker._iso(epoch) == text


# -- what a project needs at run time --

NEED = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId>{}</dependency>"


def pom_of(name: str, *needs: str, more: str = "") -> str:
    return (
        f"<project><groupId>org.example</groupId><artifactId>{name}</artifactId><version>1</version>{more}"
        f"<dependencies>{''.join(needs)}</dependencies></project>"
    )


def need(name: str, version: str = "1", more: str = "", group: str = "org.example") -> str:
    return NEED.format(group, name, (f"<version>{version}</version>" if version else "") + more)


def test_what_a_project_leads_to_is_in_the_versions_that_maven_fetched_dependencies_first(tmp_path: Path):
    """Managed versions, parents in the source and in the repository; no tests, no optional ones, no cycle's end."""
    top = pom_of(
        "top", need("shared"), more="<packaging>pom</packaging><modules><module>core</module></modules>"
    )
    core = (
        "<project>" + "<parent><groupId>org.example</groupId><artifactId>top</artifactId><version>1</version>"
    )
    core += "</parent><artifactId>core</artifactId><dependencies>"
    core += need("a", "${managed}", group="${project.groupId}") + need("sibling") + need("late", "1")
    core += need("tests", "1", "<scope>test</scope>") + need("extra", "1", "<optional>true</optional>")
    core += "</dependencies></project>"
    value = study(
        tmp_path, {"pom.xml": top, "core/pom.xml": core}, group="org.example", artifact="core", version="1"
    )
    house = (
        "<parent><groupId>org.example</groupId><artifactId>house</artifactId><version>1</version></parent>"
    )
    files = {
        "a": pom_of("a", need("b", ""), more=house),
        "b": pom_of("b", need("a", "2")),
        "house": pom_of("house", need("c", "[1]")),
        "c": "this is no project file",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    jars = ["a 2", "b 1", "c 1", "shared 1", "late 1", "late 2", "tests 1", "extra 1", "plugin 1"]
    job = {
        "needs": value["needs"],
        "above": value["above"],
        "poms": [["org.example", name, "2" if name == "a" else "1", name] for name in files],
        "jars": [["org.example", *one.split()] for one in jars],
    }

    found = worker.needs(job, tmp_path, tmp_path)["needs"]

    assert [(name, version) for _, name, version in found] == [
        ("b", "1"), ("c", "1"), ("a", "2"), ("late", "1"), ("shared", "1"),
    ]  # fmt: skip
