-- As much of lua-resty-http as the plugin uses.

local _M = {}
local Client = {}
Client.__index = Client

function _M.new() return setmetatable({ sock = ngx.socket.tcp() }, Client) end

function Client:set_timeouts(connect, send, read) self.sock:settimeouts(connect, send, read) end

function Client:connect(options)
    return self.sock:connect(options.host, options.port)
end

function Client:close() return self.sock:close() end

-- Where the answer has been read to its end, and does not say that the connection ends with it.
function Client:set_keepalive()
    if self.ends then return nil, "connection must be closed" end
    return self.sock:setkeepalive()
end

local function read_head(sock)
    local line, err = sock:receive("*l")
    if not line then return nil, err end
    local response = { status = tonumber(line:match("^HTTP/1%.%d (%d+)")), headers = {} }
    while true do
        line, err = sock:receive("*l")
        if not line then return nil, err end
        if line == "" then return response end
        local name, value = line:match("^([^:]+):%s*(.*)$")
        local before = response.headers[name]
        if type(before) == "table" then
            before[#before + 1] = value
        else
            response.headers[name] = before and { before, value } or value
        end
    end
end

local function chunked(sock)
    local left, over = 0, false
    return function(most)
        if over then return nil end
        if left == 0 then
            local size, err = sock:receive("*l")
            if not size then return nil, err end
            left = tonumber(size:match("^%x+"), 16)
            if left == 0 then sock:receive("*l") over = true return nil end
        end
        local part, err = sock:receive(math.min(left, most))
        if not part then return nil, err end
        left = left - #part
        if left == 0 then sock:receive(2) end
        return part
    end
end

local function counted(sock, length)
    return function(most)
        if length == 0 then return nil end
        local part, err = sock:receive(math.min(length, most))
        if not part then return nil, err end
        length = length - #part
        return part
    end
end

-- Waits for as many bytes as it was asked for, or the end.
local function to_the_end(sock)
    return function(most)
        local part, err, rest = sock:receive(most)
        if err == "closed" then return rest, err end
        return part, err
    end
end

local function nothing() return nil end

-- Bytes that a path may have; a query may have "?", too (as in api7-lua-resty-http 0.2.3).
local FORBIDDEN = '[^!$-;=@-_a-z|~"{}\127-\255]'

function Client:request(request)
    if request.path:find(FORBIDDEN) then return nil, "invalid characters found in path" end
    local query = request.query or ""
    if query ~= "" and query:sub(1, 1) ~= "?" then query = "?" .. query end
    if query:gsub("%?", ""):find(FORBIDDEN) then return nil, "invalid characters found in query" end
    local out = { request.method, " ", request.path, query, " HTTP/1.1\r\n" }
    if not request.headers["transfer-encoding"] then request.headers["content-length"] = #request.body end
    for name, value in pairs(request.headers) do
        for _, single in ipairs(type(value) == "table" and value or { value }) do
            if tostring(single):find("[%z\1-\8\10-\31\127]") then return nil, "invalid characters found in header value" end
            out[#out + 1] = name .. ": " .. tostring(single) .. "\r\n"
        end
    end
    out[#out + 1] = "\r\n"
    local sent, err = self.sock:send(out)
    if not sent then return nil, err end
    local response
    if request.headers.expect == "100-continue" then
        response, err = read_head(self.sock)
        if not response or response.status ~= 100 then return response, err end
    end
    sent, err = self.sock:send(request.body)
    if not sent then return nil, err end
    response, err = read_head(self.sock)
    if not response then return nil, err end
    local headers = {}
    for name, value in pairs(response.headers) do headers[name:lower()] = value end
    setmetatable(response.headers, { __index = function(_, name) return headers[name:lower()] end })
    response.has_body = request.method ~= "HEAD" and response.status ~= 204 and response.status ~= 304
    self.ends = (headers.connection or ""):lower() == "close"
    if not response.has_body then
        response.body_reader = nothing
    elseif (headers["transfer-encoding"] or ""):find("chunked") then
        response.body_reader = chunked(self.sock)
    elseif headers["content-length"] then
        response.body_reader = counted(self.sock, tonumber(headers["content-length"]))
    else
        response.body_reader = to_the_end(self.sock)
    end
    return response
end

return _M
