"""Upload forms of strangers: a form means the same in whatever pieces it comes, and the file is what stands in it."""

from pyrsia.errors import Refusal
from pyrsia.serve.pypi.form import Form

MAX_BYTES = 2_048
_KIND = b"multipart/form-data; boundary=b"
_WANTED = {"name": 20, "version": 20}


def check(data: bytes) -> bool:
    whole = _read(data, len(data) or 1)
    for step in (1, 3, 7):
        assert _read(data, step) == whole, f"another form in pieces of {step} bytes"
    if not isinstance(whole, tuple):
        return False
    _, filename, ended, content = whole
    if filename and ended:
        assert content in data, "the file does not stand in the form"
    return bool(filename and ended)


def _read(data: bytes, step: int) -> str | tuple[dict[str, str], str, bool, bytes]:
    """What a form says, or the code of its refusal."""
    form, content = Form(_KIND, _WANTED, "content"), b""
    try:
        for at in range(0, len(data), step):
            content += form.feed(data[at : at + step])
    except Refusal as refusal:
        return refusal.code
    return form.fields, form.filename, form.whole, content


def seeds() -> dict[str, bytes]:
    def part(name: str, text: bytes, more: str = "") -> bytes:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + text + b"\r\n"

    named = part("name", b"acme") + part("version", b"1.0")
    file = part("content", b"PK\3\4\r\n--a\r\n-", '; filename="acme-1.0.tar.gz"')
    return {
        "upload": named + file + b"--b--\r\n",
        "unwanted": part("description", b"x" * 100) + named + file + b"--b--\r\n",
        "late-field": file + named + b"--b--\r\n",
        "two-files": named + file + file + b"--b--\r\n",
        "no-end": named + file,
        "long-field": part("name", b"x" * 21) + file + b"--b--\r\n",
        "boundary-inside": named + part("content", b"\r\n--bb\r\n--b", '; filename="a"') + b"--b--\r\n",
        "quotes": named + part("content", b"1", '; filename="a\\"b"') + b"--b--\r\n",
        "star": named + part("content", b"1", "; filename*=UTF-8''%e2%82%ac") + b"--b--\r\n",
        "preamble": b"hello\r\n" + named + file + b"--b--\r\nbye",
    }
