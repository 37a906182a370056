#!lua name=headrace_VERSION
-- The ledger inside the server. One call is one atomic step over every counter of a lease.
--
-- VERSION stands for a digest of this file, so that two releases of Headrace can share a server.
-- Every function takes its numbers and names as one MessagePack argument. `now` is the caller's wall clock in epoch milliseconds and
-- decides what has lapsed; the server's own expiry only clears away what no call looks at any more.
--
-- Keys, all of one organisation and so within one slot:
--   lease           a MessagePack record: {OPEN, lapses, remaining, reserved at, amounts, plan, record},
--                   {CLOSED, lapses, remaining, who closed it, what they were told} or {RELEASED_FIRST, lapses}
--   fixed window    a hash, counter -> sum; the window's bounds are in the key
--   sliding counter a hash, bucket -> sum; bucket n covers [n * width, (n + 1) * width), width = length / 60 rounded up
--   held counter    a sorted set, amount:lease -> when it lapses; and TOTAL -> minus the sum of the amounts, minus one
--   ledger          a stream with a record of each lease that was closed, or that lapsed
--   open            a sorted set, {lease, its record, when it lapses} -> when it lapses, of open leases that came with a record
-- Besides, for each roster:
--   records         a hash, id -> record
--   revisions       a sorted set, id -> revision of the record; the highest is the roster's own, and nothing ever leaves
--   marks           a hash, revision -> what its caller drew by lot, of the last revisions; those of older releases have none
-- In the hashes, !threshold:counter -> when it was told that the counter has reached that threshold.
--
-- What reserve is told: {now, ttl, amounts}, a plan, and a record, {name, value, ...} or nothing; the last two are packed by
-- themselves. A plan is the same bytes for the same counters, so it is unpacked once: {group, ...}, and group is {key, ends, length,
-- fields, units, limits, places, warn}, a fixed window and its counters, or one counter of its own: sliding (length > 0), or held
-- (length < 0). places are where amounts and reply have them, from 1; warn, where it is not false, has thresholds for each counter.

local BUCKETS = 60
-- Numbers are doubles here; up to 2^53 every integer is exact.
local EXACT = 9007199254740992
-- A worker whose clock lags by less still meets the counter it charged, instead of beginning a second one.
local SLACK = 60000
-- Records of an organisation that its ledger keeps, some 300 bytes each.
local LEDGER = 1000000
local TOTAL = 'total'
-- Lapsed leases that one call writes down: more than one call can open, so that they become fewer.
local SWEPT = 8
-- A reservation overtaken by its release arrives within milliseconds; a minute is ample.
local OVERTAKEN = 60000

local OPEN, CLOSED, RELEASED_FIRST = 1, 2, 3
-- Members of an open lease's record.
local OPENED = 7

-- Bytes of plans that are remembered unpacked, which takes some eight times as much: a thousand callers or more.
local PLANS = 1048576

-- For names: an argument of a command may be a number. '%.0f' writes the same at twice the cost.
local function digits(number)
  return string.format('%d', number)
end

-- Loops count: `ipairs` calls a function for each member, a tenth of a reservation's time.

local plans, planned = {}, 0

-- Nobody changes what this gives.
local function plan_of(packed)
  local plan = plans[packed]
  if not plan then
    if planned > PLANS then
      plans, planned = {}, 0
    end
    plan = cmsgpack.unpack(packed)
    plans[packed], planned = plan, planned + #packed
  end
  return plan
end

local function corrected(used, more)
  return math.min(math.max(tonumber(used) + more, 0), EXACT)
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
  local used, known = redis.call('HMGET', key, unpack(fields)), false
  for i = 1, #fields do
    known = known or used[i] ~= false
    used[i] = tonumber(used[i] or 0)
  end
  return {used = used, known = known}
end

