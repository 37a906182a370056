-- HTTP/2 header blocks (RFC 7541), for a client that announces a dynamic table of size 0: every block stands alone.

local huffman = require("headrace.huffman")
local bit = require("bit")

local band, byte, char, concat, sub = bit.band, string.byte, string.char, table.concat, string.sub
local floor = math.floor

local _M = {}

-- RFC 7541, appendix A.
local STATIC = {
    { ":authority", "" }, { ":method", "GET" }, { ":method", "POST" }, { ":path", "/" }, { ":path", "/index.html" },
    { ":scheme", "http" }, { ":scheme", "https" }, { ":status", "200" }, { ":status", "204" }, { ":status", "206" },
    { ":status", "304" }, { ":status", "400" }, { ":status", "404" }, { ":status", "500" }, { "accept-charset", "" },
    { "accept-encoding", "gzip, deflate" }, { "accept-language", "" }, { "accept-ranges", "" }, { "accept", "" },
    { "access-control-allow-origin", "" }, { "age", "" }, { "allow", "" }, { "authorization", "" }, { "cache-control", "" },
    { "content-disposition", "" }, { "content-encoding", "" }, { "content-language", "" }, { "content-length", "" },
    { "content-location", "" }, { "content-range", "" }, { "content-type", "" }, { "cookie", "" }, { "date", "" },
    { "etag", "" }, { "expect", "" }, { "expires", "" }, { "from", "" }, { "host", "" }, { "if-match", "" },
    { "if-modified-since", "" }, { "if-none-match", "" }, { "if-range", "" }, { "if-unmodified-since", "" },
    { "last-modified", "" }, { "link", "" }, { "location", "" }, { "max-forwards", "" }, { "proxy-authenticate", "" },
    { "proxy-authorization", "" }, { "range", "" }, { "referer", "" }, { "refresh", "" }, { "retry-after", "" },
    { "server", "" }, { "set-cookie", "" }, { "strict-transport-security", "" }, { "transfer-encoding", "" },
    { "user-agent", "" }, { "vary", "" }, { "via", "" }, { "www-authenticate", "" },
}

-- A number whose first byte has `bits` bits for it; `flags` fill the rest of that byte.
local function number(value, bits, flags)
    local most = 2 ^ bits - 1
    if value < most then
        return char(flags + value)
    end
    local out = { char(flags + most) }
    value = value - most
    while value >= 128 do
        out[#out + 1] = char(value % 128 + 128)
        value = floor(value / 128)
    end
    out[#out + 1] = char(value)
    return concat(out)
end

local function text(value)
    return number(#value, 7, 0) .. value
end

local NO_TABLE = "\32"   -- a table of size 0, which a peer that announced none has to be told of (RFC 7541, 4.2)

-- The block for a list of {name, value}: literals that no table remembers.
function _M.encode(headers)
    local out = { NO_TABLE }
    for _, header in ipairs(headers) do
        out[#out + 1] = "\0" .. text(header[1]) .. text(header[2])
    end
    return concat(out)
end

-- The number at `at`, and the place after it; nil where the block ends before it does, or it is larger than any length may be.
local function read_number(block, at, bits)
    local most = 2 ^ bits - 1
    local first = byte(block, at)
    if not first then
        return nil
    end
    local value = band(first, most)
    at = at + 1
    if value < most then
        return value, at
    end
    local scale = 1
    for _ = 1, 4 do
        local next_byte = byte(block, at)
        if not next_byte then
            return nil
        end
        value = value + band(next_byte, 127) * scale
        at, scale = at + 1, scale * 128
        if next_byte < 128 then
            return value, at
        end
    end
    return nil
end

local function read_text(block, at)
    local first = byte(block, at)
    local length, start = read_number(block, at, 7)
    if not length or start + length - 1 > #block then
        return nil
    end
    local value = sub(block, start, start + length - 1)
    if first >= 128 then
        value = huffman.decode(value)
    end
    return value, start + length
end

-- A literal whose name is an index of `bits` bits, or stands there itself.
local function read_literal(block, at, bits)
    local index, value
    index, at = read_number(block, at, bits)
    if not index then
        return nil
    end
    local name
    if index == 0 then
        name, at = read_text(block, at)
    else
        name = STATIC[index] and STATIC[index][1]
    end
    if not name then
        return nil
    end
    value, at = read_text(block, at)
    return value and name, value, at
end

local function read_field(block, at)
    local first = byte(block, at)
    if first >= 128 then
        local index, after = read_number(block, at, 7)
        local entry = index and STATIC[index]
        if not entry then
            return nil
        end
        return entry[1], entry[2], after
    elseif first >= 64 then
        return read_literal(block, at, 6)
    end
    return read_literal(block, at, 4)
end

-- Name to value (the last one of equals); nil and what is wrong for a block that is none, or that needs a dynamic table.
function _M.decode(block)
    local headers, at = {}, 1
    while at <= #block do
        if band(byte(block, at), 0xe0) == 0x20 then
            local size
            size, at = read_number(block, at, 5)
            if size ~= 0 or next(headers) ~= nil then
                return nil, "a dynamic table that was not offered"
            end
        else
            local name, value
            name, value, at = read_field(block, at)
            if not name then
                return nil, "a broken header block"
            end
            headers[name] = value
        end
    end
    return headers
end

return _M
