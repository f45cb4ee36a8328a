-- Decides a batch of rate-limit charges and writes the counters of those that pass, all or nothing.
--
-- KEYS     the counter of each charge; a key may stand several times.
-- ARGV[1]  empty, so that the server's TIME is the clock. Tests pass milliseconds since the epoch.
-- ARGV[i+1] charge i, big endian: flags 1 byte, hits 4, count of windows 1, then for each window grain 6, cells 2, limit 4, burst 4.
--          A refund instead: KEYS[1] is its nonce's, ARGV[2] is flags 1 (REFUND), when it was charged 6, for how long it is
--          honoured 6; then for each key flags 1 (PLAIN or none), hits 4, count of marks 1, then for each mark grain 6, cells 2, at 6, hits 6,
--          part 6, limit 4, taken 6. It returns the time, and whether it was honoured.
-- Returns  the time in milliseconds, whether a counter had seen a later time, and for each charge a string: which windows are
--          over 1 byte, what became of the key 1 byte, and the counter as the charge left it.
--
-- A counter's bytes are: width of a cell 1, then for each window grain 6, cells 2, newest 6, total 6, and the cells. A token
-- bucket has no cells: it is grain 6 (the span), cells 2 (zero), last 6, hits 6, part 6, limit 4, taken 6.
--
-- A PLAIN charge is one of fixed windows of one span. Its counter is a decimal number, and its key is that of one window alone, so that
-- INCRBY can charge it without a script; after the windows of such a charge stands the number of its cell 6, and for its counter is
-- returned what it holds 6.
--
-- Every number is an integer that a double holds exactly, below 2^53: milliseconds and cell numbers stay below 2^47, a cell
-- below 2^32, and a total of 1001 cells below 2^42. floor(a/b) is exact too: a/b differs from the integer above it by at least
-- 1/b, which is more than the rounding of a quotient of numbers that small. A bucket drains by limit*elapsed/span, whose product
-- would not fit: it is divided piece by piece (drop), and no piece reaches 2^53.

local GIVE_BACK, COUNT_DENIED, SHADOW, REFUND, PLAIN = 1, 2, 4, 8, 16 -- flags of a charge
local EXISTED, WRITTEN = 1, 2                   -- what became of a key
local MAX_WINDOWS = 8
local NARROW, WIDE = 2, 4
local MOST = 4294967295 -- what a plain counter counts to
local TAKEN = 281474976710656 -- what was taken from a bucket counts modulo 2^48

local byte, sub, rep, char = string.byte, string.sub, string.rep, string.char
local floor, min, max = math.floor, math.min, math.max
local pack, unpack = struct.pack, struct.unpack

local now, slack
if ARGV[1] == '' then
  local t = redis.call('TIME')
  now, slack = t[1] * 1000 + floor(t[2] / 1000), 0
else
  -- The time to live runs by the server's clock even when the decision does not: let keys outlive the test.
  now, slack = tonumber(ARGV[1]), 3600000
end

-- Buckets. A level is whole hits and a part, in grain-ths of a hit. Every call of the script makes its functions anew, and most calls
-- see no bucket: these are made when the first one is met.

local less, drop, within, ceil, empty, levelAt, take, pour

