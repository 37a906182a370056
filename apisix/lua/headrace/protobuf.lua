-- Protocol Buffers' wire format: fields in, fields out (https://protobuf.dev/programming-guides/encoding).

local byte, char, concat, sub = string.byte, string.char, table.concat, string.sub
local floor = math.floor

local _M = {}

local VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
local MOST = 2 ^ 53  -- what a Lua number holds exactly

local function varint(value)
    local out = {}
    while value >= 128 do
        out[#out + 1] = char(value % 128 + 128)
        value = floor(value / 128)
    end
    out[#out + 1] = char(value)
    return concat(out)
end

-- A field that is a number or a boolean; nothing for 0 and false, which proto3 leaves out.
function _M.uint(field, value)
    value = value == true and 1 or value or 0
    if value == 0 then
        return ""
    end
    return varint(field * 8 + VARINT) .. varint(value)
end

-- A field that is a string, bytes or a message; also when it is empty, for there its presence counts.
function _M.bytes(field, value)
    return varint(field * 8 + BYTES) .. varint(#value) .. value
end

-- The number at `at` and the place after it; nil for one that is cut off, too long, or beyond what a Lua number holds.
local function read_varint(data, at)
    local value, scale = 0, 1
    for _ = 1, 10 do
        local next_byte = byte(data, at)
        if not next_byte then
            return nil
        end
        value = value + (next_byte % 128) * scale
        at, scale = at + 1, scale * 128
        if next_byte < 128 then
            if value >= MOST then
                return nil
            end
            return value, at
        end
    end
    return nil
end

local function read_value(data, at, kind)
    if kind == VARINT then
        return read_varint(data, at)
    end
    local length, start = 8, at
    if kind == BYTES then
        length, start = read_varint(data, at)
    elseif kind == FIXED32 then
        length = 4
    elseif kind ~= FIXED64 then
        return nil
    end
    if not length or start + length - 1 > #data then
        return nil
    end
    return sub(data, start, start + length - 1), start + length
end

-- Calls each(field, value) for every field of a message: numbers as numbers, fixed-width ones as their bytes. False where the
-- bytes are no message.
function _M.each(data, each)
    local at = 1
    while at <= #data do
        local key, after = read_varint(data, at)
        local field = key and floor(key / 8)
        if not field or field == 0 then
            return false
        end
        local value
        value, at = read_value(data, after, key % 8)
        if value == nil then
            return false
        end
        each(field, value)
    end
    return true
end

return _M
