"""Signing in through an OpenID provider: authorization code with PKCE (OpenID Connect Core 1.0, RFC 7636).

`begin` gives the address at the provider to which the browser goes, and a secret that binds what comes back
to this browser; `finish` takes what came back, fetches the ID token and says for whom the provider vouches:
`Vouched`, or `NotVouched` with the reason in words of ours.

Of an ID token is checked: its signature, by a key of the provider's and an algorithm with public keys;
issuer, audience and authorised party, end, age, nonce. The name comes of one claim (an e-mail address only
when it is verified), the role of another by the table in the configuration: whom no line fits is nobody.

Invariants: nothing is asked of anybody unless an issuer is configured, and then only of its hosts (`issuer`,
`hosts`), by https but on this machine, without redirects, proxies or cookies, with limits on time, size and
number at once; a state works once, in the browser that began it and within TICKET_S; no code, token or secret
is logged.

Deliberately not here: what Vouched leads to (gateway.sign_in), pages (gateway.console).
"""

from __future__ import annotations

import base64
import hmac
import secrets
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from hashlib import sha256
from typing import Any, TypeGuard, cast
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
import structlog
import trio
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, import_key

from config.model import OidcConfig
from gateway.admin_operators import name_problem
from gateway.vouched import TICKET_S, NotVouched, Vouched
from router.roles import Role

PATH_BACK = "/console/sign-in/back"

_ALGORITHMS = [
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    *("Ed25519", "EdDSA"),
]
_LEEWAY_S = 60
_OLDEST_S = 600  # an ID token for a sign-in of just now
_LARGEST = 262_144
_LONGEST = 4_096  # of what comes back in the address
_PENDING = 1_000
_FRESH_S = 3_600.0  # how long metadata and keys are used
MOST_AT_ONCE = 16  # questions that it has not answered
_KEYS_AGAIN_S = 60.0  # before an unknown key makes us ask again
_LONGEST_SUBJECT = 255

log = structlog.get_logger("oidc")


class _Pending(msgspec.Struct, frozen=True):
    """A browser that is at the provider."""

    browser: str  # sha256 of the secret in its cookie
    nonce: str
    verifier: str
    to: str
    until: float

    def __repr__(self) -> str:
        return "_Pending()"


