-- Headrace behind Apache APISIX: asks the service what Envoy asks it, and does what it says. Nothing is decided here.
--
-- rewrite       the request goes to the service, whole; it is changed, or refused
-- access        the route the service chose becomes an upstream, or an instance of ai-proxy-multi
-- before_proxy  a plain route whose answer the service wants: called here. Behind ai-proxy: the stream's end
-- lua_body_filter   behind ai-proxy, each piece of the answer
-- exit          from APISIX 3.17: what ends the request before its answer has come by here
-- header_filter     x-headrace-* and x-ratelimit-* of the answer
-- log           request-only: the usage that ai-proxy has read is told to the service, which settles by it

local core = require("apisix.core")
local answers = require("headrace.answers")
local config = require("headrace.config")
local exchange = require("headrace.exchange")
local guards = require("headrace.guards")
local requests = require("headrace.requests")
local settlement = require("headrace.settlement")
local words = require("headrace.words")

local ngx = ngx
local pairs = pairs

local _M = {
    version = 0.1,
    -- Below authentication, ai-proxy (1040) and ai-proxy-multi (1041); above ai-rate-limiting (1030) and traffic-split (966).
    priority = 1035,
    name = "headrace",
    schema = config.schema,
}

-- What the service says of an exchange, as variables of APISIX's loggers: $headrace_route and so on. It says more with the answer,
-- so that a value is not to be kept.
for _, name in ipairs(config.VARIABLES) do
    core.ctx.register_var("headrace_" .. name, function(ctx)
        return ctx.headrace and ctx.headrace.metadata[name]
    end, { no_cacheable = true })
end

_M.init = guards.start

function _M.check_schema(conf)
    local ok, err = core.schema.check(config.schema, conf)
    if not ok then
        return false, err
    end
    return config.check(conf)
end

local function refuse(ctx, status, code)
    core.response.set_header("content-type", "application/json", "x-headrace-reason", code)
    return status, words.error(ctx.var.uri, status, code)
end

-- FAILED_PRECONDITION: what the service needs is not what this gateway gives. No outage: it does not pass by failure_mode_allow.
local CANNOT = "grpc-status 9:"

local function misconfigured(ctx, problem)
    core.log.error("headrace: ", problem)
    return refuse(ctx, 503, "gateway.misconfigured")
end

-- What becomes of a request that the service could not look at.
local function unchecked(conf, ctx, err)
    if err:sub(1, #CANNOT) == CANNOT then
        return misconfigured(ctx, "the service cannot work with this configuration: " .. err)
    end
    core.log.error("headrace: the service has not answered: ", err)
    if conf.failure_mode_allow.request then
        requests.strip_ours(ctx)
        return
    end
    return refuse(ctx, 503, "gateway.unavailable")
end

function _M.rewrite(conf, ctx)
    local problem = guards.problem(conf, ctx)
    if problem then
        return misconfigured(ctx, problem)
    end
    local body, err = core.request.get_body(conf.max_body_bytes, ctx)
    if err then
        return refuse(ctx, 413, "body.too_large")
    end
    requests.has_come(ctx)
    local headers, vouched, prepared = requests.headers(ctx), requests.vouched(ctx), config.prepared(conf)
    local able = guards.behind_ai_proxy(ctx) and prepared.calls_only or prepared.capabilities
    local asked, answers_or_why = exchange.begin(prepared, config.turn(), able, headers, body or "", vouched)
    if not asked then
        return unchecked(conf, ctx, answers_or_why)
    end
    ctx.headrace = asked
    if asked:stays() and core.response.exit_insert_callback then
        core.response.exit_insert_callback(answers.exit, { conf = conf, ctx = ctx })
    end
    return requests.apply(ctx, answers_or_why)
end

function _M.access(conf, ctx)
    if ctx.headrace then
        return requests.route(conf, ctx)
    end
end

function _M.before_proxy(conf, ctx)
    local asked = ctx.headrace
    if not asked or ctx.headrace_passes then
        return
    elseif ctx.picked_ai_instance then
        return answers.finish(conf, ctx)
    elseif asked:stays() then
        return answers.fetch(conf, ctx)
    end
    asked:close()
end

function _M.lua_body_filter(conf, ctx, headers, body)
    if ctx.headrace and conf.request_only then
        settlement.watch(ctx, body)
    elseif ctx.headrace then
        return answers.filter(conf, ctx, headers, body)
    end
end

function _M.header_filter(_, ctx)
    local asked = ctx.headrace
    if not asked then
        return
    end
    for header, name in pairs(config.RESPONSE_HEADERS) do
        if asked.metadata[name] then
            ngx.header[header] = asked.metadata[name]
        end
    end
end

function _M.log(conf, ctx)
    if ctx.headrace then
        settlement.add(config.prepared(conf), ctx)
    end
end

return _M
