-- One HTTP/2 stream on one connection (RFC 9113), for a client: what it sends, and what it makes of each frame that comes.

local hpack = require("headrace.hpack")
local bit = require("bit")

local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift
local byte, char, concat, sub = string.byte, string.char, table.concat, string.sub
local min = math.min

local _M = {}
local Connection = {}
Connection.__index = Connection

local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
local DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION =
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9
local END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
local STREAM = 1

local MAX_FRAME = 16384             -- the least, and the default, that RFC 9113 lets a peer announce
local WINDOW = 1048576              -- bytes a peer may send before we have read them
local MAX_WINDOW = 2147483647
local MAX_HEADERS = 65536           -- bytes of one header block; the service's trailers have a few hundred
local MAX_IDLE_FRAMES = 10000       -- frames between two messages that carry nothing: a peer that floods us
local INITIAL_WINDOW = 65535

local function uint32(value)
    return char(band(rshift(value, 24), 255), band(rshift(value, 16), 255), band(rshift(value, 8), 255), band(value, 255))
end

local function read_uint32(data, at)
    local a, b, c, d = byte(data, at, at + 3)
    return ((a % 128 * 256 + b) * 256 + c) * 256 + d  -- the highest bit is reserved
end

local function frame(kind, flags, stream, payload)
    local length = #payload
    return char(band(rshift(length, 16), 255), band(rshift(length, 8), 255), band(length, 255), kind, flags)
        .. uint32(stream) .. payload
end

local function setting(id, value)
    return char(0, id) .. uint32(value)
end

-- HEADER_TABLE_SIZE 0, ENABLE_PUSH 0, INITIAL_WINDOW_SIZE.
local OPENING = PREFACE
    .. frame(SETTINGS, 0, 0, setting(1, 0) .. setting(2, 0) .. setting(4, WINDOW))
    .. frame(WINDOW_UPDATE, 0, 0, uint32(WINDOW - INITIAL_WINDOW))

-- sock: anything with a cosocket's send(data) and receive(length). Nothing is sent before the first `flush` or `wait`.
function _M.open(sock, headers)
    return setmetatable({
        sock = sock,
        out = { OPENING .. frame(HEADERS, END_HEADERS, STREAM, hpack.encode(headers)) },
        connection_window = INITIAL_WINDOW,
        stream_window = INITIAL_WINDOW,
        peer_window = INITIAL_WINDOW,
        peer_frame = MAX_FRAME,
        taken = 0,
        idle = 0,
        data = {},
        size = 0,
    }, Connection)
end

-- Sends what has been written. Nil and why where the connection has failed.
function Connection:flush()
    if #self.out == 0 then
        return true
    end
    local out = self.out
    self.out = {}
    local sent, err = self.sock:send(out)
    if not sent then
        return nil, err
    end
    return true
end