class _Metadata(msgspec.Struct, frozen=True):
    """What we need of OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Provider:
    """The one that is configured."""

    def __init__(
        self,
        config: OidcConfig,
        public_url: str,
        wall_ms: Callable[[], int],
        *,
        now: Callable[[], float] = trio.current_time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`now`: monotonic seconds; `transport`: instead of the network."""
        self._config = config
        self._wall_ms = wall_ms
        self._now = now
        self._transport = transport
        self._back = public_url.rstrip("/") + PATH_BACK
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._metadata: _Metadata | None = None
        self._keys = KeySet([])
        self._asked_at = self._keys_at = self._trusted_at = float("-inf")
        self._trusted: ssl.SSLContext | bool = True
        self._one_at_a_time = trio.Lock()
        self._asking = 0
        self._hosts = {_host(config.issuer), *config.hosts}

    # to the provider

    async def begin(self, to: str) -> tuple[str, str]:
        """(address to go to, secret for this browser's cookie). Errors: NotVouched."""
        metadata = await self._discovered()
        state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
        if len(self._pending) >= _PENDING:
            self._pending.popitem(last=False)
        self._pending[_hash(state)] = _Pending(_hash(browser), nonce, verifier, to, self._now() + TICKET_S)
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._back,
            "scope": " ".join(self._config.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _unpadded(sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        joined = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return metadata.authorization_endpoint + joined + urlencode(asked), browser

    # and back

    async def finish(self, query: Mapping[str, str], browser: str) -> Vouched:
        """`query`: what came with the address; `browser`: the secret of its cookie. Errors: NotVouched."""
        pending = self._pending.pop(_hash(query.get("state", "")[:_LONGEST]), None)
        if pending is None or self._now() >= pending.until:
            raise NotVouched("This sign-in took too long, or was done already. Try again.")
        if not hmac.compare_digest(pending.browser, _hash(browser[:_LONGEST])):
            raise NotVouched("This sign-in was begun in another browser. Try again.")
        if "error" in query:
            said = "".join(one for one in query["error"][:64] if one.isalnum() or one == "_")
            raise NotVouched(f"The provider did not sign you in ({said}).")
        if query.get("iss", self._config.issuer) != self._config.issuer:  # RFC 9207
            raise NotVouched("The answer is not of the provider that was asked.")
        code = query.get("code", "")[:_LONGEST]
        if not code:
            raise NotVouched("The provider sent no code.")
        claims = await self._claims(await self._id_token(code, pending.verifier), pending.nonce)
        return Vouched(self._name(claims), self._role(claims), self._subject(claims), pending.to)

    async def _id_token(self, code: str, verifier: str) -> str:
        metadata = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back,
            "code_verifier": verifier,
            "client_id": self._config.client_id,
        }
        auth = None
        if secret := self._config.client_secret:
            if "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
                auth = httpx.BasicAuth(_quoted(self._config.client_id), _quoted(secret))
            else:
                form["client_secret"] = secret
        said = await self._ask("POST", metadata.token_endpoint, data=form, auth=auth)
        token = said.get("id_token")
        if not isinstance(token, str) or len(token) > _LARGEST:
            raise _broken("its token endpoint gave no ID token")
        return token

    async def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        """What the ID token says, checked (OpenID Connect Core 1.0, section 3.1.3.7)."""
        try:
            claims = await self._decoded(token)
        except (JoseError, ValueError) as error:
            log.warning("an ID token was not taken", error=type(error).__name__)
            raise NotVouched("The provider's token is not signed by a key of its own.") from None
        now_s = self._wall_ms() / 1000
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        times = [claims.get(name) for name in ("exp", "iat")]
        if claims.get("iss") != self._config.issuer:
            raise NotVouched("The token is of another issuer.")
        if not isinstance(audiences, list) or self._config.client_id not in audiences:
            raise NotVouched("The token is for another application.")
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self._config.client_id:
            raise NotVouched("The token is for another application.")
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in times):
            raise NotVouched("The token does not say when it was made, and when it ends.")
        ends, made = float(times[0] or 0), float(times[1] or 0)
        if ends <= now_s - _LEEWAY_S or not now_s - _OLDEST_S <= made <= now_s + _LEEWAY_S:
            raise NotVouched("The token is not of now: do the provider's clock and ours agree?")
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise NotVouched("The token is of another sign-in.")
        return claims

    async def _decoded(self, token: str) -> Mapping[str, Any]:
        """Errors: JoseError, ValueError, NotVouched."""
        if self._now() - self._keys_at >= _FRESH_S:
            await self._fetch_keys()
        try:
            return jwt.decode(token, self._keys, algorithms=_ALGORITHMS).claims
        except InvalidKeyIdError:
            if self._now() - self._keys_at < _KEYS_AGAIN_S:
                raise
        await self._fetch_keys()  # the provider may have changed them
        return jwt.decode(token, self._keys, algorithms=_ALGORITHMS).claims

    # what it means

    def _subject(self, claims: Mapping[str, Any]) -> str:
        subject = claims.get("sub")
        if not _is_text(subject) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
            raise _broken("the token names no subject")
        return f"{self._config.issuer} {subject}"

    def _name(self, claims: Mapping[str, Any]) -> str:
        wanted = self._config.name_claim
        name = claims.get(wanted)
        if wanted == "email" and claims.get("email_verified") not in (True, "true"):
            raise NotVouched("The provider has not verified your e-mail address.", 403)
        if not isinstance(name, str) or name_problem(name):
            raise NotVouched(f"The provider's claim {wanted!r} is no name that an operator can have.", 403)
        return name

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        """Of the first line of the table that fits; None: none does."""
        said = claims.get(self._config.role_claim)
        groups = set(filter(_is_text, said if isinstance(said, list) else [said]))
        return next((Role(role) for group, role in self._config.roles.items() if group in groups), None)

    # asking

    async def _discovered(self) -> _Metadata:
        if self._metadata is not None and self._now() - self._asked_at < _FRESH_S:
            return self._metadata
        address = self._config.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            found = msgspec.convert(await self._ask("GET", address), _Metadata)
        except msgspec.ValidationError as error:
            raise _broken(f"its configuration is not complete: {error}") from None
        if found.issuer != self._config.issuer:
            raise _broken(f"it calls itself {found.issuer[:200]!r}")
        for endpoint in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            self._check(endpoint)
        self._metadata, self._asked_at = found, self._now()
        return found

    async def _fetch_keys(self) -> None:
        said = await self._ask("GET", (await self._discovered()).jwks_uri)
        keys: list[Any] = []
        for one in said.get("keys") or ():
            try:
                if one.get("kty") in ("RSA", "EC", "OKP") and one.get("use", "sig") == "sig":
                    keys.append(import_key(one))
            except (JoseError, ValueError, TypeError, KeyError, AttributeError):
                continue  # of a kind that we do not know
        if not keys:
            raise _broken("it has no keys that we know")
        self._keys, self._keys_at = KeySet(keys), self._now()

    def _check(self, endpoint: str) -> None:
        """Errors: NotVouched where nothing may be asked of it."""
        parts = urlsplit(endpoint)
        if _host(endpoint) not in self._hosts:
            raise _broken(
                f"its endpoints are at {_host(endpoint)!r}; if that is right, name it in [console.oidc] hosts"
            )
        if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise _broken("its endpoints are not https")

    async def _ask(self, method: str, address: str, **more: Any) -> dict[str, Any]:
        """Its answer, JSON. Errors: NotVouched."""
        self._check(address)
        if self._asking >= MOST_AT_ONCE:
            raise NotVouched("Too many people sign in at this moment. Try again in a few seconds.", 503)
        self._asking += 1
        try:
            with trio.fail_after(self._config.timeout_s):
                trusted = await self._trust()
                async with (
                    httpx.AsyncClient(
                        transport=self._transport,
                        verify=trusted,
                        trust_env=False,
                        timeout=self._config.timeout_s,
                        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                    ) as client,
                    client.stream(method, address, **more) as answer,
                    aclosing(cast("AsyncGenerator[bytes]", answer.aiter_bytes())) as parts,
                ):
                    body = bytearray()
                    async for part in parts:
                        body += part
                        if len(body) > _LARGEST:
                            raise _broken("its answer is too long")
                    status = answer.status_code
        except (httpx.HTTPError, trio.TooSlowError, OSError) as error:
            log.warning("the provider does not answer", host=_host(address), error=type(error).__name__)
            raise NotVouched("The provider does not answer now. Try again in a moment.", 503) from None
        finally:
            self._asking -= 1
        if status != 200:
            log.warning("the provider refused", host=_host(address), status=status)
            raise NotVouched(f"The provider refused to answer (HTTP {status}).", 502)
        try:
            said = msgspec.json.decode(bytes(body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = None
        if not isinstance(said, dict):
            raise _broken("its answer is no JSON object")
        return said

    async def _trust(self) -> ssl.SSLContext | bool:
        """Whose certificates are believed: read once an hour and beside the loop, as it takes a tenth of a
        second, and strangers may make us ask."""
        async with self._one_at_a_time:
            if self._transport is None and self._now() - self._trusted_at >= _FRESH_S:
                self._trusted = await trio.to_thread.run_sync(_trust, self._config.ca_file)
                self._trusted_at = self._now()
            return self._trusted


def _broken(what: str) -> NotVouched:
    log.error("the OpenID provider cannot be used", why=what)
    return NotVouched("The provider cannot be used as it is: the gateway's log says why.", 502)


def _trust(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


def _host(address: str) -> str:
    """host, or host:port where it is no usual one."""
    return urlsplit(address).netloc.rpartition("@")[2].lower()


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _quoted(text: str) -> str:
    """As RFC 6749 section 2.3.1 has a client's name and secret in Basic."""
    return urlencode({"": text})[1:]


def _unpadded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
