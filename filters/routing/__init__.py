"""Sends a request to one of its model's pools, and to the next one where that fails."""

from headrace.filters.routing.filter import HEADER, RoutingFilter, RoutingSettings, unknown_model

__all__ = ["HEADER", "RoutingFilter", "RoutingSettings", "unknown_model"]
