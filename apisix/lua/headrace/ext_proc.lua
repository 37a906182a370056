-- The messages of Envoy's external processing (proto/headrace_ext_proc.proto) that pass between the plugin and the service.

local metadata = require("headrace.metadata")
local protobuf = require("headrace.protobuf")

local uint, bytes, each = protobuf.uint, protobuf.bytes, protobuf.each
local concat, ipairs, tostring = table.concat, ipairs, tostring

local _M = {
    METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process",
}

local FILTER = "envoy.filters.http.ext_proc"
local BUFFERED, FULL_DUPLEX_STREAMED = 2, 4

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

-- The first message: the request's headers as {name, value} pairs with pseudo-headers, and the modes in force. vouched: who calls,
-- as the gateway has found out: parts of a principal by name; nil where it says nothing.
function _M.request_headers(headers, ends, vouched)
    local context = vouched and bytes(8, metadata.write({ ["headrace.identity"] = vouched })) or ""
    return bytes(2, http_headers(headers, ends)) .. context .. bytes(11, uint(1, BUFFERED))
end

-- Whole.
function _M.request_body(body)
    return bytes(4, bytes(1, body) .. uint(2, true))
end

-- Of an answer that an upstream gave. details: of a reply of the gateway's own, as Envoy names where it comes from.
function _M.response_headers(headers, ends, details)
    local told = details and metadata.attributes(9, FILTER, { ["response.code_details"] = details }) or ""
    return bytes(3, http_headers(headers, ends)) .. told
end

function _M.response_body(chunk, ends)
    return bytes(5, bytes(1, chunk) .. uint(2, ends))
end

-- The fields of a message that `readers` knows, into a table; nil for bytes that are no message. A field that is written otherwise
-- than its reader has it is unknown; one that comes again replaces what it said before, and a message adds to it.
local function read(data, readers, into)
    local broken = false
    local fine = each(data, function(field, kind, value)
        local reader = readers[field]
        if reader and reader.kind == kind and not broken then
            broken = reader.read(into, value) == false
        end
    end)
    return fine and not broken and into or nil
end

-- Of the members that are in `group` only the last one counts.
local function alone(into, name, group)
    for _, other in ipairs(group or {}) do
        if other ~= name then
            into[other] = nil
        end
    end
end

local function message(name, readers, group)
    return { kind = protobuf.BYTES, read = function(into, value)
        alone(into, name, group)
        into[name] = into[name] or {}
        return read(value, readers, into[name]) ~= nil
    end }
end

local function value_as(name, kind, convert, group)
    return { kind = kind, read = function(into, value)
        alone(into, name, group)
        into[name] = convert(value)
    end }
end

local function same(value) return value end
local function is_true(value) return value ~= 0 end
local function uint32(value) return value % 4294967296 end

local function string_as(name, group)
    return value_as(name, protobuf.BYTES, same, group)
end

local function number_as(name)
    return value_as(name, protobuf.VARINT, uint32)
end

local function flag_as(name, group)
    return value_as(name, protobuf.VARINT, is_true, group)
end

local HEADER = { [1] = string_as("name"), [2] = string_as("value"), [3] = string_as("raw") }
local OPTION = { [1] = message("header", HEADER) }

