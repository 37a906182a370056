"""SETTINGS (RFC 9113, section 6.5): what we announce, and what the peer may."""

from struct import iter_unpack

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode
from headrace.ext_proc.envoy.h2.frames import MAX_FRAME, Setting
from headrace.ext_proc.envoy.h2.limits import CONNECTION_WINDOW, HEADER_LIST, MAX_STREAMS, STREAM_WINDOW
from headrace.ext_proc.envoy.h2.sender import DEFAULT_WINDOW, MAX_WINDOW

GREETING = frames.settings(
    {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        Setting.MAX_HEADER_LIST_SIZE: HEADER_LIST,
    }
) + frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)
"""The first that a server says, before it has heard anything."""

_ALLOWED = {
    Setting.ENABLE_PUSH: (range(2), ErrorCode.PROTOCOL_ERROR),
    Setting.INITIAL_WINDOW_SIZE: (range(MAX_WINDOW + 1), ErrorCode.FLOW_CONTROL_ERROR),
    Setting.MAX_FRAME_SIZE: (range(MAX_FRAME, 1 << 24), ErrorCode.PROTOCOL_ERROR),
}


def parsed(payload: bytes) -> dict[int, int]:
    """The settings by number; of one that comes twice, the last. Raises ConnectionFault."""
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"settings of {len(payload)} bytes, which is no multiple of six")
    found = dict(iter_unpack(">HL", payload))
    for setting, (allowed, code) in _ALLOWED.items():
        if (value := found.get(setting)) is not None and value not in allowed:
            raise ConnectionFault(code, f"{setting.name} of {value}")
    return found
