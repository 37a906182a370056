-- One exchange with the service: what a gateway does with a request and its answer, as Envoy does it. Nothing is decided here.

local ext_proc = require("headrace.ext_proc")
local grpc = require("headrace.grpc")

local ipairs, pairs = ipairs, pairs

local _M = {}
local Exchange = {}
Exchange.__index = Exchange

-- Words of the initial metadata `headrace-capabilities`. every-chunk: one answer to each chunk of a stream, be it empty.
local READS_ANSWERS = "mode-override,every-chunk"
local AT_ONCE = 32768   -- bytes of a body that is sent along with its headers, before it is known whether it is wanted

-- conf: `addresses`, `timeouts` and `request_only`. Nil and why where no address can be connected to.
function _M.open(conf, first)
    local words = conf.request_only and "" or READS_ANSWERS
    local metadata = { { "headrace-capabilities", words } }
    local call, err
    for turn = 0, #conf.addresses - 1 do
        local address = conf.addresses[(first + turn) % #conf.addresses + 1]
        call, err = grpc.call(address, ext_proc.METHOD, metadata, conf.timeouts)
        if call then
            return setmetatable({ call = call, metadata = {}, set = {}, remove = {}, removed = {} }, Exchange)
        end
    end
    return nil, err
end

local function append(to, from)
    for _, item in ipairs(from or {}) do
        to[#to + 1] = item
    end
end

-- What one answer changes: metadata, and edits in order.
function Exchange:fold(common, metadata)
    for name, value in pairs(metadata or {}) do
        self.metadata[name] = value
    end
    local edits = { set = {}, remove = {} }
    if common then
        append(edits.set, common.set)
        append(edits.remove, common.remove)
    end
    return edits
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

-- The answer to one message that is named `part`: edits with `body`, or a refusal. Nil for a clean end, nil and why for a failure.
function Exchange:ask(message, part)
    if message then
        local sent, err = self.call:send(message)
        if not sent and not self.call.stream.ended then
            return nil, err
        end
    end
    local response, err = self:receive()
    if not response then
        return nil, err
    elseif response.refusal then
        self.over = true
        return { refusal = response.refusal }
    elseif not response[part] then
        return nil, "the service answered something else than it was asked"
    end
    local common = response[part].common
    local answer = self:fold(common, response.metadata)
    answer.reading = response.reading
    answer.body = common and common.body
    return answer
end

-- The request's headers ({name, value} pairs) and body ("" for none). Gives a list of answers to apply in order; the last of
-- them may be a refusal. Nil and why where the service has failed.
function Exchange:request(headers, body)
    local ends = body == ""
    local early = not ends and #body <= AT_ONCE
    local message = ext_proc.request_headers(headers, ends)
    local sent, err = self.call:send(message)
    if sent and early then
        self.call:send(ext_proc.request_body(body))
    elseif not sent then
        return nil, err
    end
    local answer
    answer, err = self:ask(nil, "request_headers")
    if not answer then
        return err and nil or {}, err
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

-- The headers of an upstream's answer. Gives edits, `reading` ("stream", "whole", nil) or a refusal; nil for an answer that the
-- service does not want; nil and why where it has failed.
function Exchange:response_headers(headers, ends)
    return self:ask(ext_proc.response_headers(headers, ends), "response_headers")
end

-- An answer that is no stream, whole. Gives edits with `body`, or a refusal.
function Exchange:whole(body)
    return self:ask(ext_proc.response_body(body, true), "response_body")
end

-- What goes to the caller in place of one chunk, and whether the stream ends with it. Nil and why where the service has failed.
function Exchange:chunk(data, ends)
    local answer, err = self:ask(ext_proc.response_body(data, ends), "response_body")
    if not answer then
        return nil, err or "the service ended the stream before its end"
    end
    local streamed = answer.body and answer.body.streamed
    if not streamed then
        return nil, "the service answered a chunk with something else"
    end
    self.over = self.over or streamed.ends == true
    return streamed.body or "", streamed.ends == true
end

function Exchange:cancel()
    self.call:cancel()
end

function Exchange:close()
    self.call:close()
end

return _M
