"""Envoy's configuration for Headrace: rendered whole, patched into somebody else's, and examined for silent mistakes."""
