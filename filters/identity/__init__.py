"""Finds out who calls, and which models they may ask for."""

from headrace.filters.identity.filter import IdentityFilter, IdentitySettings

__all__ = ["IdentityFilter", "IdentitySettings"]
