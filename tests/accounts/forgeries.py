"""Every way we could think of to make an access token that is none. Each is signed by the right key where that can be:
what is wrong with it is only what its name says."""

# ruff: noqa: E501 - a line a forgery

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.accounts.oidc_provider import ec_key, jwk_of, rsa_key


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()
POOL = "us-east-1_Forged123"
CLIENT_ID = "the-app-client"
AUDIENCE = "api://amplify"
COGNITO_ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"

RIGHT = rsa_key("provider")
WRONG = rsa_key("mallory")
SHORT = rsa_key("short", 1024)
CURVE = ec_key("provider")

# What the issuer lists: one key to sign with, and others that must not be taken for it.
KEYS = [
    jwk_of(RIGHT, "k1", alg="RS256"),
    jwk_of(rsa_key("enc"), "enc", use="enc"),
    jwk_of(rsa_key("wrap"), "wrap", key_ops=["encrypt"]),
    jwk_of(rsa_key("rs512"), "rs512", alg="RS512"),
    jwk_of(SHORT, "short", alg="RS256"),
    jwk_of(CURVE, "curve", alg="ES256"),
    {"kty": "oct", "kid": "oct", "k": "c2VjcmV0", "use": "sig"},
    {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
    "not a key",
]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def rs(key: rsa.RSAPrivateKey, algorithm: Any = None) -> Callable[[bytes], bytes]:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), algorithm or hashes.SHA256())


