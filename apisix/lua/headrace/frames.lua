-- HTTP/2's frames (RFC 9113, section 4) as bytes. What they mean is in http2.lua.

local bit = require("bit")

local band, rshift = bit.band, bit.rshift
local byte, char, concat, sub = string.byte, string.char, table.concat, string.sub
local ipairs = ipairs

local _M = {
    DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5, PING = 6, GOAWAY = 7,
    WINDOW_UPDATE = 8, CONTINUATION = 9,
    END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, WITH_PRIORITY = 32,
    HEADER_TABLE_SIZE = 1, ENABLE_PUSH = 2, INITIAL_WINDOW_SIZE = 4, MAX_FRAME_SIZE = 5,
    LARGEST = 16384,   -- bytes of a payload: the least that RFC 9113 lets a peer announce, and what counts unless it is said
}

local HEAD = 9

function _M.uint32(value)
    return char(band(rshift(value, 24), 255), band(rshift(value, 16), 255), band(rshift(value, 8), 255), band(value, 255))
end

function _M.read_uint32(data, at)
    local a, b, c, d = byte(data, at, at + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Streams and windows: the highest bit is reserved, and counts for nothing.
function _M.read_uint31(data, at)
    return _M.read_uint32(data, at) % 2147483648
end

function _M.frame(kind, flags, stream, payload)
    local length = #payload
    return char(band(rshift(length, 16), 255), band(rshift(length, 8), 255), band(length, 255), kind, flags)
        .. _M.uint32(stream) .. payload
end

-- settings: {number, value} pairs.
function _M.settings(settings)
    local out = {}
    for index, pair in ipairs(settings) do
        out[index] = char(0, pair[1]) .. _M.uint32(pair[2])
    end
    return _M.frame(_M.SETTINGS, 0, 0, concat(out))
end

function _M.window_update(stream, grant)
    return _M.frame(_M.WINDOW_UPDATE, 0, stream, _M.uint32(grant))
end

-- The frame at `at` as a table (kind, flags, stream, payload) and the place after it. Nil where it has not come whole; nil and why
-- where it is larger than was allowed, whether it has come or not.
function _M.read(data, at)
    if #data - at + 1 < HEAD then
        return nil
    end
    local a, b, c, kind, flags = byte(data, at, at + 4)
    local length = (a * 256 + b) * 256 + c
    if length > _M.LARGEST then
        return nil, "a frame of " .. length .. " bytes, more than was allowed"
    end
    local after = at + HEAD + length
    if after > #data + 1 then
        return nil
    end
    local payload = sub(data, at + HEAD, after - 1)
    return { kind = kind, flags = flags, stream = _M.read_uint31(data, at + 5), payload = payload }, after
end

-- A payload without its padding; nil where the padding is longer than the frame.
function _M.unpadded(frame)
    if band(frame.flags, _M.PADDED) == 0 then
        return frame.payload
    end
    local padding = byte(frame.payload, 1)
    if not padding or padding >= #frame.payload then
        return nil
    end
    return sub(frame.payload, 2, #frame.payload - padding)
end

return _M
