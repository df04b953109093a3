"""Profiles: what an environment gives, what a recipe's parameters may set."""

import pytest

from pyrsia.builds.conan import profile
from pyrsia.errors import Malformed

FACTS = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "compiler": "gcc-12.2.0"}


def test_without_parameters_release_and_debug_are_built():
    assert profile.checked({}) == {"build_type": "Debug Release"}
    assert set(profile.profiles(FACTS, profile.checked({}))) == {"Debug", "Release"}


def test_a_profile_names_the_environments_compiler_and_keeps_paths_out():
    text = profile.profiles(FACTS, {"build_type": "Debug", "option.shared": "True"})["Debug"]

    lines = text.splitlines()
    assert lines[1:5] == ["os=Linux", "arch=x86_64", "compiler=gcc", "compiler.version=12"]
    assert {"compiler.cppstd=gnu17", "compiler.libcxx=libstdc++11", "build_type=Debug"} <= set(lines)
    assert "@NAME@/*:shared=True" in lines
    for kind in ("cflags", "cxxflags"):  # Conan's home last: the last map that fits is taken
        assert f'tools.build:{kind}=["-ffile-prefix-map=/build=.", "-ffile-prefix-map=@HOME@=."]' in lines


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"build_type": "Release  Debug Release"}, {"build_type": "Debug Release"}),
        ({"build_type": "Release", "cppstd": "20"}, {"build_type": "Release", "cppstd": "20"}),
        ({"subdir": "packaging/conan"}, {"build_type": "Debug Release", "subdir": "packaging/conan"}),
    ],
)
def test_parameters_have_one_form(told, kept):
    assert profile.checked(told) == kept


@pytest.mark.parametrize(
    "told",
    [
        {"build_type": ""},
        {"build_type": "Fast"},
        {"cppstd": "c++17"},
        {"option.shared": "True\n[conf]\ntools.build:skip_test=True"},
        {"option.shared": ""},
        {"option.x y": "1"},
        {"conf.tools.build": "x"},
        {"subdir": "../up"},
        {"subdir": "/abs"},
        {"subdir": "a//b"},
        {"subdir": "a/.."},
    ],
)
def test_what_is_no_parameter_is_refused_with_a_sentence(told):
    with pytest.raises(Malformed, match=r"is |are "):
        profile.checked(told)


@pytest.mark.parametrize(
    "changed", [{"compiler": "clang-16.0"}, {"compiler": ""}, {"arch": "s390x"}, {"os": "windows"}]
)
def test_an_environment_without_words_in_conan_is_refused(changed):
    with pytest.raises(Malformed):
        profile.profiles({**FACTS, **changed}, {"build_type": "Release"})


def test_an_old_compiler_has_its_own_default_standard():
    text = profile.profiles({**FACTS, "compiler": "gcc-10"}, {"build_type": "Release"})["Release"]

    assert "compiler.cppstd=gnu14" in text.splitlines()
