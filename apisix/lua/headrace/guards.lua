-- Configurations of APISIX under which answers would pass unchecked, reach others than those they are for, or stall. Requests are
-- refused there, and the log says what to change. `headrace apisix doctor` finds them beforehand.

local core = require("apisix.core")

local ngx = ngx
local ipairs, pcall, require, tonumber = ipairs, pcall, require, tonumber

local _M = {}

local HAS_HOOK = 3.14      -- the first minor version whose ai-proxy gives answers to plugins
local FLUSHES = 3.16       -- the first that passes on each piece by itself
local SETTING = 'nginx_config.http_configuration_snippet: "postpone_output 0;" in conf/config.yaml'

local GLOBAL_RULE = "the plugin is in a global rule, which gets no answers of ai-proxy and runs before the caller is known: put it "
    .. "on the routes, or on a service or plugin_config that they share"
local NO_HOOK = "the ai-proxy of APISIX %s does not give its answers to plugins: take APISIX 3.16 or newer, or set "
    .. "request_only: true"
local NO_FLUSH = "APISIX %s holds pieces of a stream back: set " .. SETTING .. ", or take APISIX 3.16 or newer"
local CACHE = "ai-cache would give what was restored for one caller to others: remove it from this route"

local state = { version = nil, number = nil, flushes = false }

local function version()
    local ok, found = pcall(require, "apisix.core.version")
    return ok and found.VERSION or "0"
end

-- "3.9.1" → 3.09, so that versions compare as numbers.
local function as_number(text)
    local major, minor = text:match("^(%d+)%.(%d+)")
    return (tonumber(major) or 0) + (tonumber(minor) or 0) / 100
end

-- Whether the configuration that APISIX has written for nginx passes on every byte at once; nobody can ask nginx itself.
local function passes_on_at_once()
    local file = io.open(ngx.config.prefix() .. "/conf/nginx.conf")
    local text = file and file:read("*a") or ""
    if file then
        file:close()
    end
    return ("\n" .. text):find("\n[^#\n]*postpone_output%s+0%s*;") ~= nil
end

-- When a worker starts: what is known by then is said at once.
function _M.start()
    state.version = version()
    state.number = as_number(state.version)
    state.flushes = state.number >= FLUSHES or passes_on_at_once()
    if state.number < HAS_HOOK then
        core.log.warn("headrace: ", NO_HOOK:format(state.version))
    elseif not state.flushes then
        core.log.warn("headrace: ", NO_FLUSH:format(state.version))
    end
end

local function has_plugin(ctx, ...)
    for index = 1, #(ctx.plugins or {}), 2 do
        for _, name in ipairs({ ... }) do
            if ctx.plugins[index].name == name then
                return true
            end
        end
    end
    return false
end

-- Whether the request goes on through ai-proxy.
function _M.behind_ai_proxy(ctx)
    return has_plugin(ctx, "ai-proxy", "ai-proxy-multi")
end

-- What is wrong, and what to change; nil where nothing is.
function _M.problem(conf, ctx)
    if ctx.conf_type == "global_rule" then
        return GLOBAL_RULE
    elseif conf.request_only or not _M.behind_ai_proxy(ctx) then
        return nil
    elseif state.number < HAS_HOOK then
        return NO_HOOK:format(state.version)
    elseif not state.flushes then
        return NO_FLUSH:format(state.version)
    elseif has_plugin(ctx, "ai-cache") then
        return CACHE
    end
end

return _M
