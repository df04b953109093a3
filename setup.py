"""Extensions only; everything else about the package stands in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "pyrsia._native.merkle",
                ["pyrsia/_native/merkle.pyx"],
                depends=["pyrsia/_native/sha256.h"],
                extra_compile_args=["-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            )
        ],
        compiler_directives={"language_level": "3", "freethreading_compatible": True, "autotestdict": False},
    )
)
