"""What clients of outside connect with: certificates are read once, and no client's own is shared."""

import os
import ssl

import pytest

from pyrsia.builds.outbound import transport
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.errors import Refusal


def test_certificates_are_read_once_until_they_change(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    plain, named = Outbound(), Outbound(cert=str(mine))

    assert transport._tls(plain, False, False) is transport._tls(plain, False, True)
    assert transport._tls(named, False, False) is transport._tls(named, False, False)
    assert transport._tls(plain, False, False) is not transport._tls(named, False, False)
    unchecked = transport._tls(plain, True, False)
    assert (unchecked.check_hostname, unchecked.verify_mode) == (False, ssl.CERT_NONE)
    checked = transport._tls(plain, False, False)
    assert (checked.check_hostname, checked.verify_mode) == (True, ssl.CERT_REQUIRED)

    before = transport._tls(named, False, False)
    (mine / "0a1b2c3d.0").write_text("another one")
    os.utime(mine, ns=(1, 1))
    assert transport._tls(named, False, False) is not before

    (tmp_path / "broken.pem").write_text("no certificate")
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            transport._tls(Outbound(cert=str(tmp_path / "broken.pem")), False, False)
        assert caught.value.code == "config-invalid"


def test_a_context_with_a_client_certificate_is_made_for_each_client(monkeypatch):
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda self, file: None)
    settings = Outbound(client_cert="mine.pem")
    shown = [transport._tls(settings, False, True) for _ in range(2)]
    assert len({*map(id, shown), id(transport._tls(settings, False, False))}) == 3
