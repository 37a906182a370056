-- Connections to the service's workers: one for an exchange, kept for the next one where the last has left nothing behind.
--
-- Every connection has a pool of nginx's to itself, under a name that no other one has: so what is known of it (its windows, the
-- number of its next stream) is known of the very connection that `connect` gives back, and nginx sees to it that one on which the
-- worker has said anything meanwhile, or which it has closed, is not given back.

local ngx = ngx
local floor, max = math.floor, math.max
local remove, setmetatable = table.remove, setmetatable

local _M = {}
local Link = {}
Link.__index = Link

local PIECE = 65536          -- bytes of one read
local READS = 16             -- reads in a row before others get their turn: a peer that never pauses must not keep nginx to itself
local KEPT = 64              -- idle connections to one address, in one of nginx's processes
local KEPT_MS = 60000
local USES = 10000           -- of one connection: workers that come later get their share

local idle = {}              -- address to a stack of {name, uses, state}
local names = 0

local function kept(address)
    local stack = idle[address.text]
    if not stack then
        stack = {}
        idle[address.text] = stack
    end
    return stack
end

local function new_entry(address)
    names = names + 1
    return { name = "headrace " .. address.text .. " " .. names, uses = 0 }
end

-- address: {text = …} and {path = …} or {host = …, port = …}. timeouts: milliseconds, `connect` and `message`. fresh: a new
-- connection, not an idle one. Nil and why where nobody listens there.
function _M.connect(address, timeouts, fresh)
    local entry = not fresh and remove(kept(address)) or new_entry(address)
    local sock = ngx.socket.tcp()
    sock:settimeouts(timeouts.connect, timeouts.message, timeouts.message)
    local options = { pool = entry.name, pool_size = 1 }
    local ok, err
    if address.path then
        ok, err = sock:connect("unix:" .. address.path, options)
    else
        ok, err = sock:connect(address.host, address.port, options)
    end
    if not ok then
        return nil, err
    end
    local reused = sock:getreusedtimes() > 0
    if not reused then
        entry.state, entry.uses = nil, 0
    end
    local link = { sock = sock, address = address, entry = entry, reused = reused, timeouts = timeouts, reads = 0 }
    setmetatable(link, Link)
    link:allow()
    return link
end

-- What was left with the connection when it was last kept; nil for a new one.
function Link:state()
    return self.entry.state
end

-- From now on there is the time of one answer.
function Link:allow()
    self.deadline = ngx.now() + self.timeouts.message / 1000
end

-- False where no time is left; else the socket's next wait ends with it. nginx's own time-outs begin anew with every byte.
function Link:in_time()
    local left = self.deadline - ngx.now()
    if left <= 0 then
        return false
    end
    local ms = max(1, floor(left * 1000))
    self.sock:settimeouts(self.timeouts.connect, ms, ms)
    return true
end

function Link:send(data)
    if not self:in_time() then
        return nil, "timeout"
    end
    return self.sock:send(data)
end

-- Some bytes; waits for them. Nil and why where none come in time, or none come any more.
function Link:read()
    self.reads = self.reads + 1
    if self.reads % READS == 0 then
        ngx.sleep(0)
    end
    if not self:in_time() then
        return nil, "timeout"
    end
    return self.sock:receiveany(PIECE)
end

-- Keeps the connection with `state` for another exchange, or closes it.
function Link:keep(state)
    local entry, stack = self.entry, kept(self.address)
    entry.uses, entry.state = entry.uses + 1, state
    if entry.uses >= USES or #stack >= KEPT or not self.sock:setkeepalive(KEPT_MS, 1) then
        return self:close()
    end
    stack[#stack + 1] = entry
end

function Link:close()
    self.sock:close()
end

return _M
