import ssl

import pytest

from pyrsia.builds.outbound import transport

_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """No proxy and no netrc of whoever runs the tests; no reading of all authorities, which takes a while."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setattr(transport, "_tls", lambda *_: _CONTEXT)
