-- One HTTP/2 connection (RFC 9113) as a client has it that opens one stream at a time: what it sends. What it makes of the frames
-- that come is in received.lua. Every method that can fail gives nil and why; then the connection is of no use any more.

local frames = require("headrace.frames")
local hpack = require("headrace.hpack")
local received = require("headrace.received")

local concat, sub = table.concat, string.sub
local max, min, setmetatable = math.max, math.min, setmetatable
local frame, window_update = frames.frame, frames.window_update

local _M = {}
local Connection = {}
Connection.__index = Connection

local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
local CANCEL = 8

local WINDOW = 1048576              -- bytes a peer may send before we have taken them
local INITIAL_WINDOW = 65535
local MAX_UNSENT = 262144           -- bytes of frames that are collected into one write

local OPENING = PREFACE
    .. frames.settings({ { frames.HEADER_TABLE_SIZE, 0 }, { frames.ENABLE_PUSH, 0 }, { frames.INITIAL_WINDOW_SIZE, WINDOW } })
    .. window_update(0, WINDOW - INITIAL_WINDOW)

-- link: anything with send(data), read() and allow(), as link.lua has them. Nothing is sent before the first `flush` or `wait`.
function _M.open(link)
    return setmetatable({
        link = link,
        out = { OPENING }, unsent = #OPENING,
        buffer = "",
        stream = -1,
        connection_window = INITIAL_WINDOW,     -- what the peer lets us send: on the connection, on the stream, on a new stream
        stream_window = INITIAL_WINDOW,
        first_window = INITIAL_WINDOW,
        peer_frame = frames.LARGEST,
        connection_credit = WINDOW,             -- what we let the peer send, and what it has not been told of yet
        connection_owed = 0,
    }, Connection)
end

-- The same connection for another exchange, over the link that has been connected to it again.
function _M.resume(connection, link)
    connection.link = link
    return connection
end

function Connection:put(bytes)
    self.out[#self.out + 1], self.unsent = bytes, self.unsent + #bytes
end

-- Opens the next stream. headers: {name, value} pairs.
function Connection:begin(headers)
    self.stream = self.stream + 2
    self.stream_window = self.first_window
    self.stream_credit, self.stream_owed = WINDOW, 0
    self.heard, self.closed, self.ended, self.headers, self.trailers, self.reset_code = false, false, false, nil, nil, nil
    self.data, self.size, self.idle = {}, 0, 0
    self:put(frame(frames.HEADERS, frames.END_HEADERS, self.stream, hpack.encode(headers)))
end

-- Sends what has been written.
function Connection:flush()
    if self.unsent == 0 then
        return true
    end
    local out = self.out
    self.out, self.unsent = {}, 0
    local sent, err = self.link:send(out)
    if not sent then
        self.lost = err ~= "timeout"
        return nil, err
    end
    return true
end

-- Bytes that may be sent now. A stream's window can be less than nothing: the peer may make it smaller at any time.
local function room(self)
    return max(0, min(self.connection_window, self.stream_window, self.peer_frame))
end

-- Makes room for data: waits for the peer's windows where they are used up, and has the socket take what is a lot already.
function Connection:make_room()
    if room(self) == 0 then
        return self:wait()
    elseif self.unsent >= MAX_UNSENT then
        return self:flush()
    end
    return true
end

-- Writes data of the stream, in frames the peer takes. ends: nothing comes after it.
function Connection:write(data, ends)
    local at = 1
    repeat
        local part = sub(data, at, at + room(self) - 1)
        if part ~= "" or at > #data then
            at = at + #part
            self.connection_window, self.stream_window = self.connection_window - #part, self.stream_window - #part
            self.closed = ends and at > #data
            self:put(frame(frames.DATA, self.closed and frames.END_STREAM or 0, self.stream, part))
        end
        local ok, err = true, nil
        if at <= #data then
            ok, err = self:make_room()
        end
        if not ok then
            return nil, err
        elseif self.ended then
            return nil, "the service ended the stream"
        end
    until at > #data
    return true
end

-- The stream's data that has come since the last call. The peer may send as much again.
function Connection:take()
    local data = concat(self.data)
    self.data, self.size = {}, 0
    self:grant(#data)
    return data
end

-- The peer is told half a window at a time.
function Connection:grant(amount)
    self.connection_owed, self.stream_owed = self.connection_owed + amount, self.stream_owed + amount
    if self.connection_owed >= WINDOW / 2 then
        self:put(window_update(0, self.connection_owed))
        self.connection_credit, self.connection_owed = self.connection_credit + self.connection_owed, 0
    end
    if self.stream_owed >= WINDOW / 2 and not self.ended then
        self:put(window_update(self.stream, self.stream_owed))
        self.stream_credit, self.stream_owed = self.stream_credit + self.stream_owed, 0
    end
end

-- Tells the peer that nobody waits for the rest.
function Connection:reset()
    self:put(frame(frames.RST_STREAM, 0, self.stream, frames.uint32(CANCEL)))
    return self:flush()
end

-- Whether both sides have ended the stream and nothing is left of it, so that the connection may carry another one. Ends our side
-- where the peer's has ended.
function Connection:settled()
    if not self.trailers or self.reset_code or self.leaving or self.broken or self.buffer ~= "" or self.size > 0 then
        return false
    end
    if not self.closed then
        self.closed = true
        self:put(frame(frames.DATA, frames.END_STREAM, self.stream, ""))
    end
    return self:flush() == true
end

-- Takes in the frames that have come whole, up to the first that the peer may not send: what came before it still counts.
function Connection:drain()
    local at = 1
    while not self.broken do
        local got, after = frames.read(self.buffer, at)
        if not got then
            self.broken = after
            break
        end
        at = after
        local _, err = received.take(self, got)
        self.broken = err
    end
    self.buffer = sub(self.buffer, at)
end

-- Sends what was written, and takes in what comes then. A peer that takes nothing any more may have answered before.
function Connection:wait()
    if self.broken then
        return nil, self.broken
    end
    local _, unsent = self:flush()
    local bytes, err = self.link:read()
    if not bytes then
        self.lost = err ~= "timeout"
        return nil, unsent or err
    end
    self.buffer = self.buffer .. bytes
    self:drain()
    return true
end

return _M
