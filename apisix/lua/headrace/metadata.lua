-- Dynamic metadata as Envoy writes it: namespaces with members that are text or whole numbers.

local protobuf = require("headrace.protobuf")

local bytes = protobuf.bytes
local concat, pairs, type = table.concat, pairs, type

local _M = {}

local NUMBER, TEXT = 2, 3   -- of a google.protobuf.Value

local function written(value)
    return type(value) == "number" and protobuf.double_field(NUMBER, value) or bytes(TEXT, value)
end

-- One of a map's.
local function entry(field, name, value)
    return bytes(field, bytes(1, name) .. bytes(2, value))
end

local function struct(members)
    local out = {}
    for name, value in pairs(members) do
        out[#out + 1] = entry(1, name, written(value))
    end
    return concat(out)
end

-- A Metadata message. namespaces: name to members, name to value.
function _M.write(namespaces)
    local out = {}
    for name, members in pairs(namespaces) do
        out[#out + 1] = entry(1, name, struct(members))
    end
    return concat(out)
end

-- What a filter was told of a request or an answer, as one entry of the map in `field`. members: name to value.
function _M.attributes(field, filter, members)
    return entry(field, filter, struct(members))
end

return _M
