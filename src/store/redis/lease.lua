-- Takes, extends or gives up the lease.
--
-- KEYS[1]  the lease: its holder, until it expires
-- ARGV[1]  the holder that asks
-- ARGV[2]  how long the lease is to last, in milliseconds; 0 gives it up
--
-- Answers 0 where the holder has the lease or has given it up, and otherwise the milliseconds that another one has it.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    if ARGV[2] == '0' then
        return 0
    end
    local left = redis.call('PTTL', KEYS[1])
    -- A lease without an end was not written by this script.
    if left >= 0 then
        return math.max(left, 1)
    end
end
if ARGV[2] == '0' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 0
