-- The upstream of a plain route, called by the plugin as nginx would call it.

local core = require("apisix.core")

local ngx = ngx
local concat, pairs, setmetatable = table.concat, pairs, setmetatable

local _M = {}
local Call = {}
Call.__index = Call

local PIECE = 65536
local MAX_WHOLE = 67108864   -- bytes of an answer that is collected for the service; its own limit
local TIMES = { connect = 60, send = 60, read = 60 }  -- seconds, where neither the route nor its upstream says

-- Headers of one connection, in either direction.
_M.NOT_PASSED_ON = { connection = true, ["keep-alive"] = true, ["transfer-encoding"] = true, te = true, trailer = true,
                     upgrade = true, ["proxy-authenticate"] = true, ["proxy-connection"] = true }

local function times(ctx)
    local route, upstream = (ctx.matched_route or {}).value or {}, ctx.upstream_conf or {}
    local found = route.timeout or upstream.timeout or {}
    return function(name)
        return (found[name] or TIMES[name]) * 1000
    end
end

-- A call of the server that APISIX has picked. Nil and why where it cannot be reached.
function _M.connect(ctx)
    local client, time = require("resty.http").new(), times(ctx)
    client:set_timeouts(time("connect"), time("send"), time("read"))
    local server = ctx.picked_server
    local ok, err = client:connect({
        scheme = ctx.upstream_scheme or "http", host = server.host, port = server.port,
        ssl_server_name = server.domain or server.host, ssl_verify = false,
    })
    if not ok then
        return nil, err
    end
    return setmetatable({ client = client }, Call)
end

-- As the caller has written it, unless a plugin has written another one: APISIX's own `request_uri` has escapes resolved, and a
-- line's end among them would end the line of the request.
local function path_of(ctx)
    local path = ctx.var.upstream_uri
    return path ~= nil and path ~= "" and path or ngx.var.request_uri
end

-- lua-resty-http takes path and query apart, and neither with these bytes in it, which nginx lets through.
local NOT_TAKEN = "[#<>`]"

local function escaped(text)
    return (text:gsub(NOT_TAKEN, function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local function request_of(ctx)
    local headers = ngx.req.get_headers(0)
    for name in pairs(_M.NOT_PASSED_ON) do
        headers[name] = nil
    end
    headers.host = ctx.var.upstream_host or headers.host
    local path, query = path_of(ctx):match("^([^?]*)(.*)$")
    return {
        method = core.request.get_method(), path = escaped(path), query = escaped(query), headers = headers,
        body = core.request.get_body() or "",
    }
end

-- Sends the request. Gives the answer as lua-resty-http has it; nil and why where none has come.
function Call:request(ctx)
    local response, err = self.client:request(request_of(ctx))
    self.response = response
    return response, err
end

-- Whether the answer's body ends with its connection.
local function is_unframed(response)
    local headers = response.headers
    return response.has_body and not headers["Content-Length"] and not headers["Transfer-Encoding"]
end

-- The next part of the answer's body; nil at its end, nil and why where it fails.
function Call:read()
    if not is_unframed(self.response) then
        return self.response.body_reader(PIECE)
    end
    local part, err = self.client.sock:receiveany(PIECE)  -- the reader waits until a piece is full
    if err == "closed" then
        return nil
    end
    return part, err
end

-- The answer's body in one string; nil and why where it cannot be had.
function Call:whole()
    local parts, size = {}, 0
    while true do
        local part, err = self:read()
        if err then
            return nil, err
        elseif not part then
            return concat(parts)
        end
        parts[#parts + 1], size = part, size + #part
        if size > MAX_WHOLE then
            return nil, "an answer of more than " .. MAX_WHOLE .. " bytes"
        end
    end
end

-- The connection is kept where the answer has been read to its end, and allows it.
function Call:finish(read)
    if not read or is_unframed(self.response) or not self.client:set_keepalive() then
        self.client:close()
    end
end

return _M
