"""The choices that the command line offers."""

from enum import StrEnum


class RouteKind(StrEnum):
    """Who calls the model servers."""

    AI_PROXY = "ai-proxy"
    PLAIN = "plain"


class Part(StrEnum):
    """What `headrace apisix config` writes."""

    STANDALONE = "standalone"
    ADMIN = "admin"
    CONFIG = "config"