-- A HeaderMutation becomes the lists `set` and `remove`. A header that is set replaces others of its name, whatever else its option
-- says: the service says nothing else.
local MUTATION = {
    [1] = { kind = protobuf.BYTES, read = function(into, value)
        local option = read(value, OPTION, { header = {} })
        if not option then
            return false
        end
        local raw, name = option.header.raw or "", option.header.name or ""
        into.set[#into.set + 1] = { name = name:lower(), value = raw ~= "" and raw or option.header.value or "" }
    end },
    [2] = { kind = protobuf.BYTES, read = function(into, name)
        into.remove[#into.remove + 1] = name:lower()
    end },
}

local mutation = { kind = protobuf.BYTES, read = function(into, value)
    into.set, into.remove = into.set or {}, into.remove or {}
    return read(value, MUTATION, into) ~= nil
end }

local BODIES = { "body", "clear", "streamed" }
local STREAMED = { [1] = string_as("body"), [2] = flag_as("ends") }
local BODY = {
    [1] = string_as("body", BODIES), [2] = flag_as("clear", BODIES), [3] = message("streamed", STREAMED, BODIES),
}
local COMMON = { [2] = mutation, [3] = message("body", BODY), [5] = flag_as("reroute") }
local PART = { [1] = message("common", COMMON) }
local STATUS = { [1] = number_as("code") }
local IMMEDIATE = { [1] = message("status", STATUS), [2] = mutation, [3] = string_as("body"), [5] = string_as("reason") }

-- A google.protobuf.Value: text, number or truth; what is something else is none of ours.
local VALUES = { "text", "number", "truth", "other" }
local VALUE = {
    [1] = value_as("other", protobuf.VARINT, same, VALUES),
    [2] = value_as("number", protobuf.FIXED64, protobuf.double, VALUES),
    [3] = string_as("text", VALUES),
    [4] = value_as("truth", protobuf.VARINT, function(value) return tostring(value ~= 0) end, VALUES),
    [5] = string_as("other", VALUES),
    [6] = string_as("other", VALUES),
}

-- A google.protobuf.Struct: calls keep(into, key, value) with each member, its value as read by `readers`.
local function struct(readers, keep)
    local entry_readers = { [1] = string_as("key"), [2] = message("value", readers) }
    return {
        [1] = { kind = protobuf.BYTES, read = function(into, data)
            local entry = read(data, entry_readers, { key = "", value = {} })
            if not entry then
                return false
            end
            keep(into, entry.key, entry.value)
        end },
    }
end

local MEMBERS = struct(VALUE, function(into, name, value)
    into[name] = value.text or value.number or value.truth
end)
local MEMBERS_OR_NOT = { "members", "other" }
local NAMESPACE = {
    [1] = value_as("other", protobuf.VARINT, same, MEMBERS_OR_NOT),
    [2] = value_as("other", protobuf.FIXED64, same, MEMBERS_OR_NOT),
    [3] = string_as("other", MEMBERS_OR_NOT),
    [4] = value_as("other", protobuf.VARINT, same, MEMBERS_OR_NOT),
    [5] = message("members", MEMBERS, MEMBERS_OR_NOT),
    [6] = string_as("other", MEMBERS_OR_NOT),
}
local NAMESPACES = struct(NAMESPACE, function(into, name, value)
    into[name] = value.members
end)

local MODE = { [4] = number_as("answer") }
local PARTS = {
    "request_headers", "response_headers", "request_body", "response_body", "request_trailers", "response_trailers", "refusal",
}
local RESPONSE = {
    [1] = message("request_headers", PART, PARTS),
    [2] = message("response_headers", PART, PARTS),
    [3] = message("request_body", PART, PARTS),
    [4] = message("response_body", PART, PARTS),
    [5] = message("request_trailers", {}, PARTS),
    [6] = message("response_trailers", {}, PARTS),
    [7] = message("refusal", IMMEDIATE, PARTS),
    [8] = message("namespaces", NAMESPACES),
    [9] = message("mode", MODE),
}

-- One ProcessingResponse as a table: the member that is there (`request_headers`, `request_body`, `response_headers` or
-- `response_body` with `common`; or `refusal` with status, set, body, reason), `metadata`, and `reading`, how the answer's body is
-- asked for: "stream", "whole" or nil. Nil for bytes that are no such message.
function _M.decode(data)
    local response = read(data, RESPONSE, {})
    if not response then
        return nil
    end
    response.metadata = response.namespaces and response.namespaces.headrace
    local answer = response.mode and response.mode.answer
    response.reading = answer == FULL_DUPLEX_STREAMED and "stream" or answer == BUFFERED and "whole" or nil
    return response
end

return _M
