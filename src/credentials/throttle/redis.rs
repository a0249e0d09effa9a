//! Failures in Redis, shared by several instances.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::clock::Clock;
use crate::limit::{RedisLink, RedisTarget};
use crate::secret::Secret;

use super::{Count, MAX_WAIT, MEMORY, tag};

/// Counts a failure for each key, by the server's clock in milliseconds, or returns how long
/// to wait. A key holds the number of failures and the time of the next try.
const TRY: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait = 0
local all = {}
for number, key in ipairs(KEYS) do
    local found = redis.call('HMGET', key, 'n', 't')
    all[number] = tonumber(found[1] or '0')
    wait = math.max(wait, tonumber(found[2] or '0') - now)
end
if wait > 0 then
    return math.min(wait, tonumber(ARGV[1]))
end
for number, key in ipairs(KEYS) do
    local failures = all[number] + 1
    local doublings = failures - tonumber(ARGV[2 + number]) - 1
    local pause = 0
    if doublings >= 0 then
        pause = math.min(1000 * 2 ^ math.min(doublings, 30), tonumber(ARGV[1]))
    end
    redis.call('HSET', key, 'n', failures, 't', string.format('%.0f', now + pause))
    redis.call('PEXPIRE', key, ARGV[2])
end
return 0
";

/// Counts a failure less for each key, whose wait was over.
const TAKE_BACK: &str = r"
for _, key in ipairs(KEYS) do
    if tonumber(redis.call('HGET', key, 'n') or '0') > 0 then
        redis.call('HINCRBY', key, 'n', -1)
        redis.call('HSET', key, 't', '0')
    end
end
return 0
";

const FORGET: &str = r"
for _, key in ipairs(KEYS) do
    redis.call('DEL', key)
end
return 0
";

/// Failures in Redis.
pub(super) struct Shared {
    link: RedisLink,
    secret: Secret<Vec<u8>>,
    try_now: Script,
    take_back: Script,
    forget: Script,
}

impl Shared {
    pub(super) fn new(
        RedisTarget { client, secret }: RedisTarget,
        clock: Arc<dyn Clock>,
        deadline: Option<Duration>,
    ) -> Self {
        let link = RedisLink::new(client, clock, deadline);
        let [try_now, take_back, forget] = [TRY, TAKE_BACK, FORGET].map(Script::new);
        Self { link, secret, try_now, take_back, forget }
    }

    /// Returns the decision of Redis, or `None` if it has none.
    pub(super) async fn try_now(&self, counts: &[Count]) -> Option<Result<(), Duration>> {
        let mut invocation = self.try_now.prepare_invoke();
        invocation.arg(millis(MAX_WAIT)).arg(millis(MEMORY));
        for name in self.names(counts)? {
            invocation.key(name);
        }
        for count in counts {
            invocation.arg(count.free);
        }
        let wait: u64 = self.link.run(&invocation).await?;
        Some(if wait == 0 { Ok(()) } else { Err(Duration::from_millis(wait)) })
    }

    pub(super) async fn take_back(&self, counts: &[Count]) {
        self.run(&self.take_back, counts).await;
    }

    pub(super) async fn forget(&self, counts: &[Count]) {
        self.run(&self.forget, counts).await;
    }

    async fn run(&self, script: &Script, counts: &[Count]) {
        let mut invocation = script.prepare_invoke();
        for name in self.names(counts).unwrap_or_default() {
            invocation.key(name);
        }
        // While Redis does not answer, the failures stay, and end by themselves.
        let _: Option<i64> = self.link.run(&invocation).await;
    }

    /// Returns the names of counts, from which nobody without the secret can tell whose they
    /// are. Those of one try are in one slot of a cluster.
    fn names(&self, counts: &[Count]) -> Option<Vec<String>> {
        let key = tag(&[0; 32], &[&self.secret])?;
        let slot = hex(&tag(&key, &[&counts.first()?.key])?);
        let name =
            |count: &Count| Some(format!("login:{{{slot}}}:{}", hex(&tag(&key, &[&count.key])?)));
        counts.iter().map(name).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
