-- wrk's script: chat completions of about 240 bytes, no two alike. Arguments: API key, seed.
-- When wrk is done it prints one line of JSON.

local WORDS = {}
for word in ("water wheel mill race gate stone grain flour river pond weir sluice axle gear cog belt sack miller "
  .. "morning evening winter summer turns grinds carries opens closes slowly quickly under over beside"):gmatch("%a+") do
  WORDS[#WORDS + 1] = word
end

local BODY = '{"model":"llama-3.3-70b","messages":[{"role":"system","content":"You are a helpful assistant."},'
  .. '{"role":"user","content":"%s"}],"max_tokens":64}'

-- A number in letters: digits in every prompt would have the phone number recognizer at work in every prompt.
local function spelled(number)
  local letters = {}
  repeat
    letters[#letters + 1] = string.char(97 + number % 26)
    number = math.floor(number / 26)
  until number == 0
  return table.concat(letters)
end

local headers = { ["content-type"] = "application/json" }
local sequence = 0
local name

function init(args)
  for field, value in pairs(wrk.headers) do -- of the option -H
    headers[field] = value
  end
  headers["authorization"] = "Bearer " .. args[1]
  name = spelled(tonumber(args[2]))
  math.randomseed(tonumber(args[2]))
end

function request()
  sequence = sequence + 1
  local text = { "Request", name, spelled(sequence) }
  for index = 4, 17 do
    text[index] = WORDS[math.random(#WORDS)]
  end
  return wrk.format("POST", "/v1/chat/completions", headers, BODY:format(table.concat(text, " ")))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
