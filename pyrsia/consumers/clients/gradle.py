"""Gradle: an init script of ours, which every build of this user runs.

It puts the node before a build's own repositories, for its plugins, its settings and its projects; with `--strict` it
takes every other remote repository out. Gradle itself, which a wrapper downloads, does not come through the node.

Source: Gradle's user manual, "Initialization scripts"; docs/setup.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, text_of

_NAME: Final = "pyrsia.init.gradle"
# `beforeSettings` is of Gradle 6.0, `allowInsecureProtocol` too, `dependencyResolutionManagement` of 6.8.
_SCRIPT: Final = """\
// Written by `pyrsia setup gradle`; `pyrsia setup gradle --undo` takes it back.
def pyrsiaNode = '%(node)s/maven2/'
def pyrsiaFirst = { handler ->
    if (handler.findByName('pyrsia') != null) return
    def own = handler.maven { one ->
        one.name = 'pyrsia'
        one.url = pyrsiaNode%(plain)s
    }
    handler.remove(own)
    handler.addFirst(own)%(only)s
}
def pyrsiaSettings = { settings ->
    if (settings.hasProperty('buildscript')) pyrsiaFirst(settings.buildscript.repositories)
    pyrsiaFirst(settings.pluginManagement.repositories)%(portal)s
}
def pyrsiaBefore = gradle.metaClass.respondsTo(gradle, 'beforeSettings', Closure)
if (pyrsiaBefore) gradle.beforeSettings { settings -> pyrsiaSettings(settings) }
gradle.settingsEvaluated { settings ->
    if (!pyrsiaBefore) pyrsiaSettings(settings)
    if (settings.hasProperty('dependencyResolutionManagement'))
        pyrsiaFirst(settings.dependencyResolutionManagement.repositories)
}
gradle.allprojects { project ->
    pyrsiaFirst(project.buildscript.repositories)
    // A project without repositories uses those of its settings, and shall go on to.
    project.afterEvaluate { if (!project.repositories.empty) pyrsiaFirst(project.repositories) }
}
"""
_PLAIN: Final = """
        if (one.hasProperty('allowInsecureProtocol')) one.allowInsecureProtocol = true"""
# What Gradle would use if no repository of plugins were named.
_PORTAL: Final = """
    def pyrsiaPlugins = settings.pluginManagement.repositories
    if (pyrsiaPlugins.size() == 1) pyrsiaPlugins.gradlePluginPortal()"""
_ONLY: Final = """
    handler.all { one ->
        def local = one.hasProperty('url') && one.url != null && one.url.scheme == 'file'
        if (one.name != 'pyrsia' && !local) {
            println "pyrsia: left out, for it goes past the node: ${one.name}"
            handler.remove(one)
        }
    }"""


def _folder(place: Place) -> Path:
    return place.folder("GRADLE_USER_HOME", ".gradle") / "init.d"


def _own(place: Place) -> Path:
    return place.file if place.file is not None else _folder(place) / _NAME


def _reads(place: Place) -> Sequence[Path]:
    return (
        _own(place),
        _folder(place) / "*.gradle",
        _folder(place) / "*.gradle.kts",
        _folder(place).parent / "init.gradle",
    )


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    text = _SCRIPT % {
        "node": want.node,
        "plain": _PLAIN if want.plain else "",
        "only": _ONLY if want.strict else "",
        "portal": "" if want.strict else _PORTAL,
    }
    holes = [
        Hole(f"{path} is another init script, which may add repositories", f"look into {path}")
        for path in seen
        if path != own and "repositories" in text_of(path, seen)
    ]
    if not want.strict:
        holes.insert(0, Hole("a build's own repositories are asked for what the node lacks", "use --strict"))
    told = ("a build's own repositories",) if want.strict else ()
    advice = (
        "`gradlew` downloads Gradle itself from where gradle-wrapper.properties says: check distributionSha256Sum",
        "a build may forbid repositories of init scripts (FAIL_ON_PROJECT_REPOS): it then says so",
    )
    return Plan((Edit(own, text.encode()),), tuple(holes), told, advice)


def _now(place: Place, seen: Seen) -> Sequence[str]:
    text = text_of(_own(place), seen)
    start = "def pyrsiaNode = '"
    line = next((one for one in text.splitlines() if one.startswith(start)), "")
    return [line.removeprefix(start).rstrip("'")] if line else ["what each build says"]


KIND: Final = Kind("gradle", "maven", ("gradle",), _reads, _plan, _now)
