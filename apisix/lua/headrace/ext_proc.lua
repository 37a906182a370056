-- The messages of Envoy's external processing (proto/headrace_ext_proc.proto) that pass between the plugin and the service.

local protobuf = require("headrace.protobuf")

local uint, bytes, each = protobuf.uint, protobuf.bytes, protobuf.each
local concat, type, tostring = table.concat, type, tostring

local _M = {
    METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process",
}

local BUFFERED, FULL_DUPLEX_STREAMED = 2, 4
local APPEND, IF_ABSENT = 0, 1

-- Kinds of a google.protobuf.Value.
local NUMBER, STRING, BOOLEAN, STRUCT = 2, 3, 4, 5

local function header_map(headers)
    local out = {}
    for _, header in ipairs(headers) do
        out[#out + 1] = bytes(1, bytes(1, header[1]) .. bytes(3, header[2]))
    end
    return concat(out)
end

local function http_headers(headers, ends)
    return bytes(1, header_map(headers)) .. uint(3, ends)
end

-- The first message: the request's headers as {name, value} pairs with pseudo-headers, and the modes in force, as Envoy states them.
function _M.request_headers(headers, ends)
    return bytes(2, http_headers(headers, ends)) .. bytes(11, uint(1, BUFFERED))
end

-- Whole.
function _M.request_body(body)
    return bytes(4, bytes(1, body) .. uint(2, true))
end

-- Of an answer that an upstream gave; replies of the gateway's own are not sent.
function _M.response_headers(headers, ends)
    return bytes(3, http_headers(headers, ends))
end

function _M.response_body(chunk, ends)
    return bytes(5, bytes(1, chunk) .. uint(2, ends))
end

local function read(data, readers, into)
    local fine = each(data, function(field, value)
        local reader = readers[field]
        if reader and into.broken == nil and reader(into, value) == false then
            into.broken = true
        end
    end)
    if not fine then
        into.broken = true
    end
    return into
end

-- What must be a message inside a message.
local function message(readers, name)
    return function(into, value)
        if type(value) ~= "string" then
            return false
        end
        local inner = read(value, readers, {})
        into[name] = inner
        return not inner.broken
    end
end

local function string_as(name)
    return function(into, value)
        into[name] = value
        return type(value) == "string"
    end
end

local function number_as(name)
    return function(into, value)
        into[name] = value
        return type(value) == "number"
    end
end

local function flag_as(name)
    return function(into, value)
        into[name] = value ~= 0
        return type(value) == "number"
    end
end

local HEADER = { [1] = string_as("name"), [2] = string_as("value"), [3] = string_as("raw") }
local OPTION = { [1] = message(HEADER, "header"), [3] = number_as("action") }

-- Envoy's append actions as what becomes of a header: `add` beside one of the same name, `absent`: only where there is none.
local function mutation(into, value)
    into.set, into.remove = into.set or {}, into.remove or {}
    local readers = {
        [1] = function(_, option_bytes)
            local option = read(option_bytes, OPTION, {})
            local header = option.header
            if option.broken or not header or not header.name then
                return false
            end
            into.set[#into.set + 1] = {
                name = header.name:lower(), value = header.raw or header.value or "",
                add = (option.action or APPEND) == APPEND, absent = option.action == IF_ABSENT,
            }
        end,
        [2] = function(_, name)
            into.remove[#into.remove + 1] = name:lower()
        end,
    }
    return type(value) == "string" and not read(value, readers, {}).broken
end

local STREAMED = { [1] = string_as("body"), [2] = flag_as("ends") }
local BODY = { [1] = string_as("body"), [2] = flag_as("clear"), [3] = message(STREAMED, "streamed") }
local COMMON = {
    [2] = mutation,
    [3] = message(BODY, "body"),
    [5] = flag_as("reroute"),
}
local PART = { [1] = message(COMMON, "common") }
local STATUS = { [1] = number_as("code") }
local IMMEDIATE = {
    [1] = message(STATUS, "status"),
    [2] = mutation,
    [3] = string_as("body"),
    [5] = string_as("reason"),
}

local read_struct

-- A google.protobuf.Value as text or number; what is neither is left out.
local function scalar(data)
    local found
    local fine = each(data, function(field, value)
        if field == STRING then
            found = value
        elseif field == BOOLEAN then
            found = tostring(value ~= 0)
        elseif field == NUMBER then
            found = _M.double(value)
        elseif field == STRUCT then
            found = read_struct(value)
        end
    end)
    return fine and found or nil
end

local ENTRY = { [1] = string_as("key"), [2] = string_as("value") }

function read_struct(data)
    local members = {}
    each(data, function(field, value)
        if field == 1 and type(value) == "string" then
            local entry = read(value, ENTRY, {})
            if entry.key and entry.value and not entry.broken then
                members[entry.key] = scalar(entry.value)
            end
        end
    end)
    return members
end

-- IEEE 754, 64 bits, least significant byte first.
function _M.double(data)
    local one, two, three, four, five, six, seven, eight = data:byte(1, 8)
    local sign = eight >= 128 and -1 or 1
    local exponent = (eight % 128) * 16 + math.floor(seven / 16)
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

local MODE = { [4] = number_as("answer") }
local RESPONSE = {
    [1] = message(PART, "request_headers"),
    [2] = message(PART, "response_headers"),
    [3] = message(PART, "request_body"),
    [4] = message(PART, "response_body"),
    [6] = function(into) into.response_trailers = {} end,
    [7] = message(IMMEDIATE, "refusal"),
    [8] = function(into, value)
        local namespaces = type(value) == "string" and read_struct(value) or {}
        into.metadata = namespaces.headrace
    end,
    [9] = message(MODE, "mode"),
}

-- One ProcessingResponse as a table: the member that is there (`request_headers`, `request_body`, `response_headers` or
-- `response_body` with `common`; or `refusal` with status, set, body, reason), `metadata`, and `reading`, how the answer's body is
-- asked for: "stream", "whole" or nil. Nil for bytes that are no such message.
function _M.decode(data)
    local response = read(data, RESPONSE, {})
    if response.broken then
        return nil
    end
    local answer = response.mode and response.mode.answer
    response.reading = answer == FULL_DUPLEX_STREAMED and "stream" or answer == BUFFERED and "whole" or nil
    return response
end

return _M
