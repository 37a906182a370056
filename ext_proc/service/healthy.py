"""Whether the service of this machine is ready, by its exit status: the image's HEALTHCHECK. The environment is the service's."""

import json
import os
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

TIMEOUT_S = 2.0
ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""The address to ask where the service listens at every one."""


def ready(environment: Mapping[str, str]) -> bool:
    """Asks /readyz. True where admin is off."""
    address = environment.get("HEADRACE_ADMIN", "127.0.0.1:9464")
    return address == "off" or readiness(address, tls=bool(environment.get("HEADRACE_ADMIN_TLS_CERT"))).get("ready") is True


def readiness(address: str, *, tls: bool) -> Mapping[str, Any]:
    """What /readyz says, asked directly, whatever proxy the environment names; empty where no Headrace answers.

    address: of the admin interface, host:port. Whether the certificate is right is for those to find out who come over a network.
    """
    host, _, port = address.rpartition(":")
    asking = build_opener(ProxyHandler({}), HTTPSHandler(context=ssl._create_unverified_context()))
    try:
        with _answer(asking, f"{'https' if tls else 'http'}://{ANY.get(host, host)}:{port}/readyz") as answer:
            said = json.load(answer)
    except (OSError, HTTPException, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _answer(asking: Any, url: str) -> Any:
    """Also one that says that it is not ready. Raises OSError and HTTPException."""
    try:
        return asking.open(url, timeout=TIMEOUT_S)
    except HTTPError as refusal:
        return refusal


if __name__ == "__main__":
    sys.exit(not ready(os.environ))
