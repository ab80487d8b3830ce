"""The TLS context of our listeners, made anew when its files change, and the subject a client showed.

Invariants: a context in use is never changed, only replaced by a whole new one that loaded without a fault,
so connections that are open keep theirs and a bad file changes nothing; private keys are never logged.

Deliberately not here: handshakes (gateway.smpp_server.arrivals, gateway.http.secured), client TLS
(gateway.carriers.fleet), which subjects an account accepts.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NoReturn, Protocol

import structlog
import trio

_LOOK_EVERY_S = 2.0
_CERTIFICATE = "-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----"
_VERSION, _UTC_TIME = 0xA0, 0x17  # tags of DER

# RFC 4514 section 3, by the names that Python's ssl uses
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

log = structlog.get_logger("tls")


class CertificateProblem(Exception):
    """A file of the listeners' TLS cannot be used; says which one and why."""


class TlsFiles(Protocol):
    """A section of the configuration that has listeners with TLS; names of files, "" = none."""

    @property
    def tls_cert_file(self) -> str: ...
    @property
    def tls_key_file(self) -> str: ...
    @property
    def tls_client_ca_file(self) -> str: ...


class Certificates:
    """`context` is the one of the last files that were good. `prepare` is done to each new one."""

    def __init__(
        self,
        settings: TlsFiles,
        section: str = "[smpp]",
        prepare: Callable[[ssl.SSLContext], None] | None = None,
    ) -> None:
        self._settings = settings
        self._section = section
        self._prepare = prepare
        self._context: ssl.SSLContext | None = None
        self._read: list[object] = []
        self.expires_at: float | None = None  # seconds since the epoch; None before the first load

    @property
    def context(self) -> ssl.SSLContext:
        assert self._context is not None, "load first"
        return self._context

    def load(self) -> None:
        """Read the files. Errors: CertificateProblem; then the context is as it was."""
        self._read = self._stamps()
        context = build_context(self._settings, self._section)
        if self._prepare is not None:
            self._prepare(context)
        self._context = context
        self.expires_at = expiry_of(self._settings.tls_cert_file)

    def reload(self) -> bool:
        """The same; a problem is logged and False."""
        try:
            self.load()
        except CertificateProblem as problem:
            log.error("new TLS certificate refused", why=str(problem), hint="the one before stays in use")
            return False
        log.info("TLS certificate read again", file=self._settings.tls_cert_file)
        return True

    async def watch(self) -> None:
        """Reload whenever the files changed and then stayed the same from one look to the next.

        Whoever renews a certificate writes two files, one after the other.
        """
        seen = self._read
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            now = self._stamps()
            if now == seen and now != self._read:
                self.reload()
            seen = now

    def _stamps(self) -> list[object]:
        return [_stamp(file) for file in _files(self._settings)]


def _files(settings: TlsFiles) -> list[str]:
    return [
        file for file in (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file) if file
    ]


def _stamp(file: str) -> object:
    """What changes whenever a file is written, replaced, removed or linked elsewhere."""
    try:
        found = os.stat(file)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def build_context(settings: TlsFiles, section: str = "[smpp]") -> ssl.SSLContext:
    """TLS 1.2 and later; with tls_client_ca_file only for clients it knows. Errors: CertificateProblem."""
    certificate = settings.tls_cert_file
    if not certificate:
        raise CertificateProblem(f"{section} listen_tls needs tls_cert_file, a certificate chain in PEM")
    key = settings.tls_key_file or certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # a bind lasts for days; there is nothing to resume
    chain = _pem(certificate, "CERTIFICATE", "tls_cert_file")
    _pem(key, "PRIVATE KEY", "tls_key_file")
    try:
        context.load_cert_chain(certificate, key, password=_refuse_encrypted)
    except (ssl.SSLError, OSError) as error:
        raise CertificateProblem(_what_is_wrong(certificate, key, chain, error)) from None
    if settings.tls_client_ca_file:
        _ask_for_certificates(context, settings.tls_client_ca_file)
    return context


