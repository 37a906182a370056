"""JSON Web Tokens: what names the caller, and every way a token can be none."""

import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.filters.identity.tokens import claim
from tests.filters.compiled import ManualClock
from tests.filters.identity.support import bearer, policy_of, principal, reason
from tests.filters.identity.tokens import EC, ED, NOON, OTHER_RSA, RSA, Signer, jwks, token


def idp(directory: Path, settings: str = "", content: bytes | None = None, **ports: Any) -> Policy:
    (directory / "jwks.json").write_bytes(content if content is not None else jwks())
    claims = "claims: {team: groups.0, user: sub}"
    jwt = f"jwks: jwks.json, audience: llm, {claims}, algorithms: [RS256, ES256, Ed25519]{settings}"
    return policy_of(directory, f"identity: [{{jwt: {{{jwt}}}}}]", **ports)


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "Ed25519")])
async def test_a_token_names_its_principal(tmp_path: Path, key: Signer, alg: str) -> None:
    assert await principal(idp(tmp_path), bearer(token(key, alg))) == Principal(team="research", user="ada")


async def test_a_token_without_a_key_id_is_of_the_only_key_that_fits(tmp_path: Path) -> None:
    anonymous = token(header={"kid": None})
    assert (await principal(idp(tmp_path), bearer(anonymous))).user == "ada"
    two = jwks(RSA, RSAKey.generate_key(2048, {"kid": "two"}))
    assert await reason(idp(tmp_path, content=two), bearer(anonymous)) == "auth.invalid"


CLAIMS_REFUSED: list[dict[str, Any]] = [
    {"exp": None},
    {"exp": "tomorrow"},
    {"exp": str(NOON + 60)},
    {"exp": True},
    {"exp": [NOON + 60]},
    {"nbf": NOON + 3600},
    {"nbf": "x"},
    {"iat": NOON + 3600},
    {"aud": None},
    {"aud": "other"},
    {"aud": ["other"]},
    {"aud": []},
    {"aud": {"llm": 1}},
    {"aud": 5},
    {"iss": "https://evil"},
    {"iss": None},
    {"iss": ["https://idp"]},
    {"sub": "a\nb"},
    {"sub": "x" * 300},
    {"groups": ["{acme}"]},
]


@pytest.mark.parametrize("claims", CLAIMS_REFUSED, ids=str)
async def test_claims_that_are_not_for_us_are_refused(tmp_path: Path, claims: dict[str, Any]) -> None:
    policy = idp(tmp_path, ", issuer: 'https://idp'")
    assert (await principal(policy, bearer(token(iss="https://idp")))).user == "ada"
    assert await reason(policy, bearer(token(**({"iss": "https://idp"} | claims)))) == "auth.invalid"


async def test_several_audiences_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(jwks())
    policy = policy_of(tmp_path, "identity: [{jwt: {jwks: jwks.json, audience: [llm, chat]}}]")
    for audience in ("llm", "chat", ["other", "chat"]):
        assert (await principal(policy, bearer(token(aud=audience)))).user == "ada"
    assert await reason(policy, bearer(token(aud=["other"]))) == "auth.invalid"


async def test_a_token_expires_with_the_leeway(tmp_path: Path) -> None:
    clock = ManualClock()
    policy = idp(tmp_path, ", leeway_seconds: 10", clock=clock)
    clock.now += 69_000
    assert (await principal(policy, bearer(token()))).user == "ada"
    clock.now += 2_000
    assert await reason(policy, bearer(token())) == "auth.expired"


async def test_an_expired_token_that_was_never_ours_is_invalid(tmp_path: Path) -> None:
    assert await reason(idp(tmp_path), bearer(token(OTHER_RSA, exp=NOON - 3600))) == "auth.invalid"


def forged(header: dict[str, Any], signature: str = "", **claims: Any) -> str:
    def part(value: Any) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part({'aud': 'llm', 'sub': 'ada', 'exp': NOON + 60} | claims)}.{signature}"


def signed_with(secret: bytes) -> str:
    content = forged({"alg": "HS256", "kid": "rsa"}).rstrip(".")
    return f"{content}.{urlsafe_b64encode(hmac.digest(secret, content.encode(), 'sha256')).rstrip(b'=').decode()}"


