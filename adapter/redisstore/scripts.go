package redisstore

import "github.com/redis/go-redis/v9"

// A key is a hash: s, the state (claimed, done, free); t, the newest token; u, until when its lease runs, in
// microseconds of the server's clock; h, the holder; d, the digest. Holders and digests are compared as text, since
// Lua's numbers are doubles; times and tokens stay below 2^53 until the year 2255.

// claim(lease µs, kept ms, holder, digest) answers {state, token, µs left of another's lease, digest}. A token is
// the time, and always above the one before it, so tokens grow also where the key had been forgotten.
var claim = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local v = redis.call('HMGET', KEYS[1], 's', 't', 'u', 'h', 'd')
local till = string.format('%.0f', now + ARGV[1])
if v[1] == 'done' then
	return {'done', v[2], '0', v[5]}
end
if v[1] == 'claimed' and tonumber(v[3]) > now then
	if v[4] ~= ARGV[3] or v[4] == '0' then
		return {'busy', v[2], string.format('%.0f', v[3] - now), v[5]}
	end
	redis.call('HSET', KEYS[1], 'u', till)
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	return {'claimed', v[2], '0', '0'}
end
local token = string.format('%.0f', math.max((tonumber(v[2]) or 0) + 1, now))
redis.call('HSET', KEYS[1], 's', 'claimed', 't', token, 'u', till, 'h', ARGV[3], 'd', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'claimed', token, '0', '0'}
`)

// renew(token, lease µs, kept ms)
var renew = redis.NewScript(`
local v = redis.call('HMGET', KEYS[1], 's', 't')
if v[2] ~= ARGV[1] or v[1] ~= 'claimed' then
	return 0
end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'u', string.format('%.0f', t[1] * 1000000 + t[2] + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`)

// confirm(token, retention ms). Repeated by the client after a lost reply it changes nothing.
var confirm = redis.NewScript(`
local v = redis.call('HMGET', KEYS[1], 's', 't')
if v[2] ~= ARGV[1] or v[1] == 'free' then
	return 0
end
if v[1] == 'claimed' then
	redis.call('HSET', KEYS[1], 's', 'done')
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
`)

// release(token) leaves the token behind for a minute, so that the next one is above it. Repeated by the client
// after a lost reply it changes nothing.
var release = redis.NewScript(`
local v = redis.call('HMGET', KEYS[1], 's', 't')
if v[2] ~= ARGV[1] or v[1] == 'done' then
	return 0
end
redis.call('HSET', KEYS[1], 's', 'free')
redis.call('PEXPIRE', KEYS[1], 60000)
return 1
`)
