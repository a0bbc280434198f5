-- Writes or deletes the record if it still has the expected version.
--
-- KEYS[1]  the record: a hash of version, bytes and writer
-- ARGV[1]  the expected version, or nothing where no record is expected
-- ARGV[2]  the identity of this write
-- ARGV[3]  the channel of the hint
-- ARGV[4]  how long the key is kept, in milliseconds; 0 where it has no end
-- ARGV[5]  the next content; absent for a deletion
--
-- Answers {1, version, nil} where the write took place, and otherwise {0, version, bytes} of the record that is there.

local found = redis.call('HMGET', KEYS[1], 'version', 'bytes', 'writer')
local version, bytes, writer = found[1], found[2], found[3]

-- A client that lost the connection before the answer sends the same write again.
if writer == ARGV[2] then
    return {1, version, false}
end
if (bytes and version or '') ~= ARGV[1] then
    return {0, bytes and version, bytes}
end

-- By the clock, so that a version is not used again after the key was lost either. Microseconds fit into the 53 bits of
-- a number until the year 2255.
local now = redis.call('TIME')
local next = math.max((tonumber(version) or 0) + 1, now[1] * 1000000 + now[2])
next = string.format('%.0f', next)

redis.call('HSET', KEYS[1], 'version', next, 'writer', ARGV[2])
if ARGV[5] then
    redis.call('HSET', KEYS[1], 'bytes', ARGV[5])
else
    redis.call('HDEL', KEYS[1], 'bytes')
end
if ARGV[4] == '0' then
    redis.call('PERSIST', KEYS[1])
else
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
end

-- The hint names no version where there is no record any more. A user without the permission to publish can write
-- nevertheless: readers then poll.
redis.pcall('PUBLISH', ARGV[3], ARGV[5] and next or '')
return {1, next, false}
