-- What the plugin itself says when the service does not: errors as the caller's SDK reads them.

local _M = {}

local MESSAGES = {
    ["gateway.unavailable"] = "The gateway could not check your request, so it was not sent on. Please try again.",
    ["gateway.unchecked"] = "The gateway could not check the model server's answer, so it was not passed on. Please try again.",
    ["gateway.cut"] = "The gateway could not check the rest of this answer, so it ends here.",
    ["body.too_large"] = "The request body is larger than this gateway accepts.",
    ["gateway.misconfigured"] = "The gateway's configuration would let this answer pass unchecked, so the request was not sent on.",
    ["upstream.timeout"] = "The model server did not answer in time. Please try again.",
    ["upstream.unavailable"] = "The model server cannot be reached at the moment. Please try again.",
}

-- The types of https://platform.openai.com/docs/guides/error-codes and https://docs.anthropic.com/en/api/errors.
local OPENAI = { [413] = "invalid_request_error" }
local ANTHROPIC = { [413] = "request_too_large", [503] = "overloaded_error" }

local function is_anthropic(path)
    return (path .. "?"):find("/v1/messages[/?]") ~= nil
end

-- A JSON document. path: of the request, which tells the dialect. status and code: as for every refusal.
function _M.error(path, status, code)
    if is_anthropic(path) then
        return '{"type": "error", "error": {"type": "' .. (ANTHROPIC[status] or "api_error") .. '", "message": "'
            .. MESSAGES[code] .. '", "code": "' .. code .. '"}}'
    end
    return '{"error": {"message": "' .. MESSAGES[code] .. '", "type": "' .. (OPENAI[status] or "server_error")
        .. '", "param": null, "code": "' .. code .. '"}}'
end

-- The last event of a stream that ends before its time.
function _M.event(path, code)
    local name = is_anthropic(path) and "event: error\n" or ""
    return name .. "data: " .. _M.error(path, 503, code) .. "\n\n"
end

return _M
