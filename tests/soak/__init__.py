"""An endurance run: mixed traffic through real Envoy while everything breaks, and books that are compared at quiet points.

`make soak MINUTES=60`; docs/soak.md says what it does and how to read its result.
"""
