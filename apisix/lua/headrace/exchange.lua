-- One exchange with the service: what a gateway does with a request and its answer, as Envoy does it. Nothing is decided here.

local ext_proc = require("headrace.ext_proc")
local grpc = require("headrace.grpc")

local pairs, setmetatable = pairs, setmetatable

local _M = {}

local NOT_CONNECTED = "upstream_reset_before_response_started{connection_failure}"  -- as Envoy says it

local Exchange = {}
Exchange.__index = Exchange

local AT_ONCE = 32768   -- bytes of a body that is sent along with its headers, before it is known whether it is wanted

-- What one answer changes: the exchange's metadata, and headers that are set and removed, in order.
function Exchange:fold(common, metadata)
    for name, value in pairs(metadata or {}) do
        self.metadata[name] = value
    end
    return { set = common and common.set or {}, remove = common and common.remove or {} }
end

-- The next response. Nil for a clean end, nil and why for any other.
function Exchange:receive()
    local message, err = self.call:receive()
    if not message then
        self.over = true
        return nil, err
    end
    local response = ext_proc.decode(message)
    if not response then
        return nil, "the service sent bytes that are no answer"
    end
    return response
end

function Exchange:refused(refusal)
    local code = refusal.status and refusal.status.code or 0
    if code < 200 or code > 599 then
        return nil, "the service refused with a status that is none: " .. code
    end
    self.over = true
    return { refusal = refusal }
end

-- The answer to one message that is named `part`: edits with `body`, or a refusal. Nil for a clean end, nil and why for a failure.
-- message: nil where it has been sent already. last: none comes after it.
function Exchange:ask(message, part, last)
    self.call:allow()
    if message then
        local sent, err = self.call:send(message, last)
        if not sent and not self.call.stream.ended then
            return nil, err
        end
    end
    local response, err = self:receive()
    if not response then
        return nil, err
    elseif response.refusal then
        return self:refused(response.refusal)
    elseif not response[part] then
        return nil, "the service answered something else than it was asked"
    end
    local common = response[part].common
    local answer = self:fold(common, response.metadata)
    answer.reading = response.reading
    answer.body = common and common.body
    if answer.body and answer.body.clear then
        answer.body.body = ""
    end
    return answer
end

-- As `ask`, where a clean end without an answer is a failure: nothing may go on that the service has not spoken of.
function Exchange:must(message, part, last)
    local answer, err = self:ask(message, part, last)
    if not answer then
        return nil, err or "the service ended the exchange without an answer"
    end
    return answer
end

-- The request's headers ({name, value} pairs), body ("" for none) and who the gateway says calls (nil for nobody). Gives a list of
-- answers to apply in order; the last of them may be a refusal. Nil and why where the service has failed.
function Exchange:request(headers, body, vouched)
    local ends = body == ""
    local early = not ends and #body <= AT_ONCE
    local sent, err = self.call:send(ext_proc.request_headers(headers, ends, vouched))
    if sent and early then
        sent, err = self.call:send(ext_proc.request_body(body))
    end
    if not sent and not self.call.stream.ended then
        return nil, err
    end
    local answer
    answer, err = self:must(nil, "request_headers")
    if not answer then
        return nil, err
    elseif answer.refusal or ends then
        return { answer }
    end
    local second
    second, err = self:ask(not early and ext_proc.request_body(body) or nil, "request_body")
    if not second and err then
        return nil, err
    end
    return { answer, second }
end

-- Whether the service wants to see the answer.
function Exchange:stays()
    return not self.over and self.metadata.settle == "stream"
end

-- The headers of an upstream's answer. Gives edits, `reading` ("stream", "whole", nil) or a refusal. Nil and why where the service
-- has failed.
function Exchange:response_headers(headers, ends)
    return self:must(ext_proc.response_headers(headers, ends), "response_headers")
end

-- No upstream has had the request: nothing is charged for it.
function Exchange:unsent()
    local told = ext_proc.response_headers({ { ":status", "503" } }, true, NOT_CONNECTED)
    if self:must(told, "response_headers") then
        self:close()
    else
        self:cancel()
    end
end

-- An answer that is no stream, whole. Gives edits with `body`, or a refusal. Nil and why where the service has failed.
function Exchange:whole(body)
    return self:must(ext_proc.response_body(body, true), "response_body", true)
end

-- What goes to the caller in place of one chunk, and whether the stream ends with it. Nil and why where the service has failed.
function Exchange:chunk(data, ends)
    local answer, err = self:must(ext_proc.response_body(data, ends), "response_body", ends)
    if not answer then
        return nil, err
    end
    local streamed = answer.body and answer.body.streamed
    if not streamed then
        return nil, "the service answered a chunk with something else"
    end
    self.over = self.over or streamed.ends == true
    return streamed.body or "", streamed.ends == true
end

-- Whether it has been ended, one way or the other.
function Exchange:is_closed()
    return self.call.closed == true
end

function Exchange:cancel()
    self.call:cancel()
end

function Exchange:close()
    self.call:close()
end

-- One try at one address: the exchange and its answers. Nil, why, whether the worker cannot have begun with it, and whether the
-- connection had been kept from an earlier exchange.
local function attempt(conf, address, fresh, capabilities, ...)
    local metadata = { { "headrace-capabilities", capabilities } }
    local call, err = grpc.call(address, ext_proc.METHOD, metadata, conf.timeouts, fresh)
    if not call then
        return nil, err, true, false
    end
    local exchange = setmetatable({ call = call, metadata = {} }, Exchange)
    local answers
    answers, err = exchange:request(...)
    if answers then
        return exchange, answers
    end
    exchange:cancel()
    return nil, err, call:untouched(), call:reused()
end

-- Opens an exchange with the request, as for `request`: gives it and its answers. conf: `addresses`, `timeouts`. first: which
-- address is asked first; another one is asked only where none before can have begun with it. Then come the gateway's capabilities,
-- and what `request` takes. Nil and why where the service has failed.
function _M.begin(conf, first, ...)
    local why
    for turn = 0, #conf.addresses - 1 do
        local address = conf.addresses[(first + turn) % #conf.addresses + 1]
        local exchange, found, untouched, reused = attempt(conf, address, false, ...)
        if not exchange and untouched and reused then
            exchange, found, untouched = attempt(conf, address, true, ...)
        end
        if exchange or not untouched then
            return exchange, found
        end
        why = found
    end
    return nil, why
end

return _M
