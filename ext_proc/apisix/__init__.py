"""APISIX's configuration: written for a policy, and examined."""
