-- The request's half of an exchange in APISIX: what the service is told, and how its answers take effect.

local core = require("apisix.core")
local words = require("headrace.words")

local ngx = ngx
local ipairs, pairs, type = ipairs, pairs, type

local _M = {}

local ROUTE = "x-headrace-route"
local OURS = "x-headrace-"

-- Every header of the request as {name, value} pairs, with the pseudo-headers that HTTP/1 has in its first line. The path is as the
-- caller has written it; that of APISIX's context has escapes resolved.
function _M.headers(ctx)
    local list = {
        { ":method", core.request.get_method() }, { ":path", ngx.var.request_uri }, { ":scheme", ctx.var.scheme },
        { ":authority", ctx.var.http_host or "" },
    }
    local headers = ngx.req.get_headers(0)
    for name, value in pairs(headers) do
        if name ~= "host" then
            for _, single in ipairs(type(value) == "table" and value or { value }) do
                list[#list + 1] = { name, single == true and "" or single }
            end
        end
    end
    return list
end

local function text(value)
    return type(value) == "string" and value or nil
end

-- Who APISIX says calls: its consumer with its group and its credential, and what its labels say of a principal. Nil where no
-- plugin has authenticated the caller.
function _M.vouched(ctx)
    if not ctx.consumer_name then
        return nil
    end
    local consumer = ctx.consumer or {}
    local labels = type(consumer.labels) == "table" and consumer.labels or {}
    return {
        organisation = text(labels.organisation), team = text(labels.team) or text(ctx.consumer_group_id),
        app = text(labels.app), user = text(ctx.consumer_name), key = text(consumer.credential_id),
    }
end

-- The body has been read: how it was to come is for no upstream, which ai-proxy would tell of chunks and send none.
function _M.has_come(ctx)
    core.request.set_header(ctx, "expect", nil)
    core.request.set_header(ctx, "transfer-encoding", nil)
end

-- Names of ours that a client has sent go no further.
function _M.strip_ours(ctx)
    for name in pairs(ngx.req.get_headers(0)) do
        if name:sub(1, #OURS) == OURS then
            core.request.set_header(ctx, name, nil)
        end
    end
end

local function edit_headers(ctx, answer)
    for _, name in ipairs(answer.remove) do
        core.request.set_header(ctx, name, nil)
    end
    for _, header in ipairs(answer.set) do
        if header.name == ROUTE then
            ctx.headrace.route = header.value
        elseif header.name == ":path" then
            ctx.var.upstream_uri = header.value
        elseif header.name ~= "content-length" then
            core.request.set_header(ctx, header.name, header.value)
        end
    end
end

local function set_body(ctx, body)
    ngx.req.set_body_data(body)
    ctx._request_body_table = nil       -- what core.request.get_json_request_body_table has parsed
    ctx._request_body_type = nil
    ctx.ai_request_body_changed = true  -- else ai-proxy sends the client's bytes
end

-- A refusal in the service's words.
function _M.refuse(refusal)
    for _, header in ipairs(refusal.set or {}) do
        core.response.set_header(header.name, header.value)
    end
    return refusal.status.code, refusal.body or ""
end

-- Applies the service's answers in order. Gives status and body where one of them is a refusal.
function _M.apply(ctx, list)
    _M.strip_ours(ctx)
    for _, answer in ipairs(list) do
        if answer.refusal then
            ctx.headrace:close()
            ctx.headrace.metadata.reason = answer.refusal.reason
            return _M.refuse(answer.refusal)
        end
        edit_headers(ctx, answer)
        if answer.body and answer.body.body then
            set_body(ctx, answer.body.body)
        end
    end
end

local function instance_named(ctx, name)
    for index = 1, #ctx.plugins, 2 do
        if ctx.plugins[index].name == "ai-proxy-multi" then
            for _, instance in ipairs(ctx.plugins[index + 1].instances) do
                if instance.name == name then
                    return instance
                end
            end
        end
    end
end

-- The route the service chose. A route that is not in the map is an upstream, or an instance, of that name.
function _M.route(conf, ctx)
    local name = ctx.headrace.route
    if not name then
        return
    end
    local target = conf.routes[name] or (ctx.picked_ai_instance and { instance = name } or { upstream_id = name })
    if target.upstream_id then
        ctx.upstream_id = target.upstream_id
        return
    end
    local instance = instance_named(ctx, target.instance)
    if not instance then
        core.log.error("headrace: no instance of ai-proxy-multi is called ", target.instance)
        core.response.set_header("content-type", "application/json", "x-headrace-reason", "gateway.misconfigured")
        return 503, words.error(ctx.var.uri, 503, "gateway.misconfigured")
    end
    ctx.picked_ai_instance_name, ctx.picked_ai_instance, ctx.balancer_ip = instance.name, instance, instance.name
end

return _M
