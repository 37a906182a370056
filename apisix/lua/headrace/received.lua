-- What a client makes of each frame of HTTP/2 that comes (RFC 9113), on a connection of http2.lua. Whatever a peer may not do is an
-- error that ends the connection, on a stream too: there is only one, and who breaks it breaks what it was opened for.

local frames = require("headrace.frames")
local hpack = require("headrace.hpack")
local bit = require("bit")

local band = bit.band
local byte, sub = string.byte, string.sub
local min = math.min

local _M = {}

local MAX_WINDOW = 2147483647
local MAX_HEADERS = 65536           -- bytes of one header block; the service's trailers have a few hundred
local MAX_IDLE_FRAMES = 10000       -- frames that carry nothing, between two that do: a peer that floods us

-- What a whole header block is: headers, the headers of an interim answer, or trailers.
local function place(self, headers)
    local status = headers[":status"]
    if self.headers then
        self.trailers = headers
        return self.block_ends or nil, "headers after the headers"
    elseif not status then
        return nil, "headers without a status"
    elseif #status == 3 and sub(status, 1, 1) == "1" then
        return not self.block_ends or nil, "an end where an answer had not begun"
    end
    self.headers = headers
    self.trailers = self.block_ends and headers or nil
    return true
end

local function block_read(self, got)
    if #self.block > MAX_HEADERS then
        return nil, "headers beyond " .. MAX_HEADERS .. " bytes"
    elseif band(got.flags, frames.END_HEADERS) == 0 then
        return true
    end
    local headers, err = hpack.decode(self.block)
    if not headers then
        return nil, err
    end
    self.block = nil
    local ok
    ok, err = place(self, headers)
    if not ok then
        return nil, err
    end
    self.ended = self.block_ends
    return true
end

local receive = {}

receive[frames.DATA] = function(self, got)
    if got.stream ~= self.stream or self.ended or not self.headers then
        return nil, "data where there can be none"
    end
    local length = #got.payload
    self.connection_credit, self.stream_credit = self.connection_credit - length, self.stream_credit - length
    if self.connection_credit < 0 or self.stream_credit < 0 then
        return nil, "more data than was granted"
    end
    local data = frames.unpadded(got)
    if not data then
        return nil, "padding longer than its frame"
    end
    self:grant(length - #data)
    if data ~= "" then
        self.data[#self.data + 1], self.size = data, self.size + #data
        self.idle = 0
    end
    self.ended = band(got.flags, frames.END_STREAM) ~= 0
    return true
end

receive[frames.HEADERS] = function(self, got)
    if got.stream ~= self.stream or self.ended then
        return nil, "headers where there can be none"
    end
    local block = frames.unpadded(got)
    if block and band(got.flags, frames.WITH_PRIORITY) ~= 0 then
        block = #block >= 5 and sub(block, 6) or nil
    end
    if not block then
        return nil, "a broken HEADERS frame"
    end
    self.block, self.block_ends = block, band(got.flags, frames.END_STREAM) ~= 0
    return block_read(self, got)
end

receive[frames.CONTINUATION] = function(self, got)
    if got.stream ~= self.stream or not self.block then
        return nil, "a CONTINUATION of nothing"
    end
    self.block = self.block .. got.payload
    return block_read(self, got)
end

receive[frames.RST_STREAM] = function(self, got)
    if got.stream == 0 or got.stream > self.stream or #got.payload ~= 4 then
        return nil, "a broken RST_STREAM frame"
    elseif got.stream == self.stream and not self.trailers then
        self.ended, self.reset_code = true, frames.read_uint32(got.payload, 1)
    end
    return true
end

local setting = {}

setting[frames.ENABLE_PUSH] = function(_, value)
    return value == 0
end

setting[frames.INITIAL_WINDOW_SIZE] = function(self, value)
    self.stream_window = self.stream_window + value - self.first_window
    self.first_window = value
    return value <= MAX_WINDOW and self.stream_window <= MAX_WINDOW
end

setting[frames.MAX_FRAME_SIZE] = function(self, value)
    self.peer_frame = min(value, frames.LARGEST)
    return value >= frames.LARGEST and value < 16777216
end

receive[frames.SETTINGS] = function(self, got)
    local acknowledges = band(got.flags, frames.ACK) ~= 0
    if got.stream ~= 0 or #got.payload % 6 ~= 0 or acknowledges and got.payload ~= "" then
        return nil, "a broken SETTINGS frame"
    elseif acknowledges then
        return true
    end
    for at = 1, #got.payload, 6 do
        local id = byte(got.payload, at) * 256 + byte(got.payload, at + 1)
        local value = frames.read_uint32(got.payload, at + 2)
        if setting[id] and not setting[id](self, value) then
            return nil, "a setting that may not be: " .. id .. " is " .. value
        end
    end
    self.greeted = true
    self:put(frames.frame(frames.SETTINGS, frames.ACK, 0, ""))
    return true
end

receive[frames.PING] = function(self, got)
    if got.stream ~= 0 or #got.payload ~= 8 then
        return nil, "a broken PING frame"
    elseif band(got.flags, frames.ACK) == 0 then
        self:put(frames.frame(frames.PING, frames.ACK, 0, got.payload))
    end
    return true
end

receive[frames.GOAWAY] = function(self, got)
    if got.stream ~= 0 or #got.payload < 8 then
        return nil, "a broken GOAWAY frame"
    end
    self.leaving = true
    if frames.read_uint31(got.payload, 1) < self.stream and not self.ended then
        self.refused = true
        return nil, "refused: the service is leaving"
    end
    return true
end

receive[frames.WINDOW_UPDATE] = function(self, got)
    local grant = #got.payload == 4 and frames.read_uint31(got.payload, 1) or 0
    if grant == 0 or got.stream > self.stream then
        return nil, "a broken WINDOW_UPDATE frame"
    end
    local name = got.stream == 0 and "connection_window" or got.stream == self.stream and "stream_window"
    if name then
        self[name] = self[name] + grant
    end
    if name and self[name] > MAX_WINDOW then
        return nil, "a window beyond what HTTP/2 allows"
    end
    return true
end

receive[frames.PUSH_PROMISE] = function()
    return nil, "a push that was not allowed"
end

receive[frames.PRIORITY] = function(_, got)
    if got.stream == 0 or #got.payload ~= 5 then
        return nil, "a broken PRIORITY frame"
    end
    return true
end

-- Takes a frame in. Nil and why where the peer may not send it.
function _M.take(self, got)
    self.idle = self.idle + 1
    if self.idle > MAX_IDLE_FRAMES then
        return nil, "a flood of frames that carry nothing"
    elseif self.block and got.kind ~= frames.CONTINUATION then
        return nil, "another frame between HEADERS and CONTINUATION"
    elseif not self.greeted and (got.kind ~= frames.SETTINGS or band(got.flags, frames.ACK) ~= 0) then
        return nil, "no SETTINGS at the beginning: this is no HTTP/2"
    end
    self.heard = self.heard or got.stream == self.stream
    local take = receive[got.kind]
    if not take then
        return true  -- of an extension; RFC 9113, 5.5
    end
    return take(self, got)
end

return _M