local function meetBuckets()
  if pour then return end

  -- a without b, zero at the lowest.
  function less(hits, part, byHits, byPart, grain)
    hits, part = hits - byHits, part - byPart
    if part < 0 then hits, part = hits - 1, part + grain end
    if hits < 0 then return 0, 0 end
    return hits, part
  end

  -- What is left of a level after so many milliseconds: limit*millis/grain hits have drained. Whole spans drain the limit each; of
  -- the rest the limit is taken in three pieces of 11 bits, so that piece*rest stays below 2^52.
  function drop(hits, part, grain, limit, millis)
    if millis <= 0 or limit == 0 then return hits, part end
    local spans, rest = floor(millis / grain), millis % grain
    if spans * limit > hits then return 0, 0 end
    local quotient, remainder = 0, 0
    for _, piece in ipairs({floor(limit / 4194304), floor(limit / 2048) % 2048, limit % 2048}) do
      local sum = remainder * 2048 + piece * rest
      quotient, remainder = quotient * 2048 + floor(sum / grain), sum % grain
    end
    return less(hits, part, spans * limit + quotient, remainder, grain)
  end

  function within(hits, part, capacity)
    if hits >= capacity then return capacity, 0 end
    return hits, part
  end

  function ceil(hits, part)
    if part > 0 then return hits + 1 end
    return hits
  end

  -- Whether a bucket has drained by the limit that it was charged under, and may be forgotten.
  function empty(r) return ceil(drop(r.hits, r.part, r.grain, r.limit, now - r.last)) == 0 end

  -- The level now, as if the window's limit and burst had been in force since the latest charge.
  function levelAt(r, win)
    if win.limit < r.limit and empty(r) then return 0, 0 end
    local hits, part = within(r.hits, r.part, win.capacity)
    return drop(hits, part, r.grain, win.limit, now - r.last)
  end

  -- Notes that something left a bucket other than by draining.
  function take(r, hits, part) r.taken = (r.taken + ceil(hits, part)) % TAKEN end

  -- Adds hits to the level, or gives them back.
  function pour(r, win, ch)
    local hits, part = within(r.hits, r.part, win.capacity)
    take(r, less(r.hits, r.part, hits, part, r.grain)) -- what no longer fits
    hits, part = levelAt(r, win)
    if ch.giveBack then
      take(r, min(ch.hits, ceil(hits, part)), 0)
      hits, part = less(hits, part, ch.hits, 0, r.grain)
    else
      hits = hits + ch.hits
    end
    r.hits, r.part = within(hits, part, win.capacity)
    r.last, r.limit = max(r.last, now), win.limit
  end
end

-- Reading a counter. Strings cannot change, so reading the same bytes again undoes whatever was done to the first reading.

