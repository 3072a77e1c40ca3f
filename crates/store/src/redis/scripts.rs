//! The atomic operations of the Redis store: Lua scripts (Redis, "Scripting with Lua"), and the
//! form of their answers.
//!
//! The first key of each is the hash that holds format, current key and revision. A record is the
//! concatenation of its version, the id of its key and the sealed octets.

use redis::{FromRedisValue, Script};

/// Answers of the scripts.
pub(super) const OTHER_KEY: i64 = 0;
pub(super) const NO: i64 = 1;
pub(super) const YES: i64 = 2;

/// The scripts, each with its arguments.
pub(super) struct Scripts {
    pub(super) keys: Script,
    pub(super) found: Script,
    pub(super) promote: Script,
    pub(super) retire: Script,
    pub(super) get: Script,
    pub(super) list: Script,
    pub(super) change: Script,
    pub(super) remove: Script,
    pub(super) take_lease: Script,
    pub(super) release_lease: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        // Every script that works with records first checks whether the caller knows the current
        // key.
        let guarded = |work: &str| {
            Script::new(&format!("if redis.call('HGET', KEYS[1], 'current') ~= ARGV[1] then return {{0}} end\n{work}"))
        };
        Self {
            // At once: between two reads another replica could retire the key that the first one gave.
            keys: Script::new(
                "local answer = redis.call('HGETALL', KEYS[2])
                 table.insert(answer, 1, redis.call('HGET', KEYS[1], 'current') or '')
                 table.insert(answer, 1, redis.call('HGET', KEYS[1], 'format') or '')
                 table.insert(answer, 1, 2)
                 return answer",
            ),
            found: Script::new(
                "if redis.call('HEXISTS', KEYS[1], 'current') == 1 then return {1} end
                 redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
                 redis.call('HSET', KEYS[1], 'format', ARGV[3], 'revision', ARGV[4], 'current', ARGV[1])
                 return {2}",
            ),
            promote: guarded(
                "redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
                 redis.call('HSET', KEYS[1], 'current', ARGV[2])
                 return {2}",
            ),
            retire: guarded(
                "for i = 3, #KEYS do
                   for _, record in ipairs(redis.call('HVALS', KEYS[i])) do
                     if string.sub(record, 9, 16) ~= ARGV[1] then return {1} end
                   end
                 end
                 for _, id in ipairs(redis.call('HKEYS', KEYS[2])) do
                   if id ~= ARGV[1] then redis.call('HDEL', KEYS[2], id) end
                 end
                 return {2}",
            ),
            get: guarded(
                "local record = redis.call('HGET', KEYS[2], ARGV[2])
                 if record then return {2, record} end
                 return {1}",
            ),
            list: guarded(
                "local answer = redis.call('HGETALL', KEYS[2])
                 table.insert(answer, 1, 2)
                 return answer",
            ),
            // Key number n + 1 has the record of change n: its name, its version, its new content
            // (empty: none).
            change: guarded(
                "for n = 1, #KEYS - 1 do
                   local present = redis.call('HGET', KEYS[n + 1], ARGV[3 * n])
                   if n == 1 and present and string.sub(present, 1, 16) == string.sub(ARGV[5], 1, 16) then return {2} end
                   if (present and string.sub(present, 1, 8) or '') ~= ARGV[3 * n + 1] then return {1} end
                 end
                 for n = 1, #KEYS - 1 do
                   if ARGV[3 * n + 2] == '' then
                     redis.call('HDEL', KEYS[n + 1], ARGV[3 * n])
                   else
                     redis.call('HSET', KEYS[n + 1], ARGV[3 * n], ARGV[3 * n + 2])
                   end
                 end
                 if ARGV[2] == '1' then redis.call('HINCRBY', KEYS[1], 'revision', 1) end
                 return {2}",
            ),
            remove: guarded(
                "if redis.call('HDEL', KEYS[2], ARGV[2]) == 0 then return {1} end
                 redis.call('HINCRBY', KEYS[1], 'revision', 1)
                 return {2}",
            ),
            take_lease: Script::new(
                "local holder = redis.call('GET', KEYS[1])
                 if holder and holder ~= ARGV[1] then return {1} end
                 redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
                 return {2}",
            ),
            release_lease: Script::new(
                "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
                 return {2}",
            ),
        }
    }
}

/// A result code, and the values that came with it.
pub(super) struct Answer(pub(super) i64, pub(super) Vec<Vec<u8>>);

impl FromRedisValue for Answer {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        let values: Vec<redis::Value> = redis::from_redis_value(value)?;
        let mut values = values.into_iter();
        let code = redis::from_redis_value(values.next().unwrap_or(redis::Value::Nil))?;
        Ok(Self(code, values.map(redis::from_redis_value).collect::<Result<_, _>>()?))
    }
}
