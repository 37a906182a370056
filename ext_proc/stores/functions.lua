#!lua name=headrace_VERSION
-- The ledger inside the server. One call is one atomic step over every counter of a lease.
--
-- VERSION stands for a digest of this file, so that two releases of Headrace can share a server.
-- Every function takes its numbers as one MessagePack argument. `now` is the caller's wall clock in epoch milliseconds and
-- decides what has lapsed; the server's own expiry only clears away what no call looks at any more.
--
-- Keys, all of one organisation and so within one slot:
--   lease           a MessagePack record {state, lapses, remaining, what reserve was told, its keys}
--   fixed window    a hash, counter -> sum; the window's bounds are in the key
--   sliding counter a hash, bucket -> sum; bucket n covers [n * width, (n + 1) * width), width = length / 60 rounded up
--
-- What reserve is told: {now, ttl, groups}; groups[i] = {ends, length, fields, units, limits, amounts, places} is of keys[i + 1].
-- A group is a fixed window and its counters, or (length > 0) one sliding counter, whose only field is not used. places are
-- where the reply is to have them, from 1.

local BUCKETS = 60
-- Numbers are doubles here; up to 2^53 every integer is exact.
local EXACT = 9007199254740992
-- A worker whose clock lags by less still meets the counter it charged, instead of beginning a second one.
local SLACK = 60000
-- A reservation overtaken by its release arrives within milliseconds; a minute is ample.
local OVERTAKEN = 60000

local OPEN, CLOSED, RELEASED_FIRST = 1, 2, 3

local function digits(number)
  return string.format('%.0f', number)
end

local function corrected(used, reserved, actual)
  return digits(math.min(math.max(tonumber(used) - reserved + actual, 0), EXACT))
end

local function width_of(length)
  return math.ceil(length / BUCKETS)
end

local function bucket_of(at, length)
  return math.floor(at / width_of(length))
end

-- The oldest bucket that may hold something charged less than `length` ago: it counts as a whole.
local function horizon_of(now, length)
  return bucket_of(now - length, length)
end

-- {used = {sum, ...}, known = whether the window had any of these counters}
local function look_fixed(key, fields)
  local seen = {used = {}, known = false}
  for i, value in ipairs(redis.call('HMGET', key, unpack(fields))) do
    seen.used[i] = tonumber(value or 0)
    seen.known = seen.known or value ~= false
  end
  return seen
end

