-- Reads the record. As a script, since a client of a cluster may send a plain read to a replica, which may be behind.
--
-- KEYS[1]  the record
--
-- Answers {version, bytes}.

return redis.call('HMGET', KEYS[1], 'version', 'bytes')
