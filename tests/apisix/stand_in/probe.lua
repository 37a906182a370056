-- The plugin's modules by themselves, for tests: a JSON list of calls in, a JSON list of results out. Strings are in hex both ways.

local cjson = require("cjson.safe")
local ext_proc = require("headrace.ext_proc")
local grpc = require("headrace.grpc")
local hpack = require("headrace.hpack")

local _M = {}
local functions = {}

local function to_hex(text)
    return (text:gsub(".", function(one) return ("%02x"):format(one:byte()) end))
end

local function from_hex(text)
    return (text:gsub("%x%x", function(two) return string.char(tonumber(two, 16)) end))
end

-- Numbers go out as {["#"] = text}: JSON has no infinity, and cjson writes fewer digits than a number has.
local function each_string(value, convert)
    if type(value) == "string" then
        return convert(value)
    elseif type(value) == "number" and convert == to_hex then
        return { ["#"] = ("%.17g"):format(value) }
    elseif type(value) ~= "table" then
        return value
    end
    local out = {}
    for key, member in pairs(value) do
        out[type(key) == "string" and convert(key) or key] = each_string(member, convert)
    end
    return out
end

functions.decode = ext_proc.decode
functions.request_headers = ext_proc.request_headers
functions.request_body = ext_proc.request_body
functions.response_headers = ext_proc.response_headers
functions.response_body = ext_proc.response_body
functions.hpack_decode = hpack.decode
functions.hpack_encode = hpack.encode

-- A link over bytes that have come already: in the given pieces, and then the end.
local function tape(pieces)
    local at = 0
    return {
        state = function() return nil end,
        allow = function() end,
        send = function() return true end,
        read = function()
            at = at + 1
            return pieces[at], pieces[at] == nil and "closed" or nil
        end,
        close = function() end,
        keep = function() end,
    }
end

-- A call that hears these pieces: its messages, and how it ended ("clean", or why not).
function functions.call(pieces)
    local call = grpc.over(tape(pieces), "/a.B/C", {})
    call:send("a question")
    local messages = {}
    while true do
        local message, err = call:receive()
        if not message then
            return { messages = messages, ending = err or "clean" }
        end
        messages[#messages + 1] = message
    end
end

function _M.serve()
    ngx.req.read_body()
    local results = {}
    for index, call in ipairs(cjson.decode(ngx.req.get_body_data())) do
        local result = functions[call[1]](unpack(each_string(call[2], from_hex)))
        results[index] = result == nil and cjson.null or each_string(result, to_hex)
    end
    ngx.print(cjson.encode(results))
end

return _M
