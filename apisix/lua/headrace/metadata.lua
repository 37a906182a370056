-- Dynamic metadata as Envoy writes it: namespaces with members that are text or whole numbers.

local protobuf = require("headrace.protobuf")

local bytes = protobuf.bytes
local concat, pairs, type = table.concat, pairs, type

local _M = {}

local NUMBER, TEXT = 2, 3   -- of a google.protobuf.Value

local function written(value)
    return type(value) == "number" and protobuf.double_field(NUMBER, value) or bytes(TEXT, value)
end

local function entry(name, value)
    return bytes(1, bytes(1, name) .. bytes(2, value))
end

local function struct(members)
    local out = {}
    for name, value in pairs(members) do
        out[#out + 1] = entry(name, written(value))
    end
    return concat(out)
end

-- A Metadata message. namespaces: name to members, name to value.
function _M.write(namespaces)
    local out = {}
    for name, members in pairs(namespaces) do
        out[#out + 1] = entry(name, struct(members))
    end
    return concat(out)
end

return _M
