-- A gRPC call with messages both ways, one at a time on a connection.
-- https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

local http2 = require("headrace.http2")
local link = require("headrace.link")

local byte, char, sub = string.byte, string.char, string.sub
local floor, ipairs, setmetatable = math.floor, ipairs, setmetatable

local _M = {}
local Call = {}
Call.__index = Call

local PREFIX = 5                       -- bytes before a message: whether it is compressed, and its length
local MAX_MESSAGE = 80 * 1024 * 1024   -- bytes; an answer that the service has read whole has 64 MiB at most
local MAX_WORDS = 200                  -- bytes of the peer's that go into the log
local REFUSED_STREAM = 7

local function headers_of(method, metadata)
    local headers = {
        { ":method", "POST" }, { ":scheme", "http" }, { ":path", method }, { ":authority", "headrace" },
        { "te", "trailers" }, { "content-type", "application/grpc" }, { "user-agent", "headrace-apisix" },
    }
    for _, pair in ipairs(metadata) do
        headers[#headers + 1] = pair
    end
    return headers
end

-- A call over `wire`, which is as link.lua has it. metadata: {name, value} pairs.
function _M.over(wire, method, metadata)
    local kept = wire:state()
    local stream = kept and http2.resume(kept, wire) or http2.open(wire)
    stream:begin(headers_of(method, metadata))
    return setmetatable({ link = wire, stream = stream, buffered = "" }, Call)
end

-- A call to a worker. address and timeouts: as for link.connect. fresh: on a new connection, not on one that was kept. Nil and why
-- where nobody listens there.
function _M.call(address, method, metadata, timeouts, fresh)
    local wire, err = link.connect(address, timeouts, fresh)
    if not wire then
        return nil, err
    end
    return _M.over(wire, method, metadata)
end

-- The peer has a time-out's length from now on to take what is sent and to answer.
function Call:allow()
    self.link:allow()
end

-- Writes a message; it leaves with the next flush or receive. last: no other comes after it.
function Call:send(message, last)
    local length = #message
    local prefix = char(0, floor(length / 16777216) % 256, floor(length / 65536) % 256, floor(length / 256) % 256, length % 256)
    return self.stream:write(prefix .. message, last)
end

function Call:flush()
    return self.stream:flush()
end

local function said(text)
    return (sub(text, 1, MAX_WORDS):gsub("[^\32-\126]", "?"))
end

-- What is wrong with the head of the answer; nil for nothing, or where it has not come.
local function no_grpc(headers)
    if not headers then
        return nil
    elseif headers[":status"] ~= "200" then
        return "HTTP status " .. said(headers[":status"])
    elseif sub(headers["content-type"] or "", 1, 16) ~= "application/grpc" then
        return "content-type " .. said(headers["content-type"] or "missing") .. ": this is no gRPC"
    end
end

-- Waits until `length` bytes are there. False when the stream ends before; nil and why when it fails.
function Call:fill(length)
    local stream, parts, have = self.stream, { self.buffered }, #self.buffered
    local ok, err = true, no_grpc(stream.headers)
    while ok and not err and have < length do
        if stream.size > 0 then
            parts[#parts + 1] = stream:take()
            have = have + #parts[#parts]
        elseif stream.ended then
            break
        else
            ok, err = stream:wait()
            err = err or no_grpc(stream.headers)
        end
    end
    self.buffered = table.concat(parts)
    if err then
        return nil, err
    end
    return have >= length
end

-- The next message. Nil when the service has ended the call cleanly; nil and why when it, or the connection, has failed.
function Call:receive()
    local there, err = self:fill(PREFIX)
    if there == nil then
        return nil, err
    elseif not there then
        return nil, self:status()
    end
    local compressed, a, b, c, d = byte(self.buffered, 1, PREFIX)
    local length = ((a * 256 + b) * 256 + c) * 256 + d
    if compressed ~= 0 or length > MAX_MESSAGE then
        return nil, "a message that is compressed, or too long"
    end
    there, err = self:fill(PREFIX + length)
    if not there then
        return nil, err or "a message that is cut off"
    end
    local message = sub(self.buffered, PREFIX + 1, PREFIX + length)
    self.buffered = sub(self.buffered, PREFIX + 1 + length)
    return message
end

-- Nil for a clean end, else what the service said of the other kind.
function Call:status()
    local trailers = self.stream.trailers
    if not trailers then
        return self.stream.reset_code and ("reset with code " .. self.stream.reset_code) or "ended without a status"
    elseif #self.buffered > 0 then
        return "a message that is cut off"
    elseif trailers["grpc-status"] == "0" then
        return nil
    end
    return "grpc-status " .. said(trailers["grpc-status"] or "missing") .. ": " .. said(trailers["grpc-message"] or "")
end

-- Whether the peer cannot have begun to work on it: it said so, or the connection that was kept had come to its end.
function Call:untouched()
    local stream = self.stream
    return stream.refused or stream.reset_code == REFUSED_STREAM or self.link.reused and stream.lost and not stream.heard
end

-- Whether it ran on a connection that was kept from an earlier call.
function Call:reused()
    return self.link.reused
end

-- The caller is gone, or somebody else failed: the service hears that the call was cancelled, not that it ended well.
function Call:cancel()
    if not self.closed then
        self.closed = true
        self.stream:reset()
        self.link:close()
    end
end

-- Nothing more is expected of the call. Its connection is kept where both sides have ended it well, else closed.
function Call:close()
    if self.closed then
        return
    end
    self.closed = true
    if self.buffered == "" and self.stream:settled() then
        self.link:keep(self.stream)
    else
        self.link:close()
    end
end

return _M