-- {used = {sum}, live = {bucket -> sum}, lapsed = {field, ...}}
local function look_sliding(key, now, length)
  local horizon, used, live, lapsed = horizon_of(now, length), 0, {}, {}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local bucket, amount = tonumber(fields[i]), tonumber(fields[i + 1])
    if bucket >= horizon then
      live[bucket], used = amount, used + amount
    else
      lapsed[#lapsed + 1] = fields[i]
    end
  end
  return {used = {used}, live = live, lapsed = lapsed}
end

local function look(key, now, length, fields)
  if length > 0 then
    return look_sliding(key, now, length)
  end
  return look_fixed(key, fields)
end

local function draw_fixed(key, seen, now, ends, fields, amounts)
  local sums = {}
  for i, field in ipairs(fields) do
    sums[2 * i - 1], sums[2 * i] = field, digits(seen.used[i] + amounts[i])
  end
  redis.call('HSET', key, unpack(sums))
  if not seen.known then
    redis.call('PEXPIRE', key, digits(ends - now + SLACK))
  end
end

local function draw_sliding(key, seen, now, length, amount)
  redis.call('HINCRBY', key, digits(bucket_of(now, length)), digits(amount))
  if #seen.lapsed > 0 then
    redis.call('HDEL', key, unpack(seen.lapsed))
  end
  redis.call('PEXPIRE', key, digits(length + width_of(length) + SLACK))
end

-- The instant at which enough buckets have lapsed for `amount` to fit, or the last of them has.
local function refits_at(seen, now, length, limit, amount)
  local order, used = {}, seen.used[1]
  for bucket in pairs(seen.live) do
    order[#order + 1] = bucket
  end
  table.sort(order)
  local last = bucket_of(now, length)
  for _, bucket in ipairs(order) do
    last, used = bucket, used - seen.live[bucket]
    if amount <= limit - used then
      break
    end
  end
  return (last + 1) * width_of(length) + length
end

-- The record of a lease, unless it is unknown or has lapsed.
local function record_of(key, now)
  local packed = redis.call('GET', key)
  local record = packed and cmsgpack.unpack(packed)
  return record and now < record[2] and record or nil
end

-- {1, remaining...}
local function admit(keys, told, packed, seen)
  local now, ttl, groups = unpack(told)
  local reply = {1}
  for g, group in ipairs(groups) do
    local ends, length, fields, _, limits, amounts, places = unpack(group)
    if length > 0 then
      draw_sliding(keys[g + 1], seen[g], now, length, amounts[1])
    else
      draw_fixed(keys[g + 1], seen[g], now, ends, fields, amounts)
    end
    for i, limit in ipairs(limits) do
      reply[1 + places[i]] = limit - seen[g].used[i] - amounts[i]
    end
  end
  redis.call('SET', keys[1], cmsgpack.pack({OPEN, now + ttl, reply, packed, keys}), 'PX', digits(ttl + SLACK))
  return reply
end

-- {0, remaining, resets, remaining, resets...}, resets 0 for a counter that could hold its charge.
local function refuse(told, seen)
  local now, _, groups = unpack(told)
  local reply = {0}
  for g, group in ipairs(groups) do
    local ends, length, _, _, limits, amounts, places = unpack(group)
    for i, limit in ipairs(limits) do
      local used, resets = seen[g].used[i], 0
      if amounts[i] > limit - used then
        resets = length > 0 and refits_at(seen[g], now, length, limit, amounts[i]) or ends
      end
      reply[2 * places[i]], reply[2 * places[i] + 1] = math.max(limit - used, 0), resets
    end
  end
  return reply
end

-- Differences stay within what a double holds exactly, sums would not.
local function fits(seen, limits, amounts)
  for i, limit in ipairs(limits) do
    if amounts[i] > limit - seen.used[i] then
      return false
    end
  end
  return true
end

-- keys: lease, one per group.
local function reserve(keys, args)
  local told = cmsgpack.unpack(args[1])
  local now, _, groups = unpack(told)
  local record = record_of(keys[1], now)
  if record then
    return record[1] == RELEASED_FIRST and redis.error_reply('LEASE released before it was reserved') or record[3]
  end
  local seen, all = {}, true
  for g, group in ipairs(groups) do
    local _, length, fields, _, limits, amounts = unpack(group)
    seen[g] = look(keys[g + 1], now, length, fields)
    all = all and fits(seen[g], limits, amounts)
  end
  if all then
    return admit(keys, told, args[1], seen)
  end
  return refuse(told, seen)
end

-- Counters and buckets that are no longer there stay away: their time has gone.
local function correct_fixed(key, fields, reserved, actuals)
  local sums = {}
  for i, used in ipairs(redis.call('HMGET', key, unpack(fields))) do
    if used and actuals[i] ~= reserved[i] then
      sums[#sums + 1] = fields[i]
      sums[#sums + 1] = corrected(used, reserved[i], actuals[i])
    end
  end
  if #sums > 0 then
    redis.call('HSET', key, unpack(sums))
  end
end

local function correct_sliding(key, bucket, reserved, actual)
  local used = redis.call('HGET', key, digits(bucket))
  if used and actual ~= reserved then
    redis.call('HSET', key, digits(bucket), corrected(used, reserved, actual))
  end
end

local function correct(key, group, reserved_at, actual_of)
  local _, length, fields, units, _, amounts = unpack(group)
  local actuals = {}
  for i, unit in ipairs(units) do
    actuals[i] = actual_of(unit) or amounts[i]
  end
  if length > 0 then
    correct_sliding(key, bucket_of(reserved_at, length), amounts[1], actuals[1])
  else
    correct_fixed(key, fields, amounts, actuals)
  end
end

local function close(lease, record, actual_of)
  local reserved_at, _, groups = unpack(cmsgpack.unpack(record[4]))
  for g, group in ipairs(groups) do
    correct(record[5][g + 1], group, reserved_at, actual_of)
  end
  redis.call('SET', lease, cmsgpack.pack({CLOSED, record[2], record[3]}), 'KEEPTTL')
  return 1
end

-- keys: lease; {now, {unit = actual}}. 1 when this call settled the lease.
local function settle(keys, args)
  local now, spent = unpack(cmsgpack.unpack(args[1]))
  local record = record_of(keys[1], now)
  if not record or record[1] ~= OPEN then
    return 0
  end
  return close(keys[1], record, function(unit) return spent[unit] end)
end

-- keys: lease; {now}. 1 when this call released the lease.
local function release(keys, args)
  local now = unpack(cmsgpack.unpack(args[1]))
  local record = record_of(keys[1], now)
  if record and record[1] == OPEN then
    return close(keys[1], record, function() return 0 end)
  end
  if not record then
    redis.call('SET', keys[1], cmsgpack.pack({RELEASED_FIRST, now + OVERTAKEN}), 'PX', digits(OVERTAKEN + SLACK))
  end
  return 0
end

-- keys: one per group; {now, {{length, fields, places}, ...}}. What each counter holds.
local function read(keys, args)
  local now, groups = unpack(cmsgpack.unpack(args[1]))
  local reply = {}
  for g, group in ipairs(groups) do
    local length, fields, places = unpack(group)
    for i, used in ipairs(look(keys[g], now, length, fields).used) do
      reply[places[i]] = used
    end
  end
  return reply
end

redis.register_function('headrace_VERSION_reserve', reserve)
redis.register_function('headrace_VERSION_settle', settle)
redis.register_function('headrace_VERSION_release', release)
redis.register_function{function_name = 'headrace_VERSION_read', callback = read, flags = {'no-writes'}}
