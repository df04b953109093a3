"""Extensions only; everything else about the package stands in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

NATIVE = Path("pyrsia/_native")

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"pyrsia._native.{source.stem}",
                [str(source)],
                depends=[str(header) for header in sorted(NATIVE.glob("*.h"))],
                extra_compile_args=["-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            )
            for source in sorted(NATIVE.glob("*.pyx"))
        ],
        compiler_directives={"language_level": "3", "freethreading_compatible": True, "autotestdict": False},
    )
)
