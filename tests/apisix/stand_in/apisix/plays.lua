-- Plays APISIX's phases around the plugin, for a plain route and for one behind ai-proxy: as in APISIX 3.18, or in the one that
-- `apisix_version` names.

local core = require("apisix.core")
local plugin = require("apisix.plugins.headrace")
local http = require("resty.http")
local usage = require("apisix.usage")
local minor = tonumber(require("apisix.core.version").VERSION:match("^3%.(%d+)"))
local is_older = minor and minor < 18  -- whose ai-proxy drops what a provider says of a 429 or 5xx, and begins streams without a status

local _M = {}

local function exit_with(code, body)
    if code then return core.response.exit(code, body) end
end

-- stands: members of the context as APISIX would have set them by now.
local function context(conf)
    local ctx = { upstream_scheme = "http", plugins = { plugin, conf } }
    for name, value in pairs(stands or {}) do ctx[name] = value end
    ctx.var = core.ctx.vars(ctx)
    ctx.var.real_request_uri = ngx.var.request_uri
    ctx.var.request_uri = ngx.var.uri .. ngx.var.is_args .. (ngx.var.args or "")
    ngx.ctx.api_ctx, ngx.ctx.conf = ctx, conf
    return ctx
end

-- As plugin.lua_response_filter.
local function response_filter(conf, ctx, headers, body)
    local code, new_body = plugin.lua_body_filter(conf, ctx, headers, body)
    if code then
        if code ~= ngx.OK then ngx.status = code end
        ngx.print(new_body)
        ngx.exit(ngx.OK)
    end
    local ok, err = ngx.print(new_body or body)
    if not ok then return false, err end
    return ngx.flush(true)
end

function _M.configured(conf)
    assert(plugin.check_schema(conf))
    plugin.init()
    return conf
end

function _M.plain(conf, servers)
    local ctx = context(conf)
    exit_with(plugin.rewrite(conf, ctx))
    exit_with(plugin.access(conf, ctx))
    ctx.picked_server = servers[ctx.upstream_id or "standard"]
    if not ctx.picked_server then return core.response.exit(502) end
    ngx.var.backend = ctx.picked_server.host .. ":" .. ctx.picked_server.port
    ngx.var.upstream_uri = rawget(ctx.var, "upstream_uri") or ""
    exit_with(plugin.before_proxy(conf, ctx))
end

local function instances(servers)
    local list = {}
    for name, server in pairs(servers) do list[#list + 1] = { name = name, server = server } end
    return list
end

function _M.behind_ai_proxy(conf, servers)
    local ctx = context(conf)
    local multi = { instances = instances(servers) }
    ctx.plugins = { { name = "ai-proxy-multi" }, multi, plugin, conf }
    for _, name in ipairs(ctx.beside or {}) do
        ctx.plugins[#ctx.plugins + 1], ctx.plugins[#ctx.plugins + 2] = { name = name }, {}
    end
    exit_with(plugin.rewrite(conf, ctx))
    for _, instance in ipairs(multi.instances) do
        if instance.name == "standard" then ctx.picked_ai_instance = instance end
    end
    exit_with(plugin.access(conf, ctx))
    local client = http.new()
    local server = ctx.picked_ai_instance.server
    ctx.llm_request_start_time = ngx.now()
    if not client:connect({ host = server.host, port = server.port }) then return core.response.exit(500) end
    local headers = ngx.req.get_headers(0)
    headers.connection, headers["content-length"] = nil, nil
    local response = client:request({
        method = ngx.req.get_method(), path = ngx.var.uri, query = ngx.var.args, headers = headers,
        body = core.request.get_body() or "",
    })
    if not response then return core.response.exit(500) end
    if response.status == 429 or response.status >= 500 then  -- neither hook nor phase of another plugin comes after that
        if is_older then return core.response.exit(response.status) end
        ngx.header["content-type"] = response.headers["content-type"]
        return core.response.exit(response.status, response.body_reader(65536))
    end
    local is_stream = (response.headers["content-type"] or ""):find("event-stream", 1, true)
    if not is_stream or not is_older then ngx.status = response.status end
    for name, value in pairs(response.headers) do
        if name:lower() ~= "transfer-encoding" and name:lower() ~= "content-length" then ngx.header[name] = value end
    end
    if is_stream then
        while true do
            local part, err = response.body_reader(65536)
            if err then return core.response.exit(500) end
            if not part then break end
            ctx.var.request_type = "ai_stream"
            usage.piece(ctx, part)
            local ok = response_filter(conf, ctx, response.headers, part)
            if not ok then return ngx.exit(ngx.ERROR) end
        end
    else
        local parts = {}
        for part in response.body_reader, 65536 do parts[#parts + 1] = part end
        ctx.var.request_type = "ai_chat"
        usage.whole(ctx, table.concat(parts))
        response_filter(conf, ctx, response.headers, table.concat(parts))
    end
    exit_with(plugin.before_proxy(conf, ctx))
    ngx.exit(ngx.OK)
end

function _M.log()
    local ctx = ngx.ctx.api_ctx
    if not ctx then return end
    plugin.log(ngx.ctx.conf, ctx)
    if not ctx.logs then return end
    local logged = {}
    for _, name in ipairs(ctx.logs) do logged[name] = ctx.var["headrace_" .. name] end
    ngx.log(ngx.WARN, "logged: ", cjson.encode(logged), " end")
end

function _M.header_filter()
    local ctx = ngx.ctx.api_ctx
    if ctx then plugin.header_filter(ngx.ctx.conf, ctx) end
end

return _M
