"""Certificates of the listeners: which file is at fault and why, when they are read again, whose they are."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog.testing
import trio
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from config.model import SmppConfig
from gateway.certificates import (
    CertificateProblem,
    Certificates,
    build_context,
    expiry_of,
    subject_of,
)
from tests.gateway.smpp_server.listening import Files
from tests.trio_case import trio_test


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def settings(files: Files, *, mutual: bool = False) -> SmppConfig:
    return SmppConfig(**files.settings(mutual=mutual))  # type: ignore[arg-type]


def damage(path: Path) -> None:
    """The first octets of the first block are not what they were."""
    head, line, rest = path.read_text().partition("-----\n")
    path.write_text(head + line + "AAAA" + rest[4:])


def refusal(files: Files, *, mutual: bool = False) -> str:
    with pytest.raises(CertificateProblem) as caught:
        build_context(settings(files, mutual=mutual))
    return str(caught.value)


def test_only_tls_1_2_and_later_is_spoken(files: Files) -> None:
    context = build_context(settings(files))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE


def test_certificate_and_key_may_be_in_one_file(files: Files) -> None:
    files.certificate.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    build_context(SmppConfig(tls_cert_file=str(files.certificate)))


def test_clients_are_asked_for_certificates_of_the_authority_named_and_of_no_other(files: Files) -> None:
    context = build_context(settings(files, mutual=True))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_without_a_certificate_the_key_to_write_is_named() -> None:
    with pytest.raises(CertificateProblem, match="tls_cert_file"):
        build_context(SmppConfig())


def test_a_missing_file_is_named(files: Files) -> None:
    files.key.unlink()
    assert refusal(files) == f"tls_key_file {files.key}: No such file or directory"


def test_a_file_that_holds_something_else_is_named(files: Files) -> None:
    files.certificate.write_bytes(ssl.PEM_cert_to_DER_cert(files.certificate.read_text()))
    assert refusal(files) == f"tls_cert_file {files.certificate}: holds no certificate in PEM"


def test_a_certificate_without_a_key_is_named(files: Files) -> None:
    with pytest.raises(CertificateProblem, match="holds no private key"):
        build_context(SmppConfig(tls_cert_file=str(files.certificate)))


def test_a_damaged_certificate_is_named(files: Files) -> None:
    damage(files.certificate)
    assert refusal(files).startswith(f"tls_cert_file {files.certificate}: the certificate cannot be read")


def test_a_chain_cut_short_is_named(files: Files) -> None:
    whole = files.certificate.read_text()
    files.certificate.write_text(whole + whole[:300])
    assert refusal(files).startswith(f"tls_cert_file {files.certificate}: ")


def test_a_damaged_key_is_named(files: Files) -> None:
    damage(files.key)
    assert refusal(files).startswith(f"tls_key_file {files.key}: the key cannot be read")


def test_the_key_of_another_certificate_is_named(files: Files) -> None:
    files.key.write_bytes(files.authority.issue_cert("other.example").private_key_pem.bytes())
    assert (
        refusal(files) == f"tls_key_file {files.key}: not the key of the certificate in {files.certificate}"
    )


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_asks_nobody_for_a_passphrase(form: PrivateFormat, files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    assert refusal(files).startswith(f"tls_key_file {files.key}: the key is encrypted")


def test_a_damaged_authority_of_clients_is_named(files: Files) -> None:
    damage(files.client_authority)
    assert refusal(files, mutual=True).startswith(f"tls_client_ca_file {files.client_authority}: ")


def test_a_bad_reload_changes_nothing(files: Files) -> None:
    certificates = Certificates(settings(files))
    certificates.load()
    before = certificates.context
    files.certificate.write_text("")
    with structlog.testing.capture_logs() as logs:
        assert not certificates.reload()
    assert certificates.context is before
    assert str(files.certificate) in logs[0]["why"]


@pytest.mark.parametrize("year", [2031, 2049, 2050, 2077])
def test_the_end_of_a_certificate_is_told(files: Files, year: int) -> None:
    end = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    issued = files.authority.issue_cert("smsc.example", not_after=end)
    files.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    assert expiry_of(str(files.certificate)) == end.timestamp()


def test_of_a_chain_the_first_end_counts(files: Files) -> None:
    ends = [datetime(2032, month, 1, tzinfo=UTC) for month in (5, 3, 9)]
    issued = [files.authority.issue_cert("smsc.example", not_after=end) for end in ends]
    files.certificate.write_bytes(b"".join(one.cert_chain_pems[0].bytes() for one in issued))
    assert expiry_of(str(files.certificate)) == ends[1].timestamp()


def test_what_is_no_certificate_has_no_end(files: Files) -> None:
    damage(files.certificate)
    assert expiry_of(str(files.certificate)) is None
    files.certificate.unlink()
    assert expiry_of(str(files.certificate)) is None


def test_the_end_told_is_that_of_the_certificate_in_use(files: Files) -> None:
    certificates = Certificates(settings(files))
    assert certificates.expires_at is None
    certificates.load()
    before = certificates.expires_at
    assert before is not None
    files.certificate.write_text("")
    assert not certificates.reload()
    assert certificates.expires_at == before
    end = datetime(2041, 1, 1, tzinfo=UTC)
    issued = files.authority.issue_cert("smsc.example", not_after=end)
    files.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    files.key.write_bytes(issued.private_key_pem.bytes())
    assert certificates.reload()
    assert certificates.expires_at == end.timestamp()


@trio_test(mock_clock=True)
async def test_files_that_changed_are_read_again_by_themselves(files: Files) -> None:
    certificates = Certificates(settings(files))
    certificates.load()
    before = certificates.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await trio.sleep(60)
        assert certificates.context is before
        files.renew()
        with structlog.testing.capture_logs() as logs:
            await trio.sleep(10)
        assert certificates.context is not before
        assert [line["event"] for line in logs] == ["TLS certificate read again"]
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_renewal_of_one_file_after_the_other_is_waited_for(files: Files) -> None:
    certificates = Certificates(settings(files))
    certificates.load()
    before = certificates.context
    old_key = files.key.read_bytes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await trio.sleep(1)
        files.renew()
        new_key = files.key.read_bytes()
        files.key.write_bytes(old_key)
        with structlog.testing.capture_logs() as logs:
            await trio.sleep(2)
            files.key.write_bytes(new_key)
            await trio.sleep(10)
        assert certificates.context is not before
        assert [line["log_level"] for line in logs] == ["info"]
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_bad_renewal_is_said_once_and_the_next_good_one_is_taken(files: Files) -> None:
    certificates = Certificates(settings(files))
    certificates.load()
    before = certificates.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        files.certificate.unlink()
        with structlog.testing.capture_logs() as logs:
            await trio.sleep(600)
        assert [line["event"] for line in logs] == ["new TLS certificate refused"]
        assert certificates.context is before
        files.renew()
        await trio.sleep(10)
        assert certificates.context is not before
        nursery.cancel_scope.cancel()


def test_a_subject_is_written_as_rfc_4514_writes_it() -> None:
    names = ((("countryName", "GB"),), (("organizationName", "Acme"), ("1.2.3", "x")), (("commonName", "a"),))
    assert subject_of({"subject": names}) == "CN=a,O=Acme+1.2.3=x,C=GB"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("Acme, Ltd", r"Acme\, Ltd"),
        ("x,CN=root", r"x\,CN\=root"),
        ('a+b"c\\d<e>f;g', r"a\+b\"c\\d\<e\>f\;g"),
        (" both ", r"\ both\ "),
        ("#1", r"\#1"),
        ("a#1 b", "a#1 b"),
        ("a\x00b\nc", r"a\00b\0Ac"),
        ("Müller", "Müller"),
        ("", ""),
        (" ", r"\ "),
    ],
)
def test_no_name_can_pass_for_two(value: str, written: str) -> None:
    assert subject_of({"subject": ((("commonName", value),),)}) == f"CN={written}"


def test_no_certificate_has_no_subject() -> None:
    assert subject_of(None) == ""
    assert subject_of({}) == ""
