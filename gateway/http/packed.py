"""Bodies that come packed with gzip (RFC 1952): unpacked, and never to more than a body may have.

Deliberately not here: other codings (refused by head.py), packing answers.
"""

from __future__ import annotations

import zlib

from gateway.http.problems import BadRequest

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 4_096  # what follows a member is copied: no more than so much of it


def unpacked(body: bytes, most: int) -> bytes:
    """What was packed, of all members. Errors: BadRequest 400 for no gzip, 413 beyond `most` bytes.

    Unpacking stops at `most`, so a small body that holds a huge one costs no more than an honest one.
    """
    found = bytearray()
    at = 0
    while at < len(body):
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = body[at : at + _PIECE]
            if not piece:
                raise _no_gzip("it ends too early")
            try:
                found += member.decompress(piece, most + 1 - len(found))
            except zlib.error as error:
                raise _no_gzip(str(error)) from None
            if len(found) > most:
                raise BadRequest(413, "body-too-large", f"the body may have {most} bytes, unpacked, too")
            at += len(piece) - len(member.unused_data)
    return bytes(found)


def _no_gzip(why: str) -> BadRequest:
    return BadRequest(400, "bad-gzip", f"the body is not gzip, as Content-Encoding says it is: {why}")
