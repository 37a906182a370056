-- The answer's half of an exchange in APISIX: what ai-proxy hands on piece by piece, and what a plain route's upstream is asked
-- for here.

local core = require("apisix.core")
local requests = require("headrace.requests")
local upstream = require("headrace.upstream")
local words = require("headrace.words")

local ngx = ngx
local ipairs, pairs, type = ipairs, pairs, type

local _M = {}

local NOTHING_YET = ":\n\n"  -- a comment: ai-proxy takes an empty replacement for the end of the stream

local function header_list(status, headers)
    local list = { { ":status", tostring(status) } }
    for name, value in pairs(headers or {}) do
        for _, single in ipairs(type(value) == "table" and value or { value }) do
            list[#list + 1] = { tostring(name):lower(), tostring(single) }
        end
    end
    return list
end

local function edit_headers(answer)
    if ngx.headers_sent then
        return
    end
    for _, name in ipairs(answer.remove) do
        core.response.set_header(name, nil)
    end
    for _, header in ipairs(answer.set) do
        core.response.set_header(header.name, header.value)
    end
end

local function refuse(ctx, refusal)
    ctx.headrace:close()
    ctx.headrace.metadata.reason = refusal.reason
    return requests.refuse(refusal)
end

-- The service has failed in the middle of an answer: true where the rest passes unchecked.
local function passes_on(conf, ctx, err)
    core.log.error("headrace: the service has not answered: ", err)
    ctx.headrace:cancel()
    ctx.headrace_passes = conf.failure_mode_allow.response
    return ctx.headrace_passes
end

-- Asks how the answer is to be read, once its headers are known: "stream", "whole", or nil where it passes. A refusal comes as a
-- table, a failure as nil, false and why.
local function begin(ctx, status, headers)
    local asked = ctx.headrace
    if not asked:stays() then
        return nil, true
    end
    local answer, err = asked:response_headers(header_list(status, headers), false)
    if not answer then
        return nil, false, err
    elseif answer.refusal then
        return answer.refusal, true
    end
    edit_headers(answer)
    return answer.reading, true
end

-- An error of the gateway's own in place of the answer.
local function failed(ctx, code, status)
    ctx.headrace.metadata.reason = code
    core.response.set_header("content-type", "application/json", "x-headrace-reason", code)
    return status or 503, words.error(ctx.var.uri, status or 503, code)
end

-- Before APISIX 3.18 ai-proxy begins a stream without a status, for which nginx says 200.
local function status_of_answer()
    return ngx.status == 0 and ngx.HTTP_OK or ngx.status
end

local function first_piece(conf, ctx, headers)
    local reading, fine, err = begin(ctx, status_of_answer(), headers)
    if type(reading) == "table" then
        return refuse(ctx, reading)
    elseif not fine and not passes_on(conf, ctx, err) then
        return failed(ctx, "gateway.unchecked")
    end
    ctx.headrace_reading = reading
    if reading == nil then
        ctx.headrace_passes = true
        ctx.headrace:close()
    end
end

local function whole(conf, ctx, body)
    local answer, err = ctx.headrace:whole(body)
    if not answer then
        if passes_on(conf, ctx, err) then
            return nil, body
        end
        return failed(ctx, "gateway.unchecked")
    elseif answer.refusal then
        return refuse(ctx, answer.refusal)
    end
    ctx.headrace:close()
    edit_headers(answer)
    return nil, answer.body and answer.body.body or body
end

-- What the caller gets in place of a piece of a stream, and whether the stream ends there.
local function piece(conf, ctx, body, ends)
    local out, ended = ctx.headrace:chunk(body, ends)
    if out then
        return out, ended
    elseif passes_on(conf, ctx, ended) then
        return body, false
    end
    return words.event(ctx.var.uri, "gateway.cut"), true
end

-- ai-proxy's hook: nil keeps the piece; nil and a string replaces it; a status and a string ends the answer.
function _M.filter(conf, ctx, headers, body)
    if ctx.headrace_passes then
        return
    end
    if ctx.headrace_reading == nil then
        local status, said = first_piece(conf, ctx, headers)
        if status or ctx.headrace_passes then
            return status, said
        end
    end
    if body == "" then
        return
    elseif ctx.headrace_reading == "whole" then
        return whole(conf, ctx, body)
    end
    local out, ended = piece(conf, ctx, body, false)
    if ended then
        ctx.headrace:close()
        ctx.headrace_passes = true
        return ngx.OK, out
    end
    return nil, out ~= "" and out or NOTHING_YET
end

-- After ai-proxy has passed on all of a stream: what the service still holds.
function _M.finish(conf, ctx)
    if ctx.headrace_reading ~= "stream" then
        ctx.headrace:close()
        return
    end
    local out = piece(conf, ctx, "", true)
    if out ~= "" then
        ngx.print(out)
        ngx.flush(true)
    end
    ctx.headrace:close()
end

local function send_headers(response)
    ngx.status = response.status
    for name, value in pairs(response.headers) do
        if not upstream.NOT_PASSED_ON[name:lower()] then
            ngx.header[name] = value
        end
    end
end

local function unavailable(ctx, err)
    core.log.error("headrace: the upstream has not answered: ", err)
    return failed(ctx, "upstream.unavailable")
end

-- The upstream may have had the request.
local function unanswered(ctx, err)
    ctx.headrace:cancel()
    if err == "timeout" then
        core.log.error("headrace: the upstream has not answered in time")
        return failed(ctx, "upstream.timeout", 504)
    end
    return unavailable(ctx, err)
end

local function hand_on(data)
    if data ~= "" then
        local ok, err = ngx.print(data)
        if ok then
            ok, err = ngx.flush(true)
        end
        return ok, err
    end
    return true
end

-- Passes a stream on, piece by piece, each as the service gives it back. Cancels where the upstream, or the caller, is gone.
local function relay(conf, ctx, call)
    local reads = ctx.headrace_reading == "stream"
    ngx.send_headers()  -- the first words may take their time
    ngx.flush(true)
    while true do
        local part, err = call:read()
        if err then
            ctx.headrace:cancel()
            return ngx.exit(ngx.ERROR)
        end
        local out, ended = part or "", not part
        if reads and not ctx.headrace_passes then
            out, ended = piece(conf, ctx, part or "", not part)
        end
        if not hand_on(out) then
            ctx.headrace:cancel()
            return ngx.exit(ngx.ERROR)
        elseif ended or not part then
            ctx.headrace:close()
            call:finish(part == nil)
            return ngx.exit(ngx.HTTP_OK)
        end
    end
end

-- A plain route: the upstream is called here, so that the service can read its answer.
function _M.fetch(conf, ctx)
    local call, err = upstream.connect(ctx)
    if not call then
        ctx.headrace:unsent()
        return unavailable(ctx, err)
    end
    local response
    response, err = call:request(ctx)
    if not response and err:find("^invalid characters") then  -- lua-resty-http's own words: it has sent nothing
        ctx.headrace:unsent()
        return unavailable(ctx, err)
    elseif not response then
        return unanswered(ctx, err)
    end
    send_headers(response)
    local status, said = first_piece(conf, ctx, response.headers)
    if status then
        ngx.header["content-length"] = nil
        return status, said
    elseif ctx.headrace_reading ~= "whole" then
        return relay(conf, ctx, call)
    end
    local body
    body, err = call:whole()
    if not body then
        return unanswered(ctx, err)
    end
    call:finish(true)
    status, said = whole(conf, ctx, body)
    ngx.header["content-length"] = status == nil and #said or nil
    return status or response.status, said
end

-- APISIX ends the request before the answer has come by here: it had no upstream for it, another plugin refused it, or ai-proxy
-- passes on what a provider has refused, of which it tells no plugin. Gives the status, body and headers that the caller gets.
function _M.exit(code, body, headers, told)
    local conf, ctx = told.conf, told.ctx
    local asked = ctx.headrace
    if not code or asked:is_closed() or ctx.headrace_passes then
        return code, body, headers
    elseif ctx.headrace_reading and ngx.headers_sent then  -- a provider that is gone: the stream would seem to have ended well
        asked:cancel()
        return ngx.exit(ngx.ERROR)
    elseif ctx.headrace_reading then
        return code, body, headers
    elseif not ctx.llm_request_start_time then
        asked:unsent()
        return code, body, headers
    end
    ngx.status = code
    local status, said = _M.filter(conf, ctx, {}, type(body) == "string" and body or "")
    asked:close()
    return status or code, said or body, headers
end

return _M
