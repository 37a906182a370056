"""What there is to say of a certificate that is served."""

from collections.abc import Iterator

from headrace.ext_proc.envoy.certificate import Certificate
from headrace.ext_proc.telemetry import metrics
from headrace.ext_proc.telemetry.samples import Sample


def certificate_samples(certificate: Certificate | None, listener: str) -> Iterator[Sample]:
    """listener: a worker's number, or `admin`. Nothing where none is followed."""
    if certificate is None:
        return
    labels = [("listener", listener)]
    yield Sample(metrics.CERTIFICATE_REFUSED.name, labels, float(certificate.refused))
    if certificate.validity is not None:
        yield Sample(metrics.CERTIFICATE_NOT_BEFORE.name, labels, certificate.validity.not_before)
        yield Sample(metrics.CERTIFICATE_NOT_AFTER.name, labels, certificate.validity.not_after)
