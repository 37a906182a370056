"""An identity provider of the tests: its keys and the tokens it signs."""

import json
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.filters.compiled import NOON_MS

NOON = NOON_MS // 1000
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
CLAIMS = {"aud": "llm", "sub": "ada", "exp": NOON + 60, "groups": ["research", "all"]}

Signer = RSAKey | ECKey | OKPKey


def token(key: Signer = RSA, alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A signed token; a claim that is None is left out."""
    members = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    given = {"alg": alg, "kid": key.kid, **(header or {})}
    return jwt.encode({name: value for name, value in given.items() if value is not None}, members, key, algorithms=[alg])


def jwks(*keys: Signer, **members: Any) -> bytes:
    return json.dumps({"keys": [{**key.as_dict(private=False), **members} for key in keys or (RSA, EC, ED)]}).encode()
