"""Whether the service of this machine is ready, by its exit status: the image's HEALTHCHECK. The environment is the service's."""

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 2.0
ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""The address to ask where the service listens at every one."""


def ready(environment: Mapping[str, str]) -> bool:
    """Asks /readyz. Whether the certificate is right is for those to find out who come over a network. True where admin is off."""
    address = environment.get("HEADRACE_ADMIN", "127.0.0.1:9464")
    if address == "off":
        return True
    host, _, port = address.rpartition(":")
    scheme, context = "http", None
    if environment.get("HEADRACE_ADMIN_TLS_CERT"):
        scheme, context = "https", ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(
            f"{scheme}://{ANY.get(host, host)}:{port}/readyz", timeout=TIMEOUT_S, context=context
        ) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not ready(os.environ))
