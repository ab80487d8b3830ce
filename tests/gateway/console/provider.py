"""A small OpenID provider for tests: discovery, keys, tokens. What it says can be bent, one thing at a time.

`Op.answer` is the whole of it as a function; `Op.transport` lets httpx ask it without a network, and
`Op.serve` over a socket.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import trio
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT, SECRET = "signalbox", "s3cret/+ of client"


class Op:
    """`claims` and `header` change what an ID token says; `documents` what else is said; `asked` are all
    requests, (method, path, form, Authorization)."""

    def __init__(self, issuer: str, now_s: Callable[[], float]) -> None:
        self.issuer = issuer
        self.now_s = now_s
        self.key: RSAKey | ECKey = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.published: list[RSAKey | ECKey] = [self.key]
        self.algorithm = "ES256"
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.token_answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda said: said
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.status = 200
        self._codes: dict[str, tuple[str, str]] = {}  # code → (nonce, challenge)

    def sign_in(self, address: str) -> dict[str, str]:
        """What a browser that goes to this address, and signs in there, brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        code = f"code{len(self._codes)}"
        self._codes[code] = asked["nonce"], asked["code_challenge"]
        return {"code": code, "state": asked["state"]}

    def answer(self, method: str, path: str, form: dict[str, str], auth: str) -> tuple[int, Any]:
        self.asked.append((method, path, form, auth))
        if self.status != 200:
            return self.status, {}
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": self.issuer + "/authorize",
                "token_endpoint": self.issuer + "/token",
                "jwks_uri": self.issuer + "/keys",
                **self.metadata,
            }
        if path == "/keys":
            return 200, KeySet(list(self.published)).as_dict(private=False)
        if path == "/token":
            return self._token(form, auth)
        return 404, {}

    def _token(self, form: dict[str, str], auth: str) -> tuple[int, Any]:
        nonce, challenge = self._codes.pop(form["code"], ("", ""))
        verifier = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest())
        if verifier.rstrip(b"=").decode() != challenge or not auth.startswith("Basic "):
            return 400, {"error": "invalid_grant"}
        now_s = int(self.now_s())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "subject-1",
            "exp": now_s + 300,
            "iat": now_s,
            "nonce": nonce,
            "email": "ann@example.net",
            "email_verified": True,
            "groups": ["everybody", "noc"],
        } | self.claims
        header = {"alg": self.algorithm, "kid": self.key.kid or ""}
        said = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(header, said, self.key, algorithms=[self.algorithm])
        return 200, self.token_answer({"access_token": "x", "token_type": "Bearer", "id_token": token})

    @property
    def transport(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
            status, body = self.answer(
                request.method, request.url.path, form, request.headers.get("authorization", "")
            )
            return httpx.Response(status, json=body)

        return httpx.MockTransport(handle)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One request of a connection."""
        data = b""
        async with stream:
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(65_536)
            head, _, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            while len(body) < int(headers.get("content-length", "0")):
                body += await stream.receive_some(65_536)
            method, path, _ = first.split(" ")
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            status, said = self.answer(method, path, form, headers.get("authorization", ""))
            text = json.dumps(said).encode()
            await stream.send_all(
                b"HTTP/1.1 %d Said\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(text), text)
            )
