"""Personal data: found in requests, replaced by placeholders, put back into answers."""

from headrace.filters.pii.filter import PiiFilter
from headrace.filters.pii.settings import PiiSettings

__all__ = ["PiiFilter", "PiiSettings"]
