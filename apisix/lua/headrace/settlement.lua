-- The end of an exchange whose answer the service has not read: what APISIX knows of it goes to the service's access log, where the
-- lease is settled. Log phases may not wait: entries are collected, and sent by a timer.

local access_log = require("headrace.access_log")
local core = require("apisix.core")
local grpc = require("headrace.grpc")

local ngx = ngx
local ipairs, tonumber, type = ipairs, tonumber, type
local remove = table.remove

local _M = {}

local MOST = 10000       -- entries that wait for the service
local TOGETHER = 200     -- entries in one message
local PAUSE = 0.1        -- seconds in which they gather
local AGAIN = 1          -- seconds until the service is tried again
local GONE = 499         -- nginx's status for a caller who has left before the answer began

-- Where a provider's `usage` has its details, and what the access log calls them.
local DETAILS = {
    { "prompt_tokens_details", "cached_tokens", "cached_tokens" },
    { "input_tokens_details", "cached_tokens", "cached_tokens" },
    { "completion_tokens_details", "reasoning_tokens", "reasoning_tokens" },
    { "output_tokens_details", "reasoning_tokens", "reasoning_tokens" },
    { "cache_creation", "ephemeral_1h_input_tokens", "cache_creation_1h_input_tokens" },
}
local COUNTS = {
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
}

local function count(value)
    return type(value) == "number" and value >= 0 and value < 2 ^ 53 and value % 1 == 0 and value or nil
end

-- A stream of Anthropic's API names tokens of the answer in its first event: its usage counts once it has come to its end.
local function is_complete(ctx)
    return ctx.var.request_type ~= "ai_stream" or not ctx.var.uri:find("/v1/messages", 1, true) or ctx.headrace_stopped
end

-- What ai-proxy has read of the provider's usage, flat.
local function usage_of(ctx)
    local usage, raw = {}, ctx.llm_raw_usage
    if type(raw) ~= "table" or not is_complete(ctx) then
        return usage
    end
    for _, name in ipairs(COUNTS) do
        usage[name] = count(raw[name])
    end
    for _, detail in ipairs(DETAILS) do
        local inner = raw[detail[1]]
        usage[detail[3]] = usage[detail[3]] or type(inner) == "table" and count(inner[detail[2]]) or nil
    end
    usage.service_tier = type(raw.service_tier) == "string" and raw.service_tier or nil
    return usage
end

-- Whether an upstream had the request: nginx has sent some of it, or ai-proxy has called.
local function reached_upstream(ctx)
    if ctx.llm_request_start_time or ctx.picked_ai_instance then
        return true
    end
    for sent in (ngx.var.upstream_bytes_sent or ""):gmatch("%d+") do
        if tonumber(sent) > 0 then
            return true
        end
    end
    return false
end

local function finished(ctx)
    local start, status = ngx.req.start_time(), ngx.status
    local first = tonumber((ngx.var.upstream_header_time or ""):match("[%d.]+$"))
    return {
        start = start, duration = ngx.now() - start, first_byte = first, status = status == GONE and 0 or status,
        reached_upstream = reached_upstream(ctx), metadata = ctx.headrace.metadata, usage = usage_of(ctx),
    }
end

-- What comes in pieces of a stream behind ai-proxy tells whether it has come to its end.
function _M.watch(ctx, body)
    if body:sub(1, 19) == "event: message_stop" or body:find("\nevent: message_stop", 1, true) then
        ctx.headrace_stopped = true
    end
end

-- True where one message and a clean end have come, else nil and why.
local function acknowledged(call)
    local message, err = call:receive()
    if not message then
        return nil, err or "no answer"
    end
    message, err = call:receive()
    if message or err then
        return nil, err or "more than one answer"
    end
    return true
end

-- True, or nil and why.
local function send_to(conf, address, message)
    local call, err = grpc.call(address, access_log.METHOD, {}, conf.timeouts)
    if not call then
        return nil, err
    end
    call:allow()
    local ok
    ok, err = call:send(message, true)
    if ok then
        ok, err = acknowledged(call)
    end
    if ok then
        call:close()
    else
        call:cancel()
    end
    return ok, err
end

local function send(conf, message)
    local err
    for _, address in ipairs(conf.addresses) do
        local ok
        ok, err = send_to(conf, address, message)
        if ok then
            return true
        end
    end
    return nil, err
end

-- The first entries that wait, which then wait no longer.
local function take(conf)
    local together, rest = {}, {}
    for index, entry in ipairs(conf.waiting) do
        local list = index <= TOGETHER and together or rest
        list[#list + 1] = entry
    end
    conf.waiting = rest
    return together
end

local function give_back(conf, entries)
    for _, entry in ipairs(conf.waiting) do
        entries[#entries + 1] = entry
    end
    conf.waiting = entries
end

local schedule

-- Entries stay until the service has taken them: settling twice does no harm.
local function flush(premature, conf)
    conf.scheduled = false
    while #conf.waiting > 0 do
        local entries = take(conf)
        local ok, err = send(conf, access_log.message(entries))
        if not ok then
            give_back(conf, entries)
            core.log.error("headrace: ", #conf.waiting, " settlements wait, the service has not taken them: ", err)
            return not premature and schedule(conf, AGAIN)
        end
    end
end

function schedule(conf, pause)
    if conf.scheduled then
        return
    end
    local ok, err = ngx.timer.at(pause, flush, conf)
    conf.scheduled = ok
    if not ok then
        core.log.error("headrace: no timer for settlements: ", err)
    end
end

-- In the log phase: tells the service how the exchange ended, where its lease is to be settled by that. conf: prepared.
function _M.add(conf, ctx)
    local told = ctx.headrace.metadata
    if told.settle ~= "access_log" or not told.lease then
        return
    end
    if #conf.waiting >= MOST then
        core.log.error("headrace: ", MOST, " settlements wait for the service; the oldest is lost, its lease stays as reserved")
        remove(conf.waiting, 1)
    end
    conf.waiting[#conf.waiting + 1] = access_log.entry(finished(ctx))
    schedule(conf, PAUSE)
end

return _M