local function parse(raw)
  local c = {width = NARROW, order = {}, rings = {}}
  if not raw then return c end
  local w = byte(raw, 1)
  if w ~= NARROW and w ~= WIDE then error('sallyport: unknown layout of a counter') end
  c.width = w
  local pos = 2
  while pos <= #raw do
    local grain, n, newest, total, at = unpack('>I6I2I6I6', raw, pos)
    local shape = sub(raw, pos, pos + 7)
    if grain < 1 then error('sallyport: damaged counter') end
    if n == 0 then
      meetBuckets()
      local b = {grain = grain, n = 0, last = newest, hits = total}
      b.part, b.limit, b.taken, at = unpack('>I6I4I6', raw, at)
      if b.part >= grain then error('sallyport: damaged counter') end
      c.rings[shape] = b
    else
      local cells = sub(raw, at, at + n * w - 1)
      if #cells ~= n * w then error('sallyport: damaged counter') end
      c.rings[shape] = {grain = grain, n = n, newest = newest, total = total, cells = cells}
    end
    c.order[#c.order + 1] = shape
    pos = at + n * w
  end
  return c
end

local function serialise(c, shapes)
  if c.plain then return pack('>I6', c.held) end
  local parts = {char(c.width)}
  for _, shape in ipairs(shapes) do
    local r = c.rings[shape]
    if r then
      parts[#parts + 1] = shape
      if r.n == 0 then
        parts[#parts + 1] = pack('>I6I6I6I4I6', r.last, r.hits, r.part, r.limit, r.taken)
      else
        parts[#parts + 1] = pack('>I6I6', r.newest, r.total)
        parts[#parts + 1] = r.cells
      end
    end
  end
  return table.concat(parts)
end

-- Rings of cells. Cell number i stands at i mod n.

local function get(r, w, i)
  local p = (i % r.n) * w + 1
  if w == NARROW then
    local a, b = byte(r.cells, p, p + 1)
    return a * 256 + b
  end
  local a, b, c, d = byte(r.cells, p, p + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function blank(cells, w, from, count)
  return sub(cells, 1, from * w) .. rep('\0', count * w) .. sub(cells, (from + count) * w + 1)
end

local function set(r, w, i, v)
  local p = (i % r.n) * w
  r.cells = sub(r.cells, 1, p) .. pack(w == NARROW and '>I2' or '>I4', v) .. sub(r.cells, p + w + 1)
end

-- Moves a ring to the present. The newest cell seen stays "now" when the clock steps back; says whether it has.
local function advance(r, w)
  local cell = floor(now / r.grain)
  if cell <= r.newest then return cell < r.newest end
  local fresh = cell - r.newest
  if fresh >= r.n then
    r.cells, r.total = rep('\0', r.n * w), 0
  else
    -- The cell that leaves stands where the new one will.
    for i = r.newest + 1, cell do r.total = r.total - get(r, w, i) end
    local from = (r.newest + 1) % r.n
    local first = min(fresh, r.n - from)
    r.cells = blank(r.cells, w, from, first)
    if fresh > first then r.cells = blank(r.cells, w, 0, fresh - first) end
  end
  r.newest = cell
  return false
end

local function charge(r, w, hits, cap)
  local old = get(r, w, r.newest)
  local v = max(old, min(old + hits, cap))
  set(r, w, r.newest, v)
  r.total = r.total + v - old
end

-- Takes hits out of one cell, to zero at the lowest; says how many there were.
local function pick(r, w, i, hits)
  local old = get(r, w, i)
  local taken = min(old, hits)
  if taken > 0 then set(r, w, i, old - taken) end
  r.total = r.total - taken
  return taken
end

-- Takes hits out of the newest cells first.
local function drain(r, w, hits)
  local i = r.newest
  while hits > 0 and r.total > 0 and i >= 0 and i > r.newest - r.n do
    hits, i = hits - pick(r, w, i, hits), i - 1
  end
end

-- Plain counters.

local function readPlain(raw)
  if not raw then return {plain = true, held = 0} end
  if not string.find(raw, '^%d+$') then error('sallyport: damaged counter') end
  return {plain = true, held = min(tonumber(raw), MOST)}
end

-- How long a plain counter is kept: until its window has ended, and a little, since the clocks of those who charge it are not exact.
local function plainLife(grain, cell)
  return max((cell + 1) * grain - now, 0) + max(1000, min(grain, 60000))
end

local function spendPlain(c, ch)
  if ch.hits == 0 or (ch.giveBack and c.held == 0) then return false end
  if ch.giveBack then c.held = max(c.held - ch.hits, 0) else c.held = min(c.held + ch.hits, MOST) end
  return true
end

-- Counters.

-- Whether a window has yet to be forgotten.
local function lives(r)
  if r.n == 0 then return not empty(r) end
  return floor(now / r.grain) - r.newest < r.n
end

-- How many milliseconds from now a window may still matter, however the clock steps meanwhile. For a bucket it need not be exact,
-- only long enough; MaxSpan at most.
local function lifetime(r)
  if r.n > 0 then return r.grain * r.n end
  if r.hits == 0 and r.part == 0 then return 1 end
  return min((r.hits + 1) * r.grain / r.limit + 1, 2147483647500)
end

-- Whether anything in the counter still counts.
local function holds(c)
  for _, r in pairs(c.rings) do
    if r.n == 0 then
      if not empty(r) then return true end
    else
      local copy = {grain = r.grain, n = r.n, newest = r.newest, total = r.total, cells = r.cells}
      advance(copy, c.width)
      if copy.total > 0 then return true end
    end
  end
  return false
end

-- Lays a counter out for a charge: a ring for each of its shapes in its order, then those of other shapes that still live.
local function prepare(c, ch)
  if ch.cap > 65535 and c.width == NARROW then
    for _, r in pairs(c.rings) do
      if r.n > 0 then r.cells = string.gsub(r.cells, '..', '\0\0%0') end
    end
    c.width = WIDE
  end
  local order, rings = {}, {}
  for i, shape in ipairs(ch.shapes) do
    local r = c.rings[shape]
    if not r then
      local grain, n = unpack('>I6I2', shape)
      if n == 0 then
        -- A mark of an earlier bucket finds here that everything is gone.
        r = {grain = grain, n = 0, last = now, hits = 0, part = 0, limit = 0, taken = now % 65536 * 4294967296}
      else
        r = {grain = grain, n = n, newest = floor(now / grain), total = 0, cells = rep('\0', n * c.width)}
      end
    end
    order[i], rings[shape] = shape, r
  end
  for _, shape in ipairs(c.order) do
    local r = c.rings[shape]
    if not rings[shape] and #order < MAX_WINDOWS and lives(r) then
      order[#order + 1], rings[shape] = shape, r
    end
  end
  c.order, c.rings = order, rings
end

-- Charges.

local function readCharge(s)
  local flags, hits, count, pos = unpack('>I1I4I1', s)
  local ch = {hits = hits, cap = 65535, windows = {}, shapes = {}}
  local seen = {}
  ch.giveBack = flags % 2 == GIVE_BACK
  ch.countDenied = flags % 4 >= COUNT_DENIED
  ch.shadow = floor(flags / SHADOW) % 2 == 1
  ch.plain = flags >= PLAIN
  for i = 1, count do
    local shape, limit, burst, at = unpack('>c8I4I4', s, pos)
    -- Only a bucket has no cells, and only a bucket has a burst. A limit of zero refuses everything there too.
    local capacity = limit
    if sub(shape, 7) == '\0\0' then
      meetBuckets()
      if limit > 0 then capacity = burst end
    end
    ch.windows[i] = {limit = limit, capacity = capacity, shape = shape}
    if not seen[shape] then
      seen[shape] = true
      ch.shapes[#ch.shapes + 1] = shape
    end
    if limit > 65535 then ch.cap = 4294967295 end
    pos = at
  end
  if ch.plain then ch.grain, ch.cell = unpack('>I6', ch.shapes[1]), unpack('>I6', s, pos) end
  return ch
end

local function over(limit, sum, ch)
  if ch.giveBack then return false end
  if limit == 0 then return true end
  if ch.hits == 0 then return sum > limit end
  return ch.hits > limit or sum > limit - ch.hits
end

local stepped = 0

-- Which windows of a counter have no room for a charge, as a sum of powers of two.
local function judge(c, ch)
  local mask, bit = 0, 1
  for _, win in ipairs(ch.windows) do
    local r, sum = not c.plain and c.rings[win.shape], 0
    if c.plain then
      sum = c.held
    elseif r then
      if r.n == 0 then
        if now < r.last then stepped = 1 end
        sum = ceil(levelAt(r, win))
      else
        if advance(r, c.width) then stepped = 1 end
        sum = r.total
      end
    end
    if over(win.capacity, sum, ch) then mask = mask + bit end
    bit = bit * 2
  end
  return mask
end

-- Writes a charge into its counter; says whether that changed anything.
local function spend(c, ch)
  if c.plain then return spendPlain(c, ch) end
  if ch.hits == 0 or (ch.giveBack and not holds(c)) then return false end
  prepare(c, ch)
  for i, shape in ipairs(ch.shapes) do
    local r = c.rings[shape]
    if r.n == 0 then
      pour(r, ch.windows[i], ch) -- a charge has no two buckets of one shape, so its shapes stand in its windows' order
    else
      advance(r, c.width)
      if ch.giveBack then drain(r, c.width, ch.hits) else charge(r, c.width, ch.hits, ch.cap) end
    end
  end
  return true
end

-- Refunds.

if floor(byte(ARGV[2], 1) / REFUND) % 2 == 1 then
  -- Takes hits back from where a mark says that they went; a cell that has left gives nothing, and of a bucket what is certain to be
  -- left of the charge.
  local function takeBack(r, w, m, hits)
    if r.n > 0 then
      if m.at <= r.newest and m.at > r.newest - r.n and m.at > floor(now / r.grain) - r.n then pick(r, w, m.at, hits) end
      return
    end
    local t = max(now, r.last)
    if m.limit ~= r.limit or m.at > t then return end
    local back, part = drop(m.hits, m.part, r.grain, m.limit, t - m.at)
    back, part = less(back, part, (r.taken - m.taken) % TAKEN, 0, r.grain)
    back, part = within(back, part, hits)
    local left, leftPart = drop(r.hits, r.part, r.grain, m.limit, t - r.last)
    take(r, back, part)
    r.hits, r.part = less(left, leftPart, back, part, r.grain)
    r.last = t
  end

  -- Takes back what one charge wrote.
  local function refund(key, s)
    local raw = redis.call('GET', key)
    if not raw then return end
    local flags, hits, count, pos = unpack('>I1I4I1', s)
    if flags >= PLAIN then
      local grain, _, cell = unpack('>I6I2I6', s, pos)
      if cell >= floor(now / grain) then
        redis.call('SET', key, string.format('%.0f', max(readPlain(raw).held - hits, 0)), 'KEEPTTL')
      end
      return
    end
    local c = parse(raw)
    for _ = 1, count do
      local m, shape = {}, nil
      shape, m.at, m.hits, m.part, m.limit, m.taken, pos = unpack('>c8I6I6I6I4I6', s, pos)
      local r = c.rings[shape]
      if r then takeBack(r, c.width, m, hits) end
    end
    redis.call('SET', key, serialise(c, c.order), 'KEEPTTL')
  end

  local _, at, honoured = unpack('>I1I6I6', ARGV[2])
  -- The nonce outlives the receipt, by the clock of the server.
  if now - at > honoured or not redis.call('SET', KEYS[1], '', 'NX', 'PX', honoured * 2 + slack) then return {now, 0} end
  for i = 2, #KEYS do refund(KEYS[i], ARGV[i + 1]) end
  return {now, 1}
end

-- The batch.

local raw, charges, plain = {}, {}, {}
for i, key in ipairs(KEYS) do
  if raw[key] == nil then raw[key] = redis.call('GET', key) end
  charges[i] = readCharge(ARGV[i + 1])
  if charges[i].plain then plain[key] = charges[i] end
end

local function read()
  local counters = {}
  for key, bytes in pairs(raw) do
    if plain[key] then counters[key] = readPlain(bytes) else counters[key] = parse(bytes) end
  end
  return counters
end

local counters, dirty, reports = read(), {}, {}
local denied, toUndo = false, false
for i, key in ipairs(KEYS) do
  local ch, c = charges[i], counters[key]
  ch.over = judge(c, ch)
  if ch.countDenied or ch.over == 0 then
    ch.written = spend(c, ch)
    if ch.written then
      dirty[key] = true
      toUndo = toUndo or not ch.countDenied
    end
  end
  denied = denied or (ch.over > 0 and not ch.shadow)
  reports[i] = serialise(c, ch.shapes)
end

if denied and toUndo then
  -- Some of what was spent must not be: begin again, and spend only what counts denials.
  counters, dirty = read(), {}
  for i, key in ipairs(KEYS) do
    local ch, c = charges[i], counters[key]
    judge(c, ch)
    ch.written = ch.countDenied and spend(c, ch)
    if ch.written then dirty[key] = true end
    reports[i] = serialise(c, ch.shapes)
  end
end

-- Plain counters are kept as long as their window, whoever wrote them: one without a time to live was made by an INCRBY that took it for
-- granted, after the server had lost it.
for key, ch in pairs(plain) do
  local ttl = string.format('%.0f', plainLife(ch.grain, ch.cell) + slack)
  if dirty[key] then
    redis.call('SET', key, string.format('%.0f', counters[key].held), 'PX', ttl)
    dirty[key] = nil
  elseif raw[key] and redis.call('PTTL', key) == -1 then
    redis.call('PEXPIRE', key, ttl)
    raw[key] = false
  end
end

for key in pairs(dirty) do
  local c, ttl = counters[key], 0
  -- So long after the last write no cell can hold a hit of the window any more, however the clock has stepped meanwhile.
  for _, r in pairs(c.rings) do ttl = max(ttl, lifetime(r)) end
  redis.call('SET', key, serialise(c, c.order), 'PX', string.format('%.0f', ttl + slack))
end

local reply = {now, stepped}
for i, key in ipairs(KEYS) do
  local ch = charges[i]
  local fate = (raw[key] and EXISTED or 0) + (ch.written and WRITTEN or 0)
  reply[i + 2] = char(ch.over, fate) .. reports[i]
end
return reply
