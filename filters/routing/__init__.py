"""Sends a request to the offer that comes first of those that may serve it, and to the next one where that fails."""

from headrace.filters.routing.filter import HEADER, RoutingFilter
from headrace.filters.routing.refusals import unknown_model
from headrace.filters.routing.settings import RoutingSettings

__all__ = ["HEADER", "RoutingFilter", "RoutingSettings", "unknown_model"]
