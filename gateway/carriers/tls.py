"""What went wrong with TLS to a carrier, in words that say what to do.

OpenSSL's own words name its source files and none of our settings. A carrier's operator reads these in the
log, in `ping` and beside the link.

Deliberately not here: making the context (gateway.carriers.fleet), connecting (gateway.world).
"""

from __future__ import annotations

import os
import ssl

_OF_THE_CERTIFICATE = {  # X509_V_ERR_… of OpenSSL, which the ssl module gives as numbers
    9: "its certificate is not valid yet: check this machine's clock, else the carrier has to replace it",
    10: "its certificate has expired: the carrier has to renew it",
}
_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHERWISE = {  # OpenSSL's reasons
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.2 or later",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.2 or later",
    "WRONG_VERSION_NUMBER": "it does not answer in TLS: is this its port for plain SMPP?",
    "RECORD_LAYER_FAILURE": "it does not answer in TLS: is this its port for plain SMPP?",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants our certificate: set tls_cert_file and tls_key_file",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refused the handshake: it may want our certificate (tls_cert_file), "
    "or ciphers that are no longer safe",
    "TLSV1_UNRECOGNIZED_NAME": "it knows no such name: set tls_server_name to the one the carrier gave",
}


def tls_problem(cause: OSError, name: str) -> str:
    """One line about a failed handshake, or a TLS connection that broke. `name`: what we asked for."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        code = cause.verify_code
        if code in _OTHER_NAME:
            return f"its certificate is not for {name!r}: set tls_server_name to a name it is for"
        if code in _UNKNOWN_AUTHORITY:
            return "its certificate is of an authority we do not trust: give its PEM file as tls_ca_file"
        return _OF_THE_CERTIFICATE.get(code, f"its certificate is not accepted: {cause.verify_message}")
    if isinstance(cause, ssl.SSLEOFError):
        return f"it ended the connection in the middle of TLS (we asked for the name {name!r})"
    reason = getattr(cause, "reason", None)
    if isinstance(reason, str):
        return _OTHERWISE.get(reason, f"TLS failed: {reason.lower().replace('_', ' ')}")
    if cause.errno and not isinstance(cause, ssl.SSLError):
        return os.strerror(cause.errno)  # its own words repeat the address
    return str(cause) or type(cause).__name__
