-- The messages of Envoy's gRPC access log (proto/headrace_access_log.proto) by which usage is settled that APISIX reads itself.

local metadata = require("headrace.metadata")
local protobuf = require("headrace.protobuf")

local uint, bytes = protobuf.uint, protobuf.bytes
local concat, floor, ipairs, max = table.concat, math.floor, ipairs, math.max

local _M = {
    METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
}

local NANOS = 1e9

-- A Timestamp or a Duration.
local function time(seconds)
    local whole = floor(max(seconds, 0))
    return uint(1, whole) .. uint(2, floor((max(seconds, 0) - whole) * NANOS))
end

-- One entry. finished: `start` (epoch seconds), `duration` (seconds), `first_byte` (seconds, nil where none came), `status`,
-- `reached_upstream`, `metadata` (what the service gave), `usage` (what was read of the answer).
function _M.entry(finished)
    local common = {
        bytes(5, time(finished.start)),
        finished.reached_upstream and bytes(7, time(0)) or "",
        finished.first_byte and bytes(11, time(finished.first_byte)) or "",
        bytes(17, metadata.write({ headrace = finished.metadata, ["headrace.usage"] = finished.usage })),
        bytes(23, time(finished.duration)),
    }
    return bytes(1, concat(common)) .. bytes(4, bytes(1, uint(1, finished.status)))
end

-- A message with entries.
function _M.message(entries)
    local out = {}
    for _, entry in ipairs(entries) do
        out[#out + 1] = bytes(1, entry)
    end
    return bytes(2, concat(out))
end

return _M
