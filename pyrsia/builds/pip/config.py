"""Reading the user's pip configuration as `pip install` reads it, so that sources come from the user's index.

Decides: which indexes, in which order, with which certificate, proxy and timeout. Leaves out: options
of pip that name no index. `find-links`, `constraint` and `no-index` would let a local file shape a
public result, so they are reported in one sentence each and not used.

Source: pip's `configuration.py` (files and their order) and its user guide, section Configuration.
"""

import configparser
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia.errors import Refusal

DEFAULT_INDEX: Final = "https://pypi.org/simple"
DEFAULT_TIMEOUT_S: Final = 15.0  # pip's own
MAX_TIMEOUT_S: Final = 600.0

# Options that pip would honour and we do not; each is told to the user in one line.
_UNUSED: Final = ("find-links", "constraint", "no-index", "build-constraint", "uploaded-prior-to")


@dataclass(frozen=True, slots=True)
class PipConfig:
    """What our index client needs to know.

    Attributes:
        indexes: simple API roots without a slash at their end, in the order they are asked.
        cert: a CA bundle file (or folder), or None for the system's store.
        client_cert: one PEM file with key and certificate, or None.
        proxy: a proxy URL, or None for what the environment says.
        trusted_hosts: `host` or `host:port` whose certificate is not checked.
        timeout_s: patience for one connect or read.
        unused: one sentence per option that is set and not used.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S
    unused: tuple[str, ...] = ()


def config_files(env: Mapping[str, str], home: Path, prefix: Path) -> tuple[Path, ...]:
    """The files that pip would read, weakest first; not all of them need exist."""
    named = env.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return ()
    folders = [folder for folder in env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if folder]
    files = [Path(folder) / "pip" / "pip.conf" for folder in folders] + [Path("/etc/pip.conf")]
    if not (named and Path(named).exists()):
        user = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
        files += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
    files.append(prefix / "pip.conf")
    if named:
        files.append(Path(named))
    return tuple(files)


def parse(texts: Sequence[tuple[str, str]], env: Mapping[str, str]) -> PipConfig:
    """Fold configuration files and `PIP_*` variables into one answer.

    Args:
        texts: (name of the file, its text), weakest first.
        env: the environment; only `PIP_*` and the CA variables are read.

    Raises:
        Refusal: `config-invalid` for a file or value that pip would refuse too.
    """
    options: dict[str, str] = {}
    scoped: dict[str, str] = {}
    for name, text in texts:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error as error:
            raise _invalid(name, str(error).splitlines()[0]) from error
        for section, into in (("global", options), ("install", scoped)):
            if parser.has_section(section):
                into.update({_key(key): value for key, value in parser.items(section) if value})
    options |= scoped
    options |= {
        _key(name.removeprefix("PIP_")): value
        for name, value in sorted(env.items())
        if name.startswith("PIP_") and value and name not in ("PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT")
    }
    if env.get("PIP_DEFAULT_TIMEOUT"):  # pip's second name for the same option
        options.setdefault("timeout", env["PIP_DEFAULT_TIMEOUT"])
    options.setdefault("timeout", options.get("default-timeout", str(DEFAULT_TIMEOUT_S)))
    return _build(options, env)


def load(env: Mapping[str, str] | None = None) -> PipConfig:
    """The configuration of the user who runs this process."""
    env = os.environ if env is None else env
    texts: list[tuple[str, str]] = []
    for path in config_files(env, Path(env.get("HOME") or Path.home()), Path(sys.prefix)):
        try:
            texts.append((str(path), path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
            continue
        except UnicodeDecodeError as error:
            raise _invalid(str(path), "it is not UTF-8") from error
    return parse(texts, env)


def _build(options: Mapping[str, str], env: Mapping[str, str]) -> PipConfig:
    indexes = [options.get("index-url", DEFAULT_INDEX), *options.get("extra-index-url", "").split()]
    for url in indexes:
        if not url.startswith(("https://", "http://", "file:")):
            raise _invalid("pip's configuration", f"the index {url!r} is not an http, https or file: URL")
    try:
        timeout_s = float(options["timeout"])
    except ValueError as error:
        raise _invalid("pip's configuration", f"timeout is {options['timeout']!r}") from error
    if not 0 < timeout_s < float("inf"):
        raise _invalid("pip's configuration", f"timeout is {options['timeout']!r}")
    bundles = (env.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
    return PipConfig(
        indexes=tuple(dict.fromkeys(url.rstrip("/") for url in indexes)),
        cert=options.get("cert") or next((path for path in bundles if path), None),
        client_cert=options.get("client-cert"),
        proxy=options.get("proxy"),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        timeout_s=min(timeout_s, MAX_TIMEOUT_S),
        unused=tuple(
            f"pip's option {name} ({' '.join(options[name].split())}) is not used for builds"
            for name in _UNUSED
            if name in options
        ),
    )


def _key(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _invalid(where: str, why: str) -> Refusal:
    return Refusal("config-invalid", what=why, who=where, do="correct it, or point PIP_CONFIG_FILE elsewhere")
