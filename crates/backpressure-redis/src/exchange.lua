-- One exchange of a shared quota: see `QuotaStore` of tower-backpressure for what it does.
--
-- KEYS[1]  a hash: the quota of one tenant
-- ARGV     replica, book, sequence, base, spent, excess, wanted, least, then for each window: tokens, period (µs), burst, debt
-- answer   { claimed, µs until there are more, replicas, then what is left in each window }
--
-- at          when the usage was true (µs)
-- u:<period>  tokens used of the window with this period, as of `at`
-- r:<replica> book:sequence:claimed:excess:forgiven:seen (µs); forgiven is <period>=<tokens> of each window that has
--             forgiven some. A record of an earlier version has no excess and nothing forgiven
-- replicas    how many records there are; pruned: when they were counted
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local replica = 'r:' .. ARGV[1]
local book, sequence, base = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local spent, excess = tonumber(ARGV[5]), tonumber(ARGV[6])
local wanted, least = tonumber(ARGV[7]), tonumber(ARGV[8])

local windows, fields = {}, {'at', 'replicas', 'pruned', replica}
for i = 9, #ARGV, 4 do
  local window = {
    tokens = tonumber(ARGV[i]),
    period = tonumber(ARGV[i + 1]),
    burst = tonumber(ARGV[i + 2]),
    debt = tonumber(ARGV[i + 3]),
    field = 'u:' .. ARGV[i + 1],
    forgiven = 0,
  }
  windows[#windows + 1] = window
  fields[#fields + 1] = window.field
end
local state = redis.call('HMGET', KEYS[1], unpack(fields))

-- A clock that was set back gives no tokens, and the next ones at their usual rate.
local at = math.min(tonumber(state[1] or now), now)
for i, window in ipairs(windows) do
  local used = tonumber(state[4 + i] or 0) - (now - at) * window.tokens / window.period
  window.used = math.max(used, 0)
end

local replicas = tonumber(state[2] or 0)
local function answer(claimed, wait)
  local result = {claimed, math.ceil(wait), replicas}
  for _, window in ipairs(windows) do
    result[#result + 1] = math.max(0, math.floor(window.burst - window.used + 1e-6))
  end
  return result
end

local last, withdrawn = base, 0
if state[4] then
  local known_book, known_sequence, known_claimed = string.match(state[4], '^(%d+):(%d+):(%d+):')
  known_book, known_sequence = tonumber(known_book), tonumber(known_sequence)
  if known_book > book or (known_book == book and known_sequence >= sequence) then
    return answer(tonumber(known_claimed), 0)
  end
  local known_excess = 0
  if known_book == book then
    last = tonumber(known_claimed)
    known_excess = tonumber(string.match(state[4], '^%d+:%d+:%d+:(-?%d+):') or excess)
  end
  withdrawn = math.max(known_excess - excess, 0)
  for _, window in ipairs(windows) do
    local forgiven = string.match(state[4], string.format('[:,]%.0f=(%%d+)', window.period))
    window.forgiven = tonumber(forgiven or 0)
  end
end

-- What is spent is debited in any case; what is given back goes to the others. A settlement that is corrected gives
-- nothing back of what a window had forgiven of it.
local claimed = math.max(last, spent)
local rest = math.max(claimed - math.max(wanted, spent), 0)
claimed = claimed - rest
for _, window in ipairs(windows) do
  local corrected = math.min(window.forgiven, withdrawn)
  local change = claimed - last + corrected
  local before = window.used
  if change > 0 then
    window.used = math.max(before, math.min(before + change, window.burst + window.debt))
    corrected = corrected - math.ceil(change - (window.used - before) - 1e-6)
  else
    window.used = math.max(before + change, 0)
  end
  window.forgiven = math.min(window.forgiven - corrected, math.max(excess, 0))
end

local wait = 0
if wanted > claimed then
  local granted = wanted - claimed
  for _, window in ipairs(windows) do
    granted = math.min(granted, math.floor(window.burst - window.used + 1e-6))
  end
  granted = math.max(granted, 0)
  claimed = claimed + granted
  for _, window in ipairs(windows) do
    window.used = window.used + granted
    if claimed < wanted then
      local missing = math.min(math.max(least - granted, 1), window.burst) - (window.burst - window.used)
      wait = math.max(wait, missing * window.period / window.tokens)
    end
  end
end

-- The usage says all there is to say until the buckets are full; a minute more keeps the records of replicas.
local ttl = 0
local values, forgiven = {'at', string.format('%.0f', now)}, {}
for _, window in ipairs(windows) do
  values[#values + 1] = window.field
  values[#values + 1] = string.format('%.17g', window.used)
  ttl = math.max(ttl, window.used * window.period / window.tokens)
  if window.forgiven > 0 then
    forgiven[#forgiven + 1] = string.format('%.0f=%.0f', window.period, window.forgiven)
  end
end
values[#values + 1] = replica
values[#values + 1] = string.format('%.0f:%.0f:%.0f:%.0f:%s:%.0f', book, sequence, claimed, excess, table.concat(forgiven, ','), now)

-- Every ten seconds, records of replicas that were not seen for thirty are forgotten.
local pruned = tonumber(state[3] or 0)
if not state[4] then
  replicas = replicas + 1
end
if math.abs(now - pruned) > 10000000 then
  replicas = 1
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local seen = string.match(all[i], '^r:') and all[i] ~= replica and string.match(all[i + 1], ':(%d+)$')
    if seen and math.abs(now - tonumber(seen)) > 30000000 then
      redis.call('HDEL', KEYS[1], all[i])
    elseif seen then
      replicas = replicas + 1
    end
  end
  values[#values + 1] = 'pruned'
  values[#values + 1] = string.format('%.0f', now)
end
values[#values + 1] = 'replicas'
values[#values + 1] = replicas
redis.call('HSET', KEYS[1], unpack(values))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ttl / 1000) + 60000))
return answer(claimed, wait)
