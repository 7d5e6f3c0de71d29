"""A small OpenID provider for tests, on a thread and a free port of the loopback.

It approves every sign-in at once, checks what a provider should check of its client, and can be told to lie.
"""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT = "amplify-chat"
SECRET = "sk-canary-4f1d-oidc"

Claims = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key for the same name: making one takes a while."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """A public key as it stands in a JWK Set."""
    algorithm = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    public = {k: v for k, v in algorithm.to_jwk(key.public_key(), as_dict=True).items() if k != "key_ops"}
    return {**public, "kid": kid, "use": "sig", **more}


@dataclass
class Code:
    """A sign-in that was approved and whose tokens have not been fetched yet."""

    asked: dict[str, str]


@dataclass
class OidcProvider:
    url: str
    issuer: str = ""
    person: Claims = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    sign: Callable[[Claims], str] = lambda claims: ""
    id_claims: Callable[[Claims], Claims] = lambda claims: claims
    userinfo: Callable[[Claims], Claims] = lambda claims: claims
    access_token: Callable[[], str] = lambda: f"opaque-{uuid4()}"
    discovery: Callable[[Claims], Claims] = lambda document: document
    broken: dict[str, Answer] = field(default_factory=dict)
    """Answers in place of those of these endpoints."""
    asked: Counter[str] = field(default_factory=Counter)
    codes: dict[str, Code] = field(default_factory=dict)
    last_asked: dict[str, str] = field(default_factory=dict)
    last_token_request: dict[str, str] = field(default_factory=dict)
    lag: float = 0.0

    def reset(self) -> None:
        """Honest again, with nobody waiting; the keys and the counts begin anew."""
        fresh = OidcProvider(self.url)
        fresh.issuer = self.url
        fresh.keys = [jwk_of(rsa_key("provider"), "k1", alg="RS256")]
        fresh.sign = lambda claims: jwt.encode(claims, rsa_key("provider"), "RS256", {"kid": "k1"})
        self.__dict__.update(fresh.__dict__)

    def answer(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> Answer:  # noqa: PLR0911 - one an endpoint
        parts = urlsplit(handler.path)
        name = parts.path.rsplit("/", 1)[-1]
        self.asked[name] += 1
        if self.lag:
            time.sleep(self.lag)  # a slow provider: what is tested is what happens meanwhile
        if name in self.broken:
            return self.broken[name]
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match name:
            case "openid-configuration":
                return _json(self.discovery(self._document()))
            case "jwks.json":
                return _json({"keys": self.keys})
            case "authorize":
                return self._approve(query)
            case "token":
                return self._tokens(form, handler.headers.get("Authorization", ""))
            case "userinfo":
                return _json(self.userinfo(dict(self.person)))
        return _json({"error": "not_found"}, 404)

    def _document(self) -> Claims:
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.url}/jwks.json",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "end_session_endpoint": f"{self.url}/logout",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    def _approve(self, query: dict[str, str]) -> Answer:
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        self.last_asked = query
        code = str(uuid4())
        self.codes[code] = Code(query)
        back = urlencode({"code": code, "state": query["state"]})
        return 302, {"Location": f"{query['redirect_uri']}?{back}"}, b""

    def _tokens(self, form: dict[str, str], authorization: str) -> Answer:
        self.last_token_request = {**form, "authorization": authorization}
        code = self.codes.pop(form.get("code", ""), None)
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if form.get("client_secret") != SECRET and authorization != basic:
            return _json({"error": "invalid_client"}, 401)
        if code is None or code.asked["redirect_uri"] != form["redirect_uri"] or not _fits(code, form):
            return _json({"error": "invalid_grant"}, 400)
        access_token = self.access_token()
        claims = self.id_claims(self._claims(code, access_token))
        return _json({"id_token": self.sign(claims), "access_token": access_token, "token_type": "Bearer"})

    def _claims(self, code: Code, access_token: str) -> Claims:
        now = int(time.time())
        half = sha256(access_token.encode()).digest()[:16]
        return {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": code.asked.get("nonce"),
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            **self.person,
        }


def _fits(code: Code, form: dict[str, str]) -> bool:
    """PKCE (RFC 7636 §4.6), which this provider insists on."""
    digest = sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return code.asked.get("code_challenge_method") == "S256" and code.asked["code_challenge"] == challenge


def _json(content: Any, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


@contextmanager
def running_provider() -> Iterator[OidcProvider]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
            status, headers, body = provider.answer(self, form)
            self.send_response(status)
            for header in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider = OidcProvider(f"http://127.0.0.1:{server.server_port}")
    provider.reset()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
