"""What the Redis store keeps, and the scripts that write it; Redis runs a script alone and to its end.

    gateway:schema                the version of all this
    gateway:session:ID            hash: caller, called, created_at, touched_at, status, events, and
                                  index, the key of the set below
    gateway:events:ID             list of events in JSON; the n-th has the sequence n
    gateway:touched               sorted set of all session ids by touched_at
    gateway:caller:N:WHO:NUMBER   sorted set of this identity's open session ids by touched_at; none for anonymous

Times travel as text: a Lua number put back into text would lose its last digits.
"""

from __future__ import annotations

VERSION = 1
SCHEMA = "gateway:schema"
SESSION = "gateway:session:"
EVENTS = "gateway:events:"
TOUCHED = "gateway:touched"
CALLER = "gateway:caller:"

# Answers 0 if the id is taken.
CREATE = """
local session, touched, index = KEYS[1], KEYS[2], KEYS[3]
local id, caller, called, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', session) == 1 then return 0 end
redis.call('HSET', session, 'caller', caller, 'called', called, 'index', index,
           'created_at', now, 'touched_at', now, 'status', 'open', 'events', 0)
redis.call('ZADD', touched, now, id)
if caller ~= '' then redis.call('ZADD', index, now, id) end
return 1
"""

# Answers how many events were there before, or UNKNOWN. A batch that would leave a gap is not written.
UNKNOWN = -1
APPEND = """
local session, events, touched = KEYS[1], KEYS[2], KEYS[3]
local id, now, first, completing = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local before_bodies = 4
if redis.call('EXISTS', session) == 0 then return -1 end

local stored = tonumber(redis.call('HGET', session, 'events'))
if first > stored + 1 then return stored end
local count = stored
for place = before_bodies + 1 + (stored + 1 - first), #ARGV do
    redis.call('RPUSH', events, ARGV[place])
    count = count + 1
end
redis.call('HSET', session, 'touched_at', now, 'events', count)
redis.call('ZADD', touched, now, id)

local index = redis.call('HGET', session, 'index')
if completing > stored then
    redis.call('HSET', session, 'status', 'completed')
    redis.call('ZREM', index, id)
else
    redis.call('ZADD', index, 'XX', now, id)
end
return stored
"""

# Answers how many sessions it deleted, at the most as many as were asked for.
PURGE = """
local touched = KEYS[1]
local before, most, session_prefix, events_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ids = redis.call('ZRANGEBYSCORE', touched, '-inf', '(' .. before, 'LIMIT', 0, most)
for _, id in ipairs(ids) do
    redis.call('ZREM', redis.call('HGET', session_prefix .. id, 'index'), id)
    redis.call('DEL', session_prefix .. id, events_prefix .. id)
    redis.call('ZREM', touched, id)
end
return #ids
"""
