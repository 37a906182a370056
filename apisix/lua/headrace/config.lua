-- The plugin's configuration: its schema, what it must not be, and what is made of it.

local _M = {}

-- Headers of an answer and the service's metadata they are written from.
_M.RESPONSE_HEADERS = {
    ["x-headrace-exchange"] = "exchange",
    ["x-headrace-route"] = "route",
    ["x-headrace-reason"] = "reason",
    ["x-ratelimit-limit-tokens"] = "ratelimit_limit_tokens",
    ["x-ratelimit-remaining-tokens"] = "ratelimit_remaining_tokens",
    ["x-ratelimit-reset-tokens"] = "ratelimit_reset_tokens",
    ["x-ratelimit-limit-requests"] = "ratelimit_limit_requests",
    ["x-ratelimit-remaining-requests"] = "ratelimit_remaining_requests",
    ["x-ratelimit-reset-requests"] = "ratelimit_reset_requests",
}

-- What the service says of an exchange that APISIX's loggers may write.
_M.VARIABLES = { "organisation", "model", "settle", "lease" }
for _, name in pairs(_M.RESPONSE_HEADERS) do
    _M.VARIABLES[#_M.VARIABLES + 1] = name
end

local ANSWER_SHARE = 0.9   -- of the time for a message, as in Envoy's configuration

local ADDRESS = "^(unix:/.+|(127[.][0-9.]+|localhost|\\[::1\\]):[0-9]{1,5})$"

_M.schema = {
    type = "object",
    properties = {
        service = {
            description = "Where the service's workers listen: unix:/path, or loopback host:port. Clear text: the cosocket's TLS "
                .. "cannot speak HTTP/2.",
            type = "array", minItems = 1, maxItems = 256,
            items = { type = "string", pattern = ADDRESS },
        },
        connect_timeout_ms = { type = "integer", minimum = 1, maximum = 60000, default = 200 },
        message_timeout_ms = {
            description = "For one answer of the service, which is told to answer within nine tenths of it.",
            type = "integer", minimum = 1, maximum = 600000, default = 5000,
        },
        failure_mode_allow = {
            description = "What passes when the service does not answer: requests unchecked, answers unchecked.",
            type = "object",
            properties = {
                request = { type = "boolean", default = false },
                response = { type = "boolean", default = false },
            },
            additionalProperties = false,
            default = {},
        },
        max_body_bytes = { type = "integer", minimum = 1, maximum = 67108864, default = 16777216 },
        request_only = {
            description = "Answers never pass the service: requests are checked, counted, reserved and routed. Their usage is "
                .. "settled by what ai-proxy has read of it, on plain routes by what was reserved.",
            type = "boolean", default = false,
        },
        routes = {
            description = "What the service calls an upstream, and what that is here.",
            type = "object",
            additionalProperties = {
                type = "object",
                properties = { upstream_id = { type = "string" }, instance = { type = "string" } },
                additionalProperties = false,
                minProperties = 1, maxProperties = 1,
            },
            default = {},
        },
    },
    required = { "service" },
    additionalProperties = false,
}

local function address(text)
    local path = text:match("^unix:(.+)$")
    if path then
        return { text = text, path = path }
    end
    local host, port = text:match("^(.+):(%d+)$")
    return { text = text, host = host, port = tonumber(port) }
end

-- False and why for what the schema cannot say.
function _M.check(conf)
    for _, text in ipairs(conf.service) do
        local parsed = address(text)
        if parsed.port and (parsed.port < 1 or parsed.port > 65535) then
            return false, "service: " .. text .. " has no port from 1 to 65535"
        end
    end
    return true
end

-- Words of the initial metadata `headrace-capabilities`. every-chunk: one answer to each chunk of a stream, be it empty.
-- access-log: the service settles by what we tell it in the log phase. answer-within: milliseconds; before our own time-out, so
-- that the caller reads the service's error and not ours. calls-only: a model is called with whatever goes on from here.
local function capabilities(conf)
    local words = conf.request_only and "access-log" or "mode-override,every-chunk"
    return words .. ",answer-within=" .. math.max(math.floor(conf.message_timeout_ms * ANSWER_SHARE), 1)
end

local function prepare(conf)
    local addresses = {}
    for index, text in ipairs(conf.service) do
        addresses[index] = address(text)
    end
    return {
        addresses = addresses,
        timeouts = { connect = conf.connect_timeout_ms, message = conf.message_timeout_ms },
        capabilities = capabilities(conf),
        calls_only = capabilities(conf) .. ",calls-only",   -- behind ai-proxy
        waiting = {},   -- settlements, see headrace.settlement
    }
end

local made = setmetatable({}, { __mode = "k" })

-- What is made of a configuration, once for each object.
function _M.prepared(conf)
    if not made[conf] then
        made[conf] = prepare(conf)
    end
    return made[conf]
end

local turns = 0

-- Spreads exchanges over the workers.
function _M.turn()
    turns = (turns + 1) % 1000000
    return turns
end

return _M
