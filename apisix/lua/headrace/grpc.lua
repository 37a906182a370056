-- One gRPC call with messages both ways (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), on a connection of its own.

local http2 = require("headrace.http2")

local byte, char, sub = string.byte, string.char, string.sub
local floor = math.floor

local _M = {}
local Call = {}
Call.__index = Call

local MAX_MESSAGE = 80 * 1024 * 1024   -- bytes; an answer that the service has read whole has 64 MiB at most

local function connect(address, timeouts)
    local sock = ngx.socket.tcp()
    sock:settimeouts(timeouts.connect, timeouts.message, timeouts.message)
    local ok, err
    if address.path then
        ok, err = sock:connect("unix:" .. address.path)
    else
        ok, err = sock:connect(address.host, address.port)
    end
    if not ok then
        return nil, err
    end
    return sock
end

-- address: {path = …} or {host = …, port = …}. metadata: {name, value} pairs. timeouts: milliseconds, `connect` and `message`.
-- Nil and why where nobody listens there.
function _M.call(address, method, metadata, timeouts)
    local sock, err = connect(address, timeouts)
    if not sock then
        return nil, err
    end
    local headers = {
        { ":method", "POST" }, { ":scheme", "http" }, { ":path", method }, { ":authority", "headrace" },
        { "te", "trailers" }, { "content-type", "application/grpc" }, { "user-agent", "headrace-apisix" },
    }
    for _, pair in ipairs(metadata) do
        headers[#headers + 1] = pair
    end
    return setmetatable({ sock = sock, stream = http2.open(sock, headers), buffered = "" }, Call)
end

-- Writes a message; it leaves with the next flush or receive.
function Call:send(message)
    local length = #message
    local prefix = char(0, floor(length / 16777216) % 256, floor(length / 65536) % 256, floor(length / 256) % 256, length % 256)
    return self.stream:write(prefix .. message)
end

function Call:flush()
    return self.stream:flush()
end

-- Waits until `length` bytes are there. False when the stream ends before; nil and why when it fails.
function Call:fill(length)
    while #self.buffered + self.stream.size < length and not self.stream.ended do
        local ok, err = self.stream:wait()
        if not ok then
            return nil, err
        end
    end
    if self.stream.size > 0 then
        self.buffered = self.buffered .. self.stream:take()
    end
    return #self.buffered >= length
end

-- The next message. Nil when the service has ended the call cleanly; nil and why when it, or the connection, has failed.
function Call:receive()
    local there, err = self:fill(5)
    if there == nil then
        return nil, err
    elseif not there then
        return nil, self:status()
    end
    local compressed, a, b, c, d = byte(self.buffered, 1, 5)
    local length = ((a * 256 + b) * 256 + c) * 256 + d
    if compressed ~= 0 or length > MAX_MESSAGE then
        return nil, "a message that is compressed, or too long"
    end
    there, err = self:fill(5 + length)
    if not there then
        return nil, err or "a message that is cut off"
    end
    local message = sub(self.buffered, 6, 5 + length)
    self.buffered = sub(self.buffered, 6 + length)
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
    return "grpc-status " .. (trailers["grpc-status"] or "missing") .. ": " .. (trailers["grpc-message"] or "")
end

-- Whether the service ended the call cleanly, waiting for its end: nil, or why not.
function Call:finished()
    self.stream:finish()
    local message, err = self:receive()
    self:close()
    if message then
        return "a message nobody asked for"
    end
    return err
end

-- The caller is gone, or somebody else failed: the service hears that the call was cancelled, not that it ended well.
function Call:cancel()
    if not self.closed then
        self.stream:reset()
        self:close()
    end
end

function Call:close()
    if not self.closed then
        self.closed = true
        self.sock:close()
    end
end

return _M
