//! Counters in Redis, shared by several instances.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use redis::Script;
use sha2::Sha256;

use crate::clock::Clock;
use crate::limit::{RedisLink, RedisTarget};
use crate::secret::Secret;

use super::{Counter, LONGEST_WAIT, Rule};

/// Charges, refunds or resets counters, all or none. A key holds the number of attempts (`n`)
/// and the time of the next one (`t`), in milliseconds of the server's clock, and expires
/// with its counter. The arguments are the operation, and of each key: how many are free,
/// its life, and its rule. A time that no wait can reach, or a key that
/// outlives its counter, comes from a clock that was ahead, and is not believed.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local operation, longest = ARGV[1], tonumber(ARGV[2])
local all, wait = {}, 0
for number, key in ipairs(KEYS) do
    local at = 3 * number
    local free, life, rule = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
    local grows, renews = rule == 'growing', rule ~= 'window'
    local found = redis.call('HMGET', key, 'n', 't')
    local count, next = tonumber(found[1] or '0'), tonumber(found[2] or '0')
    local left = redis.call('PTTL', key)
    if left > life then
        redis.call('PEXPIRE', key, life)
        left = life
    end
    -- The first one counts what the others count, so it bounds them.
    if number > 1 and count > all[1].count then
        count, next = all[1].count, 0
    end
    all[number] = {
        count = count, free = free, life = life, grows = grows, renews = renews, left = left
    }
    if grows then
        if next - now <= longest then wait = math.max(wait, next - now) end
    elseif count >= free then
        wait = math.max(wait, math.min(left, life), 1)
    end
end
if operation == 'charge' and wait > 0 then
    return wait
end
for number, key in ipairs(KEYS) do
    local counter = all[number]
    if operation == 'reset' then
        redis.call('DEL', key)
    elseif operation == 'refund' then
        if counter.count > 0 then
            redis.call('HSET', key, 'n', counter.count - 1, 't', '0')
        end
    else
        local count, pause = counter.count + 1, 0
        local doublings = count - counter.free - 1
        if counter.grows and doublings >= 0 then
            pause = math.min(1000 * 2 ^ math.min(doublings, 30), longest)
        end
        redis.call('HSET', key, 'n', count, 't', string.format('%.0f', now + pause))
        if counter.renews or counter.left < 0 then
            redis.call('PEXPIRE', key, counter.life)
        end
    end
end
return 0
";

/// Counters in Redis.
pub(super) struct Shared {
    link: RedisLink,
    secret: Secret<Vec<u8>>,
    script: Script,
}

impl Shared {
    pub(super) fn new(
        RedisTarget { client, secret }: RedisTarget,
        clock: Arc<dyn Clock>,
        deadline: Option<Duration>,
    ) -> Self {
        let link = RedisLink::new(client, clock, deadline);
        Self { link, secret, script: Script::new(SCRIPT) }
    }

    /// Returns the decision of Redis, or `None` if it has none.
    pub(super) async fn charge(&self, counters: &[Counter]) -> Option<Result<(), Duration>> {
        let wait = self.run("charge", counters).await?;
        Some(if wait == 0 { Ok(()) } else { Err(Duration::from_millis(wait)) })
    }

    /// Refunds a charge. While Redis does not answer, it stays until its counter ends.
    pub(super) async fn refund(&self, counters: &[Counter]) {
        let _ = self.run("refund", counters).await;
    }

    pub(super) async fn reset(&self, counters: &[Counter]) {
        let _ = self.run("reset", counters).await;
    }

    async fn run(&self, operation: &str, counters: &[Counter]) -> Option<u64> {
        let mut invocation = self.script.prepare_invoke();
        invocation.arg(operation).arg(millis(LONGEST_WAIT));
        for name in self.names(counters)? {
            invocation.key(name);
        }
        for counter in counters {
            let (free, rule) = match counter.rule {
                Rule::Growing(free) => (free, "growing"),
                Rule::Window(limit, _) => (limit, "window"),
                Rule::Sliding(limit, _) => (limit, "sliding"),
            };
            invocation.arg(free).arg(millis(counter.rule.life())).arg(rule);
        }
        self.link.run(&invocation).await
    }

    /// Returns the names of counters, which reveal nothing to a reader without the secret.
    /// The names of one call are in one slot of a cluster.
    fn names(&self, counters: &[Counter]) -> Option<Vec<String>> {
        let slot = self.name(counters.first()?)?;
        let name = |counter| Some(format!("signup:count:{{{slot}}}:{}", self.name(counter)?));
        counters.iter().map(name).collect()
    }

    fn name(&self, counter: &Counter) -> Option<String> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?.chain_update(counter.key);
        let mut name = String::with_capacity(64);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(name, "{byte:02x}");
        }
        Some(name)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
