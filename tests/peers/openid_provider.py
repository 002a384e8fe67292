"""An OpenID provider on loopback, signed by hand with `cryptography`; it is strict, and lies where it is told to."""

import base64
import hashlib
import hmac
import html
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.peers.ports import free_port

CLIENT_ID = "screener"
CLIENT_SECRET = "s3cret/with:odd+signs"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def encode_json(value: object) -> str:
    return encode(json.dumps(value).encode())


def encode_number(number: int) -> str:
    return encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


class OpenIdProvider:
    """Knows one client and some people; `lies` names what is wrong with what it says."""

    def __init__(self, people: dict[str, dict[str, Any]], back: str, *, host: str = "127.0.0.1") -> None:
        self.people = people
        """Claims by what a person is called on the page of the provider."""
        self.back = back
        self.port = free_port()
        self.issuer = f"http://{host}:{self.port}/realm"
        self.lies: set[str] = set()
        self.changes: dict[str, Any] = {}
        """Of the ID token's claims, after all else; None takes one away."""
        self.metadata: dict[str, Any] = {}
        """Of the discovery document."""
        self.refusal = ""
        """Its word for why it gives no token for any code; empty: it gives one."""
        self.algorithm = "RS256"
        self.now: Callable[[], float] = time.time
        self.calls: list[str] = []
        """Paths asked for."""
        self.codes: dict[str, dict[str, str]] = {}
        self.used: set[str] = set()
        self.signed_in = ""
        """Who is signed in here, in the one browser that it knows."""
        self.signed_out: list[dict[str, str]] = []
        self.rotate()

    def rotate(self) -> None:
        """Make new keys."""
        self.key_id = secrets.token_hex(4)
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/sign-out",
            "code_challenge_methods_supported": ["S256"],
        } | self.metadata

    def keys(self) -> dict[str, Any]:
        numbers, point = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        shared = {"use": "sig", "kid": self.key_id}
        listed: list[dict[str, Any]] = [
            {"kty": "odd", "kid": "x"},
            {"kty": "EC", "crv": "none", "kid": "y", "x": "", "y": ""},
            shared | {"kty": "RSA", "alg": "RS256", "n": encode_number(numbers.n), "e": encode_number(numbers.e)},
            shared
            | {"kty": "EC", "alg": "ES256", "crv": "P-256"}
            | {"x": encode(point.x.to_bytes(32, "big")), "y": encode(point.y.to_bytes(32, "big"))},
        ]
        return {"keys": listed}

    def authorize(self, address: str, person: str) -> str:
        """What the browser does there: check what is asked, and give the address that it is sent back to."""
        asked = dict(parse_qsl(urlsplit(address).query, strict_parsing=True))
        assert asked["response_type"] == "code"
        assert (asked["client_id"], asked["redirect_uri"]) == (CLIENT_ID, self.back)
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        self.signed_in = person
        code = secrets.token_urlsafe(12)
        self.codes[code] = asked | {"person": person}
        return self.answer(code=code, state=asked["state"], iss=self.issuer)

    def answer(self, **values: str) -> str:
        return f"{self.back}?{urlencode(values)}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if "basic" in authorization.lower():
            pair = base64.b64decode(authorization.split()[1]).decode().split(":")
            client = tuple(unquote_plus(part) for part in pair)
        else:
            client = (form.get("client_id", ""), form.get("client_secret", ""))
        if self.refusal:
            return 400, {"error": self.refusal}
        if client != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client", "error_description": "CANARY^DONOTLOG"}
        code = form.get("code", "")
        asked = self.codes.get(code)
        if asked is None or (code in self.used and "replay" not in self.lies):
            return 400, {"error": "invalid_grant"}
        challenge = encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if form["redirect_uri"] != self.back or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        self.used.add(code)
        access_token = secrets.token_urlsafe(20)
        answer = {"access_token": access_token, "token_type": "Bearer"}
        return 200, answer if "no token" in self.lies else answer | {"id_token": self.make_token(asked, access_token)}

    def make_token(self, asked: dict[str, str], access_token: str) -> str:
        now = int(self.now())
        digest = hashlib.sha256(access_token.encode()).digest()
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": f"subject of {asked['person']}",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "at_hash": encode(digest[:16]),
        }
        claims |= self.people[asked["person"]] | self.changes
        return self.sign({name: value for name, value in claims.items() if value is not None})

    def sign(self, claims: dict[str, Any]) -> str:
        algorithm = self.algorithm
        algorithm = "none" if "none" in self.lies else "HS256" if "hs256" in self.lies else algorithm
        header = {"alg": algorithm, "kid": "other" if "unknown key" in self.lies else self.key_id, "of": "ours"}
        signed = f"{encode_json(header)}.{encode_json(claims)}"
        signature = self._sign(signed.encode(), algorithm)
        if "changed" in self.lies:
            signed = f"{encode_json(header)}.{encode_json(claims | {'roles': ['screener-administrator']})}"
        return f"{signed}.{encode(signature)}"

    def _sign(self, data: bytes, algorithm: str) -> bytes:
        if algorithm == "none":
            return b""
        if algorithm == "HS256":  # with the public key as the secret
            public = self.rsa.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return hmac.new(public, data, hashlib.sha256).digest()
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if "forged" in self.lies else self.rsa
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def show_people(self, query: str) -> str:
        """The page that asks who signs in: a link for each person."""
        links = "".join(
            f'<p><a id="{html.escape(person)}" href="/realm/as?{html.escape(query)}&amp;person={html.escape(person)}">'
            f"{html.escape(person)}</a></p>"
            for person in self.people
        )
        return f"<!doctype html><title>Provider</title><h1>Who are you?</h1>{links}"

    def sign_out(self, asked: dict[str, str]) -> str:
        """End the session here; gives where the browser goes."""
        self.signed_out.append(asked)
        self.signed_in = ""
        return asked["post_logout_redirect_uri"]


@contextmanager
def open_provider(provider: OpenIdProvider) -> Iterator[OpenIdProvider]:
    """Serve `provider` at its port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            provider.calls.append(path)
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            match path.removeprefix("/realm"):
                case "/.well-known/openid-configuration" | "/keys" if "gone" in provider.lies:
                    self._send(404, "no such page")
                case "/.well-known/openid-configuration":
                    self._send(200, json.dumps(provider.document()))
                case "/keys":
                    self._send(200, json.dumps(provider.keys()))
                case "/authorize" if provider.signed_in and asked.get("prompt") != "login":
                    self._go(provider.authorize(self.path, provider.signed_in))
                case "/authorize":
                    self._send(200, provider.show_people(query), "text/html")
                case "/as":
                    self._go(provider.authorize(self.path, asked["person"]))
                case "/sign-out":
                    self._go(provider.sign_out(asked))
                case _:
                    self._send(404, "{}")

        def do_POST(self) -> None:
            provider.calls.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if "broken" in provider.lies:
                self._send(500, "{}")
            elif "redirect" in provider.lies:
                self._go(f"{provider.issuer}/elsewhere")
            elif "nonsense" in provider.lies:
                self._send(200, "[" * 100_000)
            else:
                status, answer = provider.exchange(dict(parse_qsl(body)), self.headers.get("Authorization", ""))
                self._send(status, json.dumps(answer))

        def _go(self, address: str) -> None:
            self.send_response(302)
            self.send_header("Location", address)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, status: int, text: str, kind: str = "application/json") -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", provider.port), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield provider
        finally:
            server.shutdown()