-- {used = {sum}, live = {bucket -> sum}, lapsed = {field, ...}}
local function look_sliding(key, now, length)
  local horizon, used, live, lapsed = horizon_of(now, length), 0, {}, {}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local bucket, amount = tonumber(fields[i]), tonumber(fields[i + 1])
    if not bucket then
      -- a threshold that was told
    elseif bucket >= horizon then
      live[bucket], used = amount, used + amount
    else
      lapsed[#lapsed + 1] = fields[i]
    end
  end
  return {used = {used}, live = live, lapsed = lapsed}
end

local function amount_of(member)
  return tonumber(string.match(member, '^%d+'))
end

-- {used = {sum}, lapsed = {member, ...}}
local function look_held(key, now)
  local used = -1 - tonumber(redis.call('ZSCORE', key, TOTAL) or -1)
  local lapsed = redis.call('ZRANGEBYSCORE', key, 0, now)
  for i = 1, #lapsed do
    used = used - amount_of(lapsed[i])
  end
  return {used = {used}, lapsed = lapsed}
end

local function look(key, now, length, fields)
  if length > 0 then
    return look_sliding(key, now, length)
  elseif length < 0 then
    return look_held(key, now)
  end
  return look_fixed(key, fields)
end

local function draw_fixed(key, seen, now, ends, fields, places, amounts)
  local sums = {}
  for i = 1, #fields do
    sums[2 * i - 1], sums[2 * i] = fields[i], seen.used[i] + amounts[places[i]]
  end
  redis.call('HSET', key, unpack(sums))
  if not seen.known then
    redis.call('PEXPIRE', key, ends - now + SLACK)
  end
end

local function draw_sliding(key, seen, now, length, amount)
  local bucket = bucket_of(now, length)
  redis.call('HINCRBY', key, bucket, amount)
  if #seen.lapsed > 0 then
    redis.call('HDEL', key, unpack(seen.lapsed))
  end
  -- The whole bucket counts for `length` after its end.
  if not seen.live[bucket] then
    redis.call('PEXPIRE', key, length + width_of(length) + SLACK)
  end
end

-- A member lives as long as its lease; the set, as long as the last of them.
local function draw_held(key, seen, now, member, amount, lapses)
  if #seen.lapsed > 0 then
    redis.call('ZREMRANGEBYSCORE', key, 0, now)
  end
  redis.call('ZADD', key, lapses, member, -1 - seen.used[1] - amount, TOTAL)
  if redis.call('PTTL', key) < lapses - now then
    redis.call('PEXPIRE', key, lapses - now + SLACK)
  end
end

local function member_of(amount, lease)
  return digits(amount) .. ':' .. lease
end

-- The instant at which enough buckets have lapsed for `amount` to fit, or the last of them has.
local function refits_at(seen, now, length, limit, amount)
  local order, used = {}, seen.used[1]
  for bucket in pairs(seen.live) do
    order[#order + 1] = bucket
  end
  table.sort(order)
  local last = bucket_of(now, length)
  for i = 1, #order do
    last, used = order[i], used - seen.live[order[i]]
    if amount <= limit - used then
      break
    end
  end
  return (last + 1) * width_of(length) + length
end

-- The record of a lease, unless it is unknown, has lapsed, or is another release's: that one stands as reserved.
local function record_of(key, now)
  local packed = redis.call('GET', key)
  local record = packed and cmsgpack.unpack(packed)
  local is_ours = record and (record[1] ~= OPEN or #record == OPENED)
  return is_ours and now < record[2] and record or nil
end

local function write_down(ledger, now, outcome, record)
  redis.call('XADD', ledger, 'MAXLEN', '~', LEDGER, '*', 'at_ms', now, 'outcome', outcome, unpack(record))
end

-- How an open lease stands in the sorted set; the same bytes for the same values. record: packed.
local function entry_of(lease, record, lapses)
  return cmsgpack.pack({lease, record, lapses})
end

-- Writes down leases that have lapsed. Closed besides, for a caller whose clock lags would find them open.
local function sweep(ledger, open, now)
  local entries = redis.call('ZRANGEBYSCORE', open, 0, now, 'LIMIT', 0, SWEPT)
  for i = 1, #entries do
    local lease, record, lapses = unpack(cmsgpack.unpack(entries[i]))
    local kept = redis.call('GET', lease)
    if kept then
      redis.call('SET', lease, cmsgpack.pack({CLOSED, lapses, cmsgpack.unpack(kept)[3]}), 'KEEPTTL')
    end
    redis.call('ZREM', open, entries[i])
    write_down(ledger, lapses, 'expired', cmsgpack.unpack(record))
  end
end

-- {1, remaining...}; args: as reserve has them.
local function admit(keys, args, now, ttl, amounts, seen)
  local reply, lease, record, groups = {1}, keys[1], args[3], plan_of(args[2])
  for g = 1, #groups do
    local key, ends, length, fields, _, limits, places = unpack(groups[g])
    local amount = amounts[places[1]]
    if length > 0 then
      draw_sliding(key, seen[g], now, length, amount)
    elseif length < 0 then
      draw_held(key, seen[g], now, member_of(amount, lease), amount, now + ttl)
    else
      draw_fixed(key, seen[g], now, ends, fields, places, amounts)
    end
    for i = 1, #limits do
      reply[1 + places[i]] = limits[i] - seen[g].used[i] - amounts[places[i]]
    end
  end
  redis.call('SET', lease, cmsgpack.pack({OPEN, now + ttl, reply, now, amounts, args[2], record}), 'PX', ttl + SLACK)
  if record ~= '' then
    redis.call('ZADD', keys[#keys], now + ttl, entry_of(lease, record, now + ttl))
  end
  return reply
end

-- When a counter that cannot hold `amount` more may hold it.
local function resets_at(seen, now, ends, length, limit, amount)
  if length > 0 then
    return refits_at(seen, now, length, limit, amount)
  end
  return length < 0 and now or ends
end

-- {0, remaining, resets, remaining, resets...}, resets 0 for a counter that could hold its charge.
local function refuse(groups, now, amounts, seen)
  local reply = {0}
  for g = 1, #groups do
    local _, ends, length, _, _, limits, places = unpack(groups[g])
    for i = 1, #limits do
      local limit, place, used, resets = limits[i], places[i], seen[g].used[i], 0
      if amounts[place] > limit - used then
        resets = resets_at(seen[g], now, ends, length, limit, amounts[place])
      end
      reply[2 * place], reply[2 * place + 1] = math.max(limit - used, 0), resets
    end
  end
  return reply
end

-- Differences stay within what a double holds exactly, sums would not.
local function fits(seen, limits, places, amounts)
  for i = 1, #limits do
    if amounts[places[i]] > limits[i] - seen.used[i] then
      return false
    end
  end
  return true
end

-- keys: lease, one per group, ledger, open; {now, ttl, amounts}, plan, record, see above.
local function reserve(keys, args)
  local now, ttl, amounts = unpack(cmsgpack.unpack(args[1]))
  sweep(keys[#keys - 1], keys[#keys], now)
  local record = record_of(keys[1], now)
  if record then
    return record[1] == RELEASED_FIRST and redis.error_reply('LEASE released before it was reserved') or record[3]
  end
  local groups, seen, all = plan_of(args[2]), {}, true
  for g = 1, #groups do
    local key, _, length, fields, _, limits, places = unpack(groups[g])
    seen[g] = look(key, now, length, fields)
    all = all and fits(seen[g], limits, places, amounts)
  end
  if all then
    return admit(keys, args, now, ttl, amounts, seen)
  end
  return refuse(groups, now, amounts, seen)
end

-- Whether what was charged at `reserved_at` still counts.
local function counts(group, now, reserved_at)
  local ends, length = group[2], group[3]
  if length > 0 then
    return bucket_of(reserved_at, length) >= horizon_of(now, length)
  end
  return length < 0 or now < ends
end

-- How much more each counter of a group is to hold: {more, ...}
local function growth(group, amounts, totals)
  local _, _, _, _, units, _, places = unpack(group)
  local more = {}
  for i = 1, #units do
    more[i] = math.max((totals[units[i]] or 0) - amounts[places[i]], 0)
  end
  return more
end

-- The reply to an extension, and whether it is one that admits: {1, remaining...} or {0, remaining, resets...}
local function weigh(groups, amounts, mores, seen, now, reserved_at)
  local admitted, refused, all = {1}, {0}, true
  for g = 1, #groups do
    local _, ends, length, _, _, limits, places = unpack(groups[g])
    local alive = counts(groups[g], now, reserved_at)
    for i = 1, #limits do
      local limit, place, more, resets = limits[i], places[i], mores[g][i], 0
      local rest = limit - seen[g].used[i]
      if more > rest and (more > 0 or amounts[place] == 0) and alive then
        all, resets = false, resets_at(seen[g], now, ends, length, limit, more)
      end
      admitted[1 + place] = math.max(rest - more, 0)
      refused[2 * place], refused[2 * place + 1] = math.max(rest, 0), resets
    end
  end
  return all and admitted or refused, all
end

-- Adds to what a lease has drawn on one group, in the window it was charged to, and to its amounts.
local function grow(lease, group, amounts, more, seen, now, reserved_at, lapses)
  local key, ends, length, fields, _, _, places = unpack(group)
  if length < 0 then
    local amount = amounts[places[1]]
    redis.call('ZREM', key, member_of(amount, lease))
    draw_held(key, seen, now, member_of(amount + more[1], lease), more[1], lapses)
  elseif counts(group, now, reserved_at) then
    for i = 1, #fields do
      if more[i] > 0 then
        redis.call('HINCRBY', key, length > 0 and bucket_of(reserved_at, length) or fields[i], more[i])
      end
    end
    if length == 0 and not seen.known then
      redis.call('PEXPIRE', key, ends - now + SLACK)
    end
  end
  for i = 1, #places do
    amounts[places[i]] = amounts[places[i]] + more[i]
  end
end

-- The record of a lease as it stands after an extension: its amounts are those that are reserved.
local function regrown(packed, totals)
  local record = cmsgpack.unpack(packed)
  for i = 1, #record, 2 do
    record[i + 1] = totals[record[i]] and digits(math.max(totals[record[i]], tonumber(record[i + 1]))) or record[i + 1]
  end
  return cmsgpack.pack(record)
end

-- keys: lease, open; {now, ttl, {unit = total}}. 0 for a lease that is not open, else as reserve.
local function extend(keys, args)
  local now, ttl, totals = unpack(cmsgpack.unpack(args[1]))
  local record = record_of(keys[1], now)
  if not record or record[1] ~= OPEN then
    return 0
  end
  local _, opened_until, _, reserved_at, amounts, plan, written = unpack(record)
  local groups, mores, seen = plan_of(plan), {}, {}
  for g = 1, #groups do
    local group = groups[g]
    mores[g], seen[g] = growth(group, amounts, totals), look(group[1], now, group[3], group[4])
  end
  local reply, all = weigh(groups, amounts, mores, seen, now, reserved_at)
  if all then
    local lapses = math.max(opened_until, now + ttl)
    if written ~= '' then
      redis.call('ZREM', keys[2], entry_of(keys[1], written, opened_until))
      written = regrown(written, totals)
      redis.call('ZADD', keys[2], lapses, entry_of(keys[1], written, lapses))
    end
    for g = 1, #groups do
      grow(keys[1], groups[g], amounts, mores[g], seen[g], now, reserved_at, lapses)
    end
    record[2], record[7] = lapses, written
    redis.call('SET', keys[1], cmsgpack.pack(record), 'PX', lapses - now + SLACK)
  end
  return reply
end

-- Counters and buckets that are no longer there stay away: their time has gone.
local function correct_fixed(key, fields, mores)
  local used, sums = redis.call('HMGET', key, unpack(fields)), {}
  for i = 1, #fields do
    if used[i] then
      sums[#sums + 1] = fields[i]
      sums[#sums + 1] = corrected(used[i], mores[i])
    end
  end
  if #sums > 0 then
    redis.call('HSET', key, unpack(sums))
  end
end

local function correct_sliding(key, bucket, more)
  local used = redis.call('HGET', key, bucket)
  if used then
    redis.call('HSET', key, bucket, corrected(used, more))
  end
end

-- What a lease holds ends with it, whatever it was.
local function give_back(key, lease, amount)
  if redis.call('ZREM', key, member_of(amount, lease)) == 1 then
    redis.call('ZINCRBY', key, amount, TOTAL)
  end
end

-- The fields of a group whose counters hold something else than was used, and how much more was used, for each. actual:
-- {unit = used}; nothing was used of any where it is false.
local function changes_of(group, amounts, actual)
  local _, _, _, fields, units, _, places = unpack(group)
  local changed, mores = {}, {}
  for i = 1, #units do
    local reserved = amounts[places[i]]
    local used = actual and (actual[units[i]] or reserved) or 0
    if used ~= reserved then
      changed[#changed + 1], mores[#mores + 1] = fields[i], used - reserved
    end
  end
  return changed, mores
end

local function correct(lease, group, reserved_at, amounts, actual)
  local key, _, length, _, _, _, places = unpack(group)
  if length < 0 then
    give_back(key, lease, amounts[places[1]])
    return
  end
  local fields, mores = changes_of(group, amounts, actual)
  if #fields == 0 then
    return
  elseif length > 0 then
    correct_sliding(key, bucket_of(reserved_at, length), mores[1])
  else
    correct_fixed(key, fields, mores)
  end
end

-- Whether this is the first time in the window that the threshold is found reached; from now on it is not.
local function first_time(key, field, threshold, now, length)
  local mark = '!' .. digits(threshold) .. ':' .. field
  local told_at = redis.call('HGET', key, mark)
  if told_at and (length == 0 or now < tonumber(told_at) + length) then
    return false
  end
  redis.call('HSET', key, mark, now)
  return true
end

-- Appends {key, field, limit, threshold, used} for each threshold that is told now.
local function thresholds(reached, group, now)
  local key, _, length, fields, _, limits, _, warn = unpack(group)
  local used = look(key, now, length, fields).used
  for i = 1, #fields do
    for _, threshold in ipairs(warn[i]) do
      if used[i] >= threshold and first_time(key, fields[i], threshold, now, length) then
        reached[#reached + 1] = {key, fields[i], limits[i], threshold, used[i]}
      end
    end
  end
end

-- {1, reached...}
local function close(lease, open, record, now, spent, by)
  local _, lapses, remaining, reserved_at, amounts, plan, written = unpack(record)
  if written ~= '' then
    redis.call('ZREM', open, entry_of(lease, written, lapses))
  end
  local reply, groups = {1}, plan_of(plan)
  for g = 1, #groups do
    correct(lease, groups[g], reserved_at, amounts, spent)
  end
  for g = 1, #groups do
    local group = groups[g]
    if spent and group[8] and group[3] >= 0 and counts(group, now, reserved_at) then
      thresholds(reply, group, now)
    end
  end
  redis.call('SET', lease, cmsgpack.pack({CLOSED, lapses, remaining, by, reply}), 'KEEPTTL')
  return reply
end

-- {1, reached...} when this call settled the lease (spent: {unit = actual}) or released it (spent: false), else {0}; and whether what
-- it closed is still to be written down. Whoever asks again, its reply lost, is told the same again.
local function end_lease(lease, open, now, spent, by)
  local record = record_of(lease, now)
  if record and record[1] == OPEN then
    return close(lease, open, record, now, spent, by), true
  end
  if record and record[1] == CLOSED and by ~= '' and record[4] == by then
    return record[5], false
  end
  if not record and not spent then
    redis.call('SET', lease, cmsgpack.pack({RELEASED_FIRST, now + OVERTAKEN}), 'PX', OVERTAKEN + SLACK)
  end
  return {0}, false
end

-- keys: ledger, open, leases; {now, {{spent or false, outcome, {name, value, ...}, by}, ...}}. A reply of end_lease for each lease; what it
-- closes is written down, unless its record is empty.
local function settle(keys, args)
  local now, closings = unpack(cmsgpack.unpack(args[1]))
  local replies = {}
  sweep(keys[1], keys[2], now)
  for i = 1, #closings do
    local spent, outcome, record, by = unpack(closings[i])
    local reply, is_news = end_lease(keys[i + 2], keys[2], now, spent, by)
    replies[i] = reply
    if is_news and #record > 0 then
      write_down(keys[1], now, outcome, record)
    end
  end
  return replies
end

-- keys: one per group; {now, {{length, fields, places}, ...}}. What each counter holds.
local function read(keys, args)
  local now, groups = unpack(cmsgpack.unpack(args[1]))
  local reply = {}
  for g = 1, #groups do
    local length, fields, places = unpack(groups[g])
    local used = look(keys[g], now, length, fields).used
    for i = 1, #places do
      reply[places[i]] = used[i]
    end
  end
  return reply
end

local function last_revision(revisions)
  return tonumber(redis.call('ZREVRANGE', revisions, 0, 0, 'WITHSCORES')[2] or 0)
end

-- keys: records, revisions, marks; {id, the revision that stands, the most records, a mark, the most marks}, record. The new revision,
-- 0 where another one stands, -1 where there is no room. A call that comes twice finds its own record and gives the same answer.
local function enrol(keys, args)
  local id, expected, most, mark, marks = unpack(cmsgpack.unpack(args[1]))
  local record = args[2]
  local stands = tonumber(redis.call('ZSCORE', keys[2], id) or 0)
  if redis.call('HGET', keys[1], id) == record then
    return stands
  elseif stands ~= expected then
    return 0
  elseif stands == 0 and redis.call('HLEN', keys[1]) >= most then
    return -1
  end
  local revision = 1 + last_revision(keys[2])
  redis.call('HSET', keys[1], id, record)
  redis.call('ZADD', keys[2], revision, id)
  redis.call('HSET', keys[3], digits(revision), mark)
  redis.call('HDEL', keys[3], digits(revision - marks))
  return revision
end

-- keys: records, revisions; {id}. {id, record, revision}, or {}.
local function listed(keys, args)
  local id = cmsgpack.unpack(args[1])[1]
  local record = redis.call('HGET', keys[1], id)
  return record and {id, record, tonumber(redis.call('ZSCORE', keys[2], id))} or {}
end

-- {id, record, revision, ...}
local function later(keys, revision, limit)
  local reply = {}
  local found = redis.call('ZRANGEBYSCORE', keys[2], '(' .. digits(revision), '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #found, 2 do
    reply[#reply + 1] = found[i]
    reply[#reply + 1] = redis.call('HGET', keys[1], found[i])
    reply[#reply + 1] = tonumber(found[i + 1])
  end
  return reply
end

-- keys: records, revisions; {revision, limit}. {id, record, revision, ...} of records with a later one.
local function since(keys, args)
  return later(keys, unpack(cmsgpack.unpack(args[1])))
end

local function drawn(marks, revision)
  return redis.call('HGET', marks, digits(revision)) or ''
end

-- keys: records, revisions, marks; {revision, mark, limit}. {lost, revision, mark, {id, record, revision, ...}}: the records with a later
-- one, the last of these revisions, and the newest of all with what was drawn for it, `7:3f…`, or '' where nothing was. lost is 1 where
-- the roster has no such revision, or not what was drawn for the newest then, for the server has lost its last writes: then they are the
-- first of all records.
local function changes(keys, args)
  local revision, mark, limit = unpack(cmsgpack.unpack(args[1]))
  local newest = last_revision(keys[2])
  local then_newest, was_drawn = mark:match('^(%d+):(.*)$')
  local lost = revision > newest or (was_drawn or mark) ~= drawn(keys[3], tonumber(then_newest) or revision)
  if lost then
    revision = 0
  end
  local found = later(keys, revision, limit)
  local last = found[#found] or revision
  local lot = drawn(keys[3], newest)
  return {lost and 1 or 0, last, lot ~= '' and digits(newest) .. ':' .. lot or '', found}
end

redis.register_function('headrace_VERSION_reserve', reserve)
redis.register_function('headrace_VERSION_enrol', enrol)
redis.register_function{function_name = 'headrace_VERSION_listed', callback = listed, flags = {'no-writes'}}
redis.register_function{function_name = 'headrace_VERSION_since', callback = since, flags = {'no-writes'}}
redis.register_function{function_name = 'headrace_VERSION_changes', callback = changes, flags = {'no-writes'}}
redis.register_function('headrace_VERSION_settle', settle)
redis.register_function('headrace_VERSION_extend', extend)
redis.register_function{function_name = 'headrace_VERSION_read', callback = read, flags = {'no-writes'}}