FORGERIES = {
    "alg none": forged({"alg": "none", "kid": "rsa"}),
    "alg None": forged({"alg": "None", "kid": "rsa"}),
    "no alg": forged({"kid": "rsa"}),
    "alg of another type": forged({"alg": ["RS256"], "kid": "rsa"}),
    "no signature": forged({"alg": "RS256", "kid": "rsa"}),
    "another's signature": token(OTHER_RSA),
    "kid of another type": forged({"alg": "RS256", "kid": {"a": 1}}, "AAAA"),
    "unknown kid": token(RSAKey.generate_key(2048, {"kid": "unknown"})),
    "a path as kid": forged({"alg": "RS256", "kid": "../../etc/passwd"}, "AAAA"),
    "the public key as a secret": signed_with(RSA.as_pem(private=False)),
    "an algorithm not listed": token(RSA, "PS256"),
    "the key of another algorithm": forged({"alg": "ES256", "kid": "rsa"}, "AAAA"),
    "a key of its own": token(OTHER_RSA, header={"jwk": OTHER_RSA.as_dict(private=False)}),
    "a key set of its own": token(OTHER_RSA, header={"jku": "https://evil/jwks.json"}),
    "a critical extension": forged({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": False}, "AAAA"),
    "changed claims": token().split(".")[0] + "." + forged({}, "x", sub="eve").split(".")[1] + "." + token().split(".")[2],
    "a signature with more behind it": token() + "A" * 8,
    "two parts": token().rsplit(".", 1)[0],
    "four parts": token() + ".x",
    "five parts": "a.b.c.d.e",
    "dots": "..",
    "a list as header": "W10.e30.AA",
    "no base64": "*.*.*",
    "a deep header": urlsafe_b64encode(b"[" * 9000).decode().rstrip("=") + ".e30.AA",
    "a long number as exp": ".".join([token().split(".")[0], urlsafe_b64encode(b'{"exp": ' + b"9" * 5000 + b"}").decode(), "AA"]),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_a_token_that_the_provider_did_not_sign_is_refused(tmp_path: Path, forgery: str) -> None:
    assert await reason(idp(tmp_path), bearer(forgery)) == "auth.invalid"


@pytest.mark.parametrize("exp", ["9" * 5000, "1e999", "NaN", "1e400", "-1e999"])
async def test_odd_numbers_in_signed_claims_never_admit(tmp_path: Path, exp: str) -> None:
    claims = f'{{"aud": "llm", "sub": "ada", "exp": {exp}}}'
    signed = jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, claims, RSA, algorithms=["RS256"])
    assert await reason(idp(tmp_path), bearer(signed)) in ("auth.invalid", "auth.expired")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("sub", "ada"),
        ("groups.0", "research"),
        ("groups.1", "all"),
        ("groups.2", None),
        ("groups.-1", None),
        ("groups", None),
        ("groups.x", None),
        ("realm.roles.0.name", "admin"),
        ("sub.0", None),
        ("number", "7"),
        ("yes", None),
        ("empty", None),
        ("missing.deeply", None),
        ("https://corp.example/team", "by URL"),
    ],
)
def test_a_claim_is_found_by_its_path(path: str, found: str | None) -> None:
    claims = {
        "sub": "ada", "groups": ["research", "all"], "realm": {"roles": [{"name": "admin"}]}, "number": 7, "yes": True,
        "empty": "", "https://corp.example/team": "by URL",
    }  # fmt: skip
    assert claim(claims, path) == found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[]", "is no JWK set: {keys: [...]} of up to 1000 keys is expected"),
        (b'{"keys": []}', "is a JWK set without a public key for signatures"),
        (b'{"keys": [1, {}, {"kty": "RSA"}, {"kty": ["RSA"]}]}', "is a JWK set without a public key for signatures"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "is a JWK set without a public key for signatures"),
        (b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}', "is a JWK set without a public key for signatures"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "is a JWK set without a public key for signatures"),
        (jwks(RSA, use="enc"), "is a JWK set without a public key for signatures"),
    ],
)
def test_a_key_file_without_keys_is_a_problem(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(PolicyErrors) as raised:
        idp(tmp_path, content=content)
    (found,) = raised.value.problems
    assert (found.line, found.where) == (3, "identity[0].jwt.jwks")
    assert found.message.endswith(problem)


async def test_a_key_for_one_algorithm_signs_with_no_other(tmp_path: Path) -> None:
    policy = idp(tmp_path, content=jwks(RSA, alg="PS256"))
    assert await reason(policy, bearer(token())) == "auth.invalid"


@pytest.mark.parametrize(
    "url", ["http://idp.example/jwks", "ftp://idp/jwks", "https://", "https://idp:0/x", "https://idp:x/", "://"]
)
def test_keys_are_fetched_over_https_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(PolicyErrors, match="is not an https:// URL"):
        policy_of(tmp_path, f"identity: [{{jwt: {{jwks: '{url}', audience: llm}}}}]")


async def test_the_next_source_is_asked_for_a_token_of_another_provider(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(jwks(OTHER_RSA))
    (tmp_path / "b.json").write_bytes(jwks(RSA))
    sources = ", ".join(f"{{jwt: {{jwks: {name}.json, audience: llm}}}}" for name in "ab")
    assert (await principal(policy_of(tmp_path, f"identity: [{sources}]"), bearer(token()))).user == "ada"
