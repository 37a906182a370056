-- As much of apisix.core as the plugin uses, with the behaviour of APISIX 3.18's.

local cjson = require("cjson.safe")
local _M = { log = {}, request = {}, response = {}, ctx = {}, schema = {} }

for name, level in pairs({ error = ngx.ERR, warn = ngx.WARN, info = ngx.INFO, debug = ngx.DEBUG }) do
    _M.log[name] = function(...) ngx.log(level, ...) end
end

local getters = {}
function _M.ctx.register_var(name, getter) getters[name] = getter end
function _M.ctx.vars(ctx)
    return setmetatable({}, { __index = function(_, name)
        local getter = getters[name]
        if getter then return getter(ctx) end
        return ngx.var[name]
    end })
end

function _M.request.get_method() return ngx.req.get_method() end
function _M.request.set_header(_, name, value) ngx.req.set_header(name, value) end
function _M.request.get_body(most)
    local length = tonumber(ngx.var.http_content_length)
    if most and length and length > most then return nil, "request size " .. length .. " is greater than the maximum size" end
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    if not body and ngx.req.get_body_file() then
        local file = assert(io.open(ngx.req.get_body_file(), "rb"))
        body = file:read("*a")
        file:close()
    end
    if body and most and #body > most then return nil, "request size is greater than the maximum size" end
    return body
end

function _M.response.set_header(...)
    for index = 1, select("#", ...), 2 do
        local name, value = select(index, ...)
        ngx.header[name] = value
    end
end

-- From 3.17. In registration order; each gives the next one's status, body and headers.
local minor = tonumber(require("apisix.core.version").VERSION:match("^3%.(%d+)"))
if not minor or minor >= 17 then
    function _M.response.exit_insert_callback(callback, told)
        ngx.ctx.exits = ngx.ctx.exits or {}
        table.insert(ngx.ctx.exits, { callback, told })
    end
end

function _M.response.exit(code, body)
    for _, one in ipairs(ngx.ctx.exits or {}) do
        code, body = one[1](code, body, {}, one[2])
    end
    ngx.status = code
    if body then ngx.print(type(body) == "table" and cjson.encode(body) or body) end
    return ngx.exit(code)
end

-- Defaults, and what is required; the real one is jsonschema.
local function fill(schema, conf)
    for name, part in pairs(schema.properties or {}) do
        if conf[name] == nil and part.default ~= nil then
            conf[name] = type(part.default) == "table" and {} or part.default
        end
        if type(conf[name]) == "table" and part.type == "object" then fill(part, conf[name]) end
    end
end
function _M.schema.check(schema, conf)
    for _, name in ipairs(schema.required or {}) do
        if conf[name] == nil then return false, 'property "' .. name .. '" is required' end
    end
    fill(schema, conf)
    return true
end

return _M
