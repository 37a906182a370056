-- What ai-proxy reads of a provider's usage: `ctx.llm_raw_usage`, merged event by event (as in APISIX 3.18).

local cjson = require("cjson.safe")

local _M = {}

local function merge(ctx, usage)
    if type(usage) ~= "table" then return end
    ctx.llm_raw_usage = ctx.llm_raw_usage or usage
    for name, value in pairs(usage) do
        if type(value) == "number" and value > 0 then ctx.llm_raw_usage[name] = value end
    end
end

local function read(ctx, text)
    local document = cjson.decode(text)
    if type(document) ~= "table" then return end
    merge(ctx, document.usage)
    if type(document.message) == "table" then merge(ctx, document.message.usage) end
    if type(document.response) == "table" then merge(ctx, document.response.usage) end
end

function _M.whole(ctx, body) read(ctx, body) end

-- A piece of a stream; events may be cut anywhere.
function _M.piece(ctx, part)
    local held = (ctx.held_events or "") .. part
    local last = 0
    for line, at in held:gmatch("data: ([^\n]*)\n()") do
        read(ctx, line)
        last = at - 1
    end
    ctx.held_events = held:sub(last + 1)
end

return _M