def expiry_of(file: str) -> float | None:
    """When the first certificate of a chain in PEM ends, in seconds since the epoch. None where the file has
    changed meanwhile, or holds something that X.509 does not know."""
    try:
        blocks = re.findall(_CERTIFICATE, _pem(file, "CERTIFICATE", "tls_cert_file"), re.DOTALL)
        return min(_not_after(ssl.PEM_cert_to_DER_cert(block)) for block in blocks)
    except (CertificateProblem, ValueError, IndexError):
        return None


def _not_after(der: bytes) -> float:
    """Validity's second time (RFC 5280 section 4.1), which Python's ssl tells of peers' certificates only.
    Errors: ValueError, IndexError."""
    _, certificate, _ = _element(der)
    _, body, _ = _element(certificate)
    tag, _, rest = _element(body)
    fields = 3 if tag == _VERSION else 2  # serialNumber, signature, issuer; the version is optional
    for _ in range(fields):
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest)
    _, _, rest = _element(validity)
    tag, text, _ = _element(rest)
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """(tag, content, what follows) of the first element (X.690 section 8.1)."""
    length, at = der[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(der[2:at], "big")
    return der[0], der[at : at + length], der[at + length :]


def _ask_for_certificates(context: ssl.SSLContext, file: str) -> None:
    authorities = _pem(file, "CERTIFICATE", "tls_client_ca_file")
    try:
        context.load_verify_locations(cadata=authorities)
    except ssl.SSLError as error:
        raise CertificateProblem(f"tls_client_ca_file {file}: {_reason(error)}") from None
    context.verify_mode = ssl.CERT_REQUIRED


def _pem(file: str, kind: str, key: str) -> str:
    """The text of a file that holds at least one block of this kind. Errors: CertificateProblem."""
    try:
        with open(file, encoding="ascii", errors="replace") as opened:
            text = opened.read()
    except OSError as error:
        raise CertificateProblem(f"{key} {file}: {error.strerror}") from None
    if f"{kind}-----" not in text:
        raise CertificateProblem(f"{key} {file}: holds no {kind.lower()} in PEM")
    return text


class _Encrypted(OSError):
    """A private key that needs a passphrase, which nobody could type at a restart."""


def _refuse_encrypted() -> NoReturn:
    raise _Encrypted


def _what_is_wrong(certificate: str, key: str, chain: str, error: ssl.SSLError | OSError) -> str:
    """OpenSSL says neither which of the two files it disliked nor, mostly, why."""
    if isinstance(error, _Encrypted):
        return f"tls_key_file {key}: the key is encrypted; write it without a passphrase"
    if isinstance(error, ssl.SSLError) and error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"tls_key_file {key}: not the key of the certificate in {certificate}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=chain)
    except ssl.SSLError as fault:
        return f"tls_cert_file {certificate}: {_reason(fault)}"
    if isinstance(error, ssl.SSLError) and error.reason not in (None, "PEM_LIB"):
        return f"tls_cert_file {certificate}: {_reason(error)}"
    return f"tls_key_file {key}: the key cannot be read; it is damaged"


def _reason(error: ssl.SSLError) -> str:
    """What OpenSSL disliked in a certificate, in its words where it has some."""
    if error.reason in (None, "PEM_LIB") or "cadata" in str(error):
        return "the certificate cannot be read; it is damaged"
    return f"OpenSSL refuses it: {str(error.reason).replace('_', ' ').lower()}"


def subject_of(certificate: dict[str, Iterable[object]] | None) -> str:
    """The subject of `SSLObject.getpeercert()` as RFC 4514 writes it, `CN=acme,O=Acme Ltd`; "" without one.

    Everything special is escaped, so that no name can pass for two.
    """
    names = list((certificate or {}).get("subject", ()))
    return ",".join("+".join(_attribute(*pair) for pair in name) for name in reversed(names))  # type: ignore[attr-defined]


def _attribute(name: str, value: str) -> str:
    """RFC 4514 section 2.4."""
    last = len(value) - 1
    escaped = []
    for place, letter in enumerate(value):
        edge = (letter == " " and place in (0, last)) or (letter == "#" and place == 0)
        if letter in ',+"\\<>;=' or edge:
            escaped.append("\\" + letter)
        elif ord(letter) < 0x20 or ord(letter) == 0x7F:
            escaped.append(f"\\{ord(letter):02X}")
        else:
            escaped.append(letter)
    return f"{_SHORT_NAMES.get(name, name)}={''.join(escaped)}"
