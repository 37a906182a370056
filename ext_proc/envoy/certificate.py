"""A server's certificate, followed: connections that come have what is in its files by then."""

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import ssl

    from headrace.ext_proc.envoy.transport import Tls

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""Between two looks at the files, which are small. File systems need give no notices for it."""


class Validity(NamedTuple):
    """Unix seconds."""

    not_before: float
    not_after: float


class Certificate:
    """context: for the listening socket. Each connection is one of the certificate that is in force when it is made.

    refused: whether the files hold what cannot be used. validity: of the one in force; None where its dates cannot be read.

    A context of its own for each certificate: one that is given another certificate keeps the first where the keys differ in kind,
    and sessions that it has agreed on are resumed in it without a look at the client's certificate.
    """

    def __init__(self, tls: "Tls", make: "Callable[[], ssl.SSLContext]") -> None:
        """make: a context from the files of `tls`. Raises OSError where they cannot be used."""
        self._make, self._files = make, [tls.certificate, tls.key, *filter(None, [tls.client_ca])]
        self._seen = self._signatures()
        self._take()
        self.refused = False
        self.context = _following(lambda: self._current)

    def _signatures(self) -> list[bytes]:
        return [_signature(Path(file)) for file in self._files]

    def _take(self) -> None:
        """Raises OSError, and changes nothing then."""
        self._current = self._make()
        self.validity = _validity(Path(self._files[0]))

    async def follow(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Where the files have changed, go by them; where they cannot be used, by what they were."""
        seen = self._signatures()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take()
        except OSError as error:  # an SSLError is one
            self.refused = True
            detail = error.strerror or str(error)
            log.warning("certificate refused, the last good one stays in force", extra={"files": self._files, "detail": detail})
        else:
            self.refused = False
            log.info("certificate in force", extra={"files": self._files})


def _following(current: "Callable[[], ssl.SSLContext]") -> "ssl.SSLContext":
    """In place of a context, for servers of asyncio and uvloop: each connection is made by the one that is current then."""
    import ssl  # who serves without TLS does without

    class Following(ssl.SSLContext):
        def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
            return current().wrap_bio(*arguments, **options)

    return Following(ssl.PROTOCOL_TLS_SERVER)


def _validity(chain: Path) -> Validity | None:
    """Of the first certificate in the file, which is the server's own. Raises OSError."""
    from cryptography import x509  # 11 MB that who serves without TLS does without

    try:
        own = x509.load_pem_x509_certificate(chain.read_bytes())
    except ValueError:  # OpenSSL takes more
        return None
    return Validity(own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp())


def _signature(file: Path) -> bytes:
    """Of what is in it; empty where it cannot be read."""
    try:
        return sha256(file.read_bytes()).digest()
    except OSError:
        return b""
