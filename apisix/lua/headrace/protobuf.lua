-- Protocol Buffers' wire format (https://protobuf.dev/programming-guides/encoding): fields in, fields out. What is no message is
-- told apart as upb does it, the parser of the service: see tests/apisix/test_protobuf.py.

local byte, char, concat, sub = string.byte, string.char, table.concat, string.sub
local floor = math.floor

local VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = 0, 1, 2, 3, 4, 5

local _M = { VARINT = VARINT, FIXED64 = FIXED64, BYTES = BYTES }

local MOST = 2 ^ 52          -- beyond it a number is MOST and its lowest 32 bits: what Lua holds exactly
local TAG, LENGTH, LONGEST = 5, 5, 10   -- bytes of a varint, by what it stands for
local MAX_LENGTH = 2 ^ 31
local MAX_DEPTH = 100        -- of groups in groups

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

-- A field that is a whole number from 0 to 2^53, written as a double: IEEE 754, 64 bits, least significant byte first.
function _M.double_field(field, value)
    local mantissa, exponent = math.frexp(value)
    local fraction = value == 0 and 0 or (mantissa * 2 - 1) * 2 ^ 52
    local power = value == 0 and 0 or exponent + 1022
    local out = { varint(field * 8 + FIXED64) }
    for _ = 1, 6 do
        out[#out + 1] = char(fraction % 256)
        fraction = floor(fraction / 256)
    end
    out[#out + 1] = char(fraction + power % 16 * 16) .. char(floor(power / 16))
    return concat(out)
end

-- The number at `at` and the place after it; nil for one that is cut off, or has more than `longest` bytes.
local function read_varint(data, at, longest)
    local value, low, scale = 0, 0, 1
    for place = 1, longest do
        local next_byte = byte(data, at)
        if not next_byte then
            return nil
        end
        local bits = place == LONGEST and next_byte % 2 or next_byte % 128  -- 64 bits, and no more
        value = value + bits * scale
        low = place <= 5 and value % 4294967296 or low
        at, scale = at + 1, scale * 128
        if next_byte < 128 then
            return value < MOST and value or MOST + low, at
        end
    end
    return nil
end

-- Number of the field, how its value is written, and the place of the value; nil for what is no field.
local function read_tag(data, at)
    local tag, after = read_varint(data, at, TAG)
    if not tag or tag >= 4294967296 then
        return nil
    end
    return floor(tag / 8), tag % 8, after
end

local function read_bytes(data, at, length)
    if at + length - 1 > #data then
        return nil
    end
    return sub(data, at, at + length - 1), at + length
end

local read = {
    [VARINT] = function(data, at) return read_varint(data, at, LONGEST) end,
    [FIXED64] = function(data, at) return read_bytes(data, at, 8) end,
    [FIXED32] = function(data, at) return read_bytes(data, at, 4) end,
    [BYTES] = function(data, at)
        local length, start = read_varint(data, at, LENGTH)
        if not length or length >= MAX_LENGTH then
            return nil
        end
        return read_bytes(data, start, length)
    end,
}

-- The place after a group that began before `at`; nil where it does not end as it should. No message of ours has groups.
local function after_group(data, at, group, depth)
    while depth <= MAX_DEPTH do
        local field, kind, value_at = read_tag(data, at)
        if field == group and kind == GROUP_END then
            return value_at
        elseif kind == GROUP then
            at = after_group(data, value_at, field, depth + 1)
        elseif read[kind] then
            local _, after = read[kind](data, value_at)
            at = after
        else
            return nil
        end
        if not at then
            return nil
        end
    end
    return nil
end

-- Calls each(field, kind, value) for every field of a message: varints as numbers, all else as its bytes; groups are passed over.
-- False where the bytes are no message.
function _M.each(data, each)
    local at = 1
    while at <= #data do
        local field, kind, value_at = read_tag(data, at)
        local value
        if not field or field == 0 then
            return false
        elseif kind == GROUP then
            at = after_group(data, value_at, field, 1)
        elseif read[kind] then
            value, at = read[kind](data, value_at)
        else
            return false
        end
        if not at then
            return false
        elseif kind ~= GROUP then
            each(field, kind, value)
        end
    end
    return true
end

-- IEEE 754, 64 bits, least significant byte first.
function _M.double(data)
    local one, two, three, four, five, six, seven, eight = byte(data, 1, 8)
    local sign = eight >= 128 and -1 or 1
    local exponent = (eight % 128) * 16 + floor(seven / 16)
    local fraction = seven % 16
    for _, part in ipairs({ six, five, four, three, two, one }) do
        fraction = fraction * 256 + part
    end
    if exponent == 2047 then
        return fraction == 0 and sign * math.huge or 0 / 0
    elseif exponent == 0 then
        return sign * fraction * 2 ^ -1074
    end
    return sign * (1 + fraction / 2 ^ 52) * 2 ^ (exponent - 1023)
end

return _M