def pss(signed: bytes) -> bytes:
    return RIGHT.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def es(signed: bytes) -> bytes:
    r, s = decode_dss_signature(CURVE.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def mac(secret: bytes, digest: Any = hashlib.sha256) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.new(secret, signed, digest).digest()


def public(encoding: serialization.Encoding, form: serialization.PublicFormat) -> bytes:
    return RIGHT.public_key().public_bytes(encoding, form)


PEM = public(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
PKCS1 = public(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
DER = public(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def encoded(part: Any) -> str:
    """A part of a token: of an object, of a text to the letter, or of bytes."""
    raw = part if isinstance(part, bytes) else (part if isinstance(part, str) else json.dumps(part)).encode()
    return b64(raw)


_rs256 = rs(RIGHT)


def built(header: Any, claims: Any, sign: Callable[[bytes], bytes] = _rs256) -> str:
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{b64(sign(signed.encode()))}"


@dataclass(frozen=True)
class Forge:
    """What a good token of an issuer looks like at a moment, and how to get it wrong."""

    kind: str
    issuer: str
    now: float

    @property
    def person(self) -> str:
        """The claim that the user id comes from."""
        return "username" if self.kind == "cognito" else "sub"

    def claims(self, **changes: Any) -> dict[str, Any]:
        good = {"iss": self.issuer, "sub": "sub-of-alice", "iat": int(self.now) - 5, "exp": int(self.now) + 3600}
        if self.kind == "cognito":
            good |= {"client_id": CLIENT_ID, "token_use": "access", "username": "alice"}
        else:
            good |= {"aud": AUDIENCE, "azp": "some-app"}
        return {name: value for name, value in (good | changes).items() if value is not ABSENT}

    def text(self, **changes: Any) -> str:
        return json.dumps(self.claims(**changes))

    def header(self, **changes: Any) -> dict[str, Any]:
        good = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
        return {name: value for name, value in (good | changes).items() if value is not ABSENT}

    def good(self, **claims: Any) -> str:
        return built(self.header(), self.claims(**claims))

    def signed(self, sign: Callable[[bytes], bytes], **header: Any) -> str:
        return built(self.header(**header), self.claims(), sign)

    def parts(self) -> tuple[str, str, str]:
        header, claims, signature = self.good().split(".")
        return header, claims, signature

    def repeated(self, name: str, wrong: Any) -> str:
        """The claims with one name twice, the good value last: where Python's reader looks."""
        return f'{{"{name}": {json.dumps(wrong)}, {self.text()[1:]}'


def _flipped(signature: str) -> str:
    return ("B" if signature[0] == "A" else "A") + signature[1:]


def _one_bit_more(signature: str) -> str:
    """Another spelling of the same bytes: the last letter carries bits that count for nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]


Forgery = Callable[[Forge], str]


def _header(**changes: Any) -> Forgery:
    return lambda f: f.signed(rs(RIGHT), **changes)


def _claims(**changes: Any) -> Forgery:
    return lambda f: built(f.header(), f.claims(**changes))


def _body(make: Callable[[Forge], Any]) -> Forgery:
    return lambda f: built(f.header(), make(f))


def _parts(make: Callable[[str, str, str], str]) -> Forgery:
    return lambda f: make(*f.parts())


NONE = ["none", "None", "NONE", "nOnE", "none ", "", None, ABSENT, ["RS256"], ["none"], {"alg": "RS256"}, 0, True]

ALGORITHMS: dict[str, Forgery] = {
    **{f"alg {alg!r}, signed": _header(alg=alg) for alg in NONE},
    **{f"alg {alg!r}, no signature": (lambda f, alg=alg: built(f.header(alg=alg), f.claims(), lambda _: b"")) for alg in NONE},
    **{f"alg {alg!r}": _header(alg=alg) for alg in ["rs256", "RS256 ", " RS256", "RS256\x00", "RSA256", "RS-256", "\uff32\uff33256"]},
    "RS384 by the right key": lambda f: f.signed(rs(RIGHT, hashes.SHA384()), alg="RS384"),
    "RS512 by the right key": lambda f: f.signed(rs(RIGHT, hashes.SHA512()), alg="RS512"),
    "RS512 that says RS256": lambda f: f.signed(rs(RIGHT, hashes.SHA512())),
    "RS512 by a key for it": lambda f: f.signed(rs(rsa_key("rs512"), hashes.SHA512()), alg="RS512", kid="rs512"),
    "RS256 by a key for RS512": lambda f: f.signed(rs(rsa_key("rs512")), kid="rs512"),
    "PS256 by the right key": lambda f: f.signed(pss, alg="PS256"),
    "PS256 that says RS256": lambda f: f.signed(pss),
    "ES256 by a listed key": lambda f: f.signed(es, alg="ES256", kid="curve"),
    "ES256 that says RS256": lambda f: f.signed(es, kid="curve"),
    "HS256 by the public key, PEM": lambda f: f.signed(mac(PEM), alg="HS256"),
    "HS256 by the public key, stripped PEM": lambda f: f.signed(mac(PEM.strip()), alg="HS256"),
    "HS256 by the public key, PKCS1": lambda f: f.signed(mac(PKCS1), alg="HS256"),
    "HS256 by the public key, DER": lambda f: f.signed(mac(DER), alg="HS256"),
    "HS256 by the public key, JWK": lambda f: f.signed(mac(json.dumps(KEYS[0]).encode()), alg="HS256"),
    "HS256 by the modulus": lambda f: f.signed(mac(str(KEYS[0]["n"]).encode()), alg="HS256"),
    "HS256 by nothing": lambda f: f.signed(mac(b""), alg="HS256"),
    "HS256 by a listed secret": lambda f: f.signed(mac(b"secret"), alg="HS256", kid="oct"),
    "HS256 that says RS256": lambda f: f.signed(mac(PEM)),
    "HS384 by the public key": lambda f: f.signed(mac(PEM, hashlib.sha384), alg="HS384"),
    "HS512 by the public key": lambda f: f.signed(mac(PEM, hashlib.sha512), alg="HS512"),
}  # fmt: skip

SIGNATURES: dict[str, Forgery] = {
    "another key of the same id": lambda f: f.signed(rs(WRONG)),
    "a key of 1024 bits of the same id": lambda f: f.signed(rs(SHORT)),
    "a listed key of 1024 bits": lambda f: f.signed(rs(SHORT), kid="short"),
    "a listed key to encrypt with": lambda f: f.signed(rs(rsa_key("enc")), kid="enc"),
    "a listed key for another operation": lambda f: f.signed(rs(rsa_key("wrap")), kid="wrap"),
    "a listed key that cannot be read": _header(kid="broken"),
    "an unknown key id": _header(kid="k2"),
    "an unknown key id, by another key": lambda f: f.signed(rs(WRONG), kid="k2"),
    **{f"key id {kid!r}": _header(kid=kid) for kid in ["", "K1", "k1 ", "../../dev/null", "k1' OR '1'='1", "k" * 9000]},
    **{f"key id {kid!r}": _header(kid=kid) for kid in [ABSENT, None, 1, ["k1"], {"kid": "k1"}, True]},
    "a key of its own": lambda f: f.signed(rs(WRONG), jwk=jwk_of(WRONG, "k1")),
    "a key of its own, no id": lambda f: f.signed(rs(WRONG), kid=ABSENT, jwk=jwk_of(WRONG, "k1")),
    "the address of its keys": lambda f: f.signed(rs(WRONG), jku="http://127.0.0.1:9/jwks.json", kid="mallory"),
    "the address of its keys, same id": lambda f: f.signed(rs(WRONG), jku="http://127.0.0.1:9/jwks.json"),
    "the address of its certificate": lambda f: f.signed(rs(WRONG), x5u="http://127.0.0.1:9/x.pem"),
    "a certificate of its own": lambda f: f.signed(rs(WRONG), x5c=[base64.b64encode(DER).decode()]),
    "no signature": lambda f: built(f.header(), f.claims(), lambda _: b""),
    "a signature of zeros": lambda f: built(f.header(), f.claims(), lambda _: bytes(256)),
    "a signature of one byte": lambda f: built(f.header(), f.claims(), lambda _: b"\x01"),
    "a flipped bit": _parts(lambda h, c, s: f"{h}.{c}.{_flipped(s)}"),
    "a signature cut short": _parts(lambda h, c, s: f"{h}.{c}.{s[:-4]}"),
    "bytes after the signature": _parts(lambda h, c, s: f"{h}.{c}.{s}AAAA"),
    "the signature twice": _parts(lambda h, c, s: f"{h}.{c}.{s}{s}"),
    "another spelling of the signature": _parts(lambda h, c, s: f"{h}.{c}.{_one_bit_more(s)}"),
    "claims exchanged": lambda f: "{0}.{2}.{1}".format(*f.parts()[::2], encoded(f.claims(**{f.person: "root"}))),
    "header exchanged": _parts(lambda h, c, s: f"{encoded({'alg': 'RS256', 'kid': 'k1'})}.{c}.{s}"),
    **{f"crit {crit!r}": _header(crit=crit) for crit in [["exp"], [], ["b64"], "exp", None, ["alg"], [1]]},
    "crit with its extension": _header(crit=["http://example.com/x"], **{"http://example.com/x": True}),
    "b64 false": _header(b64=False, crit=["b64"]),
    "b64 false, not critical": _header(b64=False),
    "b64 true": _header(b64=True, crit=["b64"]),
    **{f"typ {typ!r}": _header(typ=typ) for typ in ["logout+jwt", "JWE", "id_token+jwt", ["JWT"], "", "dpop+jwt"]},
}  # fmt: skip

BAD_DATES = {
    "a text": "9999999999",
    "a text with a digit in another script": "٩٩٩٩٩٩٩٩٩٩",
    "huge": 10**12,
    "huger": 10**30,
    "negative": -1,
    "a list": [4102444800],
    "an object": {"$date": 4102444800},
    "true": True,
    "null": None,
}
LITERALS = ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5000]

DATES: dict[str, Forgery] = {
    "expired": lambda f: f.good(exp=int(f.now) - 1),
    "expired just now": lambda f: f.good(exp=int(f.now)),
    "expired long ago": lambda f: f.good(exp=1),
    "exp 0": _claims(exp=0),
    "no exp": _claims(exp=ABSENT),
    "Exp": lambda f: f.good(exp=ABSENT, Exp=int(f.now) + 3600),
    "not yet valid": lambda f: f.good(nbf=int(f.now) + 300),
    "issued tomorrow": lambda f: f.good(iat=int(f.now) + 86400),
    **{f"{claim} is {name}": _claims(**{claim: value}) for claim in ("exp", "nbf", "iat") for name, value in BAD_DATES.items()},
    **{
        f"{claim} is {literal[:9]}": _body(lambda f, c=claim, v=literal: f'{f.text(**{c: ABSENT})[:-1]}, "{c}": {v}}}')
        for claim in ("exp", "nbf", "iat")
        for literal in LITERALS
    },
}  # fmt: skip

PEOPLE: dict[str, Forgery] = {
    **{f"sub {sub!r}": _claims(sub=sub) for sub in [["alice"], {"id": "alice"}, "", None, ABSENT, 7, True, [["alice"]]]},
    **{
        f"a user id with {why}": (lambda f, v=value: f.good(**{f.person: v}))
        for why, value in {
            "a line feed": "alice\nroot",
            "a NUL": "alice\x00",
            "an escape": "\x1b[31malice",
            "a hash": "alice#lab-7",
            "a space behind": "alice ",
            "a zero-width space": "al\u200bice",
            "its direction turned": "\u202eecila",
            "half a surrogate": "al\ud800ice",
            "a letter that prints like another": "\uff41lice",
            "256 letters": "a" * 256,
        }.items()
    },
}  # fmt: skip

ISSUERS: dict[str, Forgery] = {
    "another issuer": lambda f: f.good(iss=f.issuer[:-1] + "X"),
    "another issuer altogether": _claims(iss="https://mallory.example"),
    "no issuer": _claims(iss=ABSENT),
    "an issuer with a slash more": lambda f: f.good(iss=f.issuer + "/"),
    "an issuer in capitals": lambda f: f.good(iss=f.issuer.upper()),
    "an issuer that goes on": lambda f: f.good(iss=f"{f.issuer}.mallory.example"),
    "a list of issuers": lambda f: f.good(iss=[f.issuer]),
    "an issuer of no text": _claims(iss={"a": 1}),
    "an id token of a browser's sign-in": lambda f: f.good(token_use="id", aud=CLIENT_ID, nonce="n", client_id=ABSENT),
    "an id token by its at_hash": lambda f: f.good(token_use="id", at_hash="x", c_hash="x"),
    "a refresh token": _claims(token_use="refresh"),
}

CLIENTS: dict[str, Forgery] = {
    "another client": _claims(client_id="another-client"),
    "no client": _claims(client_id=ABSENT),
    "a list of clients": _claims(client_id=[CLIENT_ID]),
    "no client but aud": _claims(client_id=ABSENT, aud=CLIENT_ID),
    "a client's beginning": _claims(client_id=CLIENT_ID[:-1]),
    "no token_use": _claims(token_use=ABSENT),
    "token_use in capitals": _claims(token_use="ACCESS"),
    "a list of uses": _claims(token_use=["access"]),
    "no user name": _claims(username=ABSENT),
    "a list of user names": _claims(username=["alice"]),
    "an empty immutable_id of spaces": _claims(immutable_id="  "),
    "a list of immutable ids": _claims(immutable_id=["alice"]),
}

AUDIENCES: dict[str, Forgery] = {
    f"aud {aud!r}": _claims(aud=aud)
    for aud in ["another", "", None, ABSENT, [], ["another"], {AUDIENCE: 1}, 7, [7], [AUDIENCE, 7], AUDIENCE[:-1], f"{AUDIENCE}/", [[AUDIENCE]]]
}  # fmt: skip

BODIES: dict[str, Forgery] = {
    "claims twice, exp": _body(lambda f: f.repeated("exp", 1)),
    "claims twice, iss": _body(lambda f: f.repeated("iss", "https://mallory.example")),
    "claims twice, the same": _body(lambda f: f.repeated("sub", "sub-of-alice")),
    "claims twice, inside": _body(lambda f: f.text()[:-1] + ', "x": {"a": 1, "a": 2}}'),
    "header twice, alg": lambda f: built('{"alg": "none", "alg": "RS256", "kid": "k1"}', f.claims()),
    "header twice, kid": lambda f: built('{"alg": "RS256", "kid": "k2", "kid": "k1"}', f.claims()),
    **{
        f"claims {name}": _body(lambda f, m=make: m(f))
        for name, make in {
            "in a list": lambda f: [f.claims()],
            "in lists": lambda f: "[" * 900 + f.text() + "]" * 900,
            "as a text": lambda f: json.dumps(f.text()),
            "null": lambda f: "null",
            "a number": lambda f: "1",
            "empty": lambda f: "{}",
            "nothing": lambda f: " ",
            "cut": lambda f: f.text()[:-1],
            "and more": lambda f: f.text() + "{}",
            "and a NUL": lambda f: f.text() + "\x00",
            "with a comma more": lambda f: f.text()[:-1] + ",}",
            "with a comment": lambda f: "/**/" + f.text(),
            "in single quotes": lambda f: f.text().replace('"', "'"),
            "with NaN": lambda f: f.text()[:-1] + ', "x": NaN}',
            "nested deeply": lambda f: f.text()[:-1] + ', "x": ' + "[" * 4000 + "]" * 4000 + "}",
            "in UTF-16": lambda f: f.text().encode("utf-16"),
            "in UTF-16 without a mark": lambda f: f.text().encode("utf-16-le"),
            "with a mark before": lambda f: b"\xef\xbb\xbf" + f.text().encode(),
            "in no UTF-8": lambda f: f.text(x="@").encode().replace(b"@", b"\xff"),
            "in overlong UTF-8": lambda f: f.text(x="@").encode().replace(b"@", b"\xc0\xaf"),
            "of 20 kB": lambda f: f.text(x="x" * 20_000),
        }.items()
    },
    "a header in a list": lambda f: built([f.header()], f.claims()),
    "a header of nothing": lambda f: built("{}", f.claims()),
    "a header as a text": lambda f: built(json.dumps(json.dumps(f.header())), f.claims()),
    "a header nested deeply": lambda f: built('{"x": ' + "[" * 4000 + "]" * 4000 + "}", f.claims()),
    "a header of 20 kB": _header(x="x" * 20_000),
}

FORMS: dict[str, Forgery] = {
    "empty": lambda f: "",
    "dots": lambda f: "..",
    "a.b.c": lambda f: "a.b.c",
    "two parts": _parts(lambda h, c, s: f"{h}.{c}"),
    "two parts and a dot": _parts(lambda h, c, s: f"{h}.{c}."),
    "a dot before": lambda f: "." + f.good(),
    "a dot behind": lambda f: f.good() + ".",
    "four parts": lambda f: f.good() + ".AAAA",
    "a part between": _parts(lambda h, c, s: f"{h}..{c}.{s}"),
    "encrypted (JWE)": lambda f: ".".join(
        [encoded({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "k1"}), *(b64(bytes(n)) for n in (256, 12, 64, 16))]
    ),
    "signed, as JSON": _parts(lambda h, c, s: json.dumps({"protected": h, "payload": c, "signature": s})),
    "garbage": lambda f: "!!!.???.***",
    "a hundred thousand dots": lambda f: "." * 100_000,
    "a megabyte": lambda f: "A" * 1_000_000,
    "a megabyte and a token": lambda f: f.good() + "A" * 1_000_000,
    "padding": lambda f: f.good() + "==",
    "padding in the header": _parts(lambda h, c, s: f"{h}=.{c}.{s}"),
    "the other alphabet": lambda f: f.good(x="???>>>~~~").replace("_", "/").replace("-", "+"),
    "a line feed behind": lambda f: f.good() + "\n",
    "a line feed within": _parts(lambda h, c, s: f"{h}.\n{c}.{s}"),
    "a space before": lambda f: " " + f.good(),
    "a space behind": lambda f: f.good() + " ",
    "spaces around a dot": _parts(lambda h, c, s: f"{h} . {c}.{s}"),
    "a tab": _parts(lambda h, c, s: f"{h}\t.{c}.{s}"),
    "a NUL behind": lambda f: f.good() + "\x00",
    "a carriage return": lambda f: f.good() + "\r\nX-User: root",
    "wide dots": lambda f: f.good().replace(".", "\uff0e"),
    "a zero-width space": lambda f: f.good()[:10] + "\u200b" + f.good()[10:],
    "a mark before": lambda f: "\ufeff" + f.good(),
    "a letter that looks the same": lambda f: "\u0435" + f.good()[1:],
    "half a surrogate": lambda f: f.good() + "\ud800",
    "Bearer": lambda f: "Bearer " + f.good(),
    "two tokens": lambda f: f"{f.good()},{f.good()}",
    "percent": lambda f: f.good().replace(".", "%2E"),
    "in quotes": lambda f: f'"{f.good()}"',
}

_COMMON: Mapping[str, Forgery] = {**ALGORITHMS, **SIGNATURES, **DATES, **PEOPLE, **ISSUERS, **BODIES, **FORMS}
FORGERIES: Mapping[str, Mapping[str, Forgery]] = {
    "cognito": {**_COMMON, **CLIENTS},
    "oidc": {**_COMMON, **AUDIENCES},
}
TABLE = [(kind, name) for kind, forgeries in FORGERIES.items() for name in forgeries]