-- Writes data of the stream, in frames the peer takes; waits for its windows where they are used up.
function Connection:write(data, ends)
    local at = 1
    repeat
        local room = min(self.connection_window, self.stream_window, self.peer_frame)
        if room <= 0 and at <= #data then
            local ok, err = self:wait()
            if not ok then
                return nil, err
            end
        else
            local part = sub(data, at, at + room - 1)
            at = at + #part
            self.connection_window, self.stream_window = self.connection_window - #part, self.stream_window - #part
            self.out[#self.out + 1] = frame(DATA, (ends and at > #data) and END_STREAM or 0, STREAM, part)
        end
        if self.ended then
            return nil, "the service ended the stream"
        end
    until at > #data
    return true
end

-- The stream's data that has come since the last call.
function Connection:take()
    local data = concat(self.data)
    self.data, self.size = {}, 0
    return data
end

-- Ends our side of the stream.
function Connection:finish()
    self.out[#self.out + 1] = frame(DATA, END_STREAM, STREAM, "")
    return self:flush()
end

-- Tells the peer that nobody waits for the rest.
function Connection:reset()
    self.out[#self.out + 1] = frame(RST_STREAM, 0, STREAM, uint32(8))
    return self:flush()
end

local function unpadded(payload, flags)
    if band(flags, PADDED) == 0 then
        return payload
    end
    local padding = byte(payload, 1)
    if not padding or padding >= #payload then
        return nil
    end
    return sub(payload, 2, #payload - padding)
end

local receive = {}

receive[DATA] = function(self, flags, stream, payload)
    if stream ~= STREAM then
        return nil, "data of a stream nobody opened"
    end
    self.taken = self.taken + #payload
    if self.taken >= WINDOW / 2 then
        local grant = uint32(self.taken)
        self.out[#self.out + 1] = frame(WINDOW_UPDATE, 0, 0, grant) .. frame(WINDOW_UPDATE, 0, STREAM, grant)
        self.taken = 0
    end
    local data = unpadded(payload, flags)
    if not data then
        return nil, "padding longer than its frame"
    end
    if data ~= "" then
        self.data[#self.data + 1] = data
        self.size = self.size + #data
        self.idle = 0
    end
    self.ended = band(flags, END_STREAM) ~= 0
    return true
end

receive[HEADERS] = function(self, flags, stream, payload)
    if stream ~= STREAM then
        return nil, "headers of a stream nobody opened"
    end
    local block = unpadded(payload, flags)
    if block and band(flags, WITH_PRIORITY) ~= 0 then
        block = #block >= 5 and sub(block, 6) or nil
    end
    if not block then
        return nil, "a broken HEADERS frame"
    end
    self.block, self.block_ends = block, band(flags, END_STREAM) ~= 0
    return self:headers_end(flags)
end

receive[CONTINUATION] = function(self, flags, stream, payload)
    if stream ~= STREAM or not self.block then
        return nil, "a CONTINUATION of nothing"
    end
    self.block = self.block .. payload
    return self:headers_end(flags)
end

receive[RST_STREAM] = function(self, _, stream, payload)
    if stream ~= STREAM or #payload ~= 4 then
        return nil, "a broken RST_STREAM frame"
    end
    self.ended, self.reset_code = true, read_uint32(payload, 1)
    return true
end

receive[SETTINGS] = function(self, flags, _, payload)
    if band(flags, ACK) ~= 0 then
        return true
    end
    if #payload % 6 ~= 0 then
        return nil, "a broken SETTINGS frame"
    end
    for at = 1, #payload, 6 do
        local id, value = byte(payload, at) * 256 + byte(payload, at + 1), read_uint32(payload, at + 2)
        if id == 4 then
            self.stream_window = self.stream_window + value - self.peer_window
            self.peer_window = value
        elseif id == 5 then
            self.peer_frame = min(value, MAX_FRAME)
        end
    end
    self.out[#self.out + 1] = frame(SETTINGS, ACK, 0, "")
    return true
end

receive[PING] = function(self, flags, _, payload)
    if #payload ~= 8 then
        return nil, "a broken PING frame"
    end
    if band(flags, ACK) == 0 then
        self.out[#self.out + 1] = frame(PING, ACK, 0, payload)
    end
    return true
end

receive[GOAWAY] = function(self, _, _, payload)
    if #payload < 8 then
        return nil, "a broken GOAWAY frame"
    end
    if read_uint32(payload, 1) < STREAM then
        return nil, "refused: the service is leaving"
    end
    return true
end

receive[WINDOW_UPDATE] = function(self, _, stream, payload)
    local grant = #payload == 4 and read_uint32(payload, 1) or 0
    if grant == 0 then
        return nil, "a broken WINDOW_UPDATE frame"
    end
    local name = stream == 0 and "connection_window" or "stream_window"
    self[name] = self[name] + grant
    if self[name] > MAX_WINDOW then
        return nil, "a window beyond what HTTP/2 allows"
    end
    return true
end

receive[PUSH_PROMISE] = function()
    return nil, "a push that was not allowed"
end

receive[PRIORITY] = function()
    return true
end

function Connection:headers_end(flags)
    if #self.block > MAX_HEADERS then
        return nil, "headers beyond " .. MAX_HEADERS .. " bytes"
    end
    if band(flags, END_HEADERS) == 0 then
        return true
    end
    local headers, err = hpack.decode(self.block)
    if not headers then
        return nil, err
    end
    self.block = nil
    self.idle = 0
    self.headers = self.headers or headers
    if self.block_ends then
        self.trailers, self.ended = headers, true
    end
    return true
end

-- Takes the next frame in, after having sent what was written. Nil and why where the connection, or the peer, has failed.
function Connection:wait()
    local ok, err = self:flush()
    if not ok then
        return nil, err
    end
    local head
    head, err = self.sock:receive(9)
    if not head then
        return nil, err
    end
    local a, b, c, kind, flags = byte(head, 1, 5)
    local length = bor(lshift(a, 16), lshift(b, 8), c)
    if length > MAX_FRAME then
        return nil, "a frame larger than was allowed"
    end
    local payload = ""
    if length > 0 then
        payload, err = self.sock:receive(length)
        if not payload then
            return nil, err
        end
    end
    self.idle = self.idle + 1
    if self.idle > MAX_IDLE_FRAMES then
        return nil, "a flood of frames that carry nothing"
    end
    if self.block and kind ~= CONTINUATION then
        return nil, "another frame between HEADERS and CONTINUATION"
    end
    local take = receive[kind]
    if not take then
        return true  -- of an extension; RFC 9113, 5.5
    end
    return take(self, flags, read_uint32(head, 6), payload)
end

return _M
