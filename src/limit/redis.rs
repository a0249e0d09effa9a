//! Buckets in Redis, shared by several instances.

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Script};

use crate::clock::Clock;

use super::bucket::{Bucket, Refusal};
use super::link::RedisLink;

/// GCRA in microseconds of the server's clock, over all buckets or none. Its keys belong to
/// one client or one email, and so to one slot of a cluster. A full bucket expires by
/// itself.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local nexts = {}
for number, key in ipairs(KEYS) do
    local interval, burst = tonumber(ARGV[3 * number - 2]), tonumber(ARGV[3 * number - 1])
    local stored = tonumber(redis.call('GET', key) or '0')
    -- Of another quota, or by a clock that was ahead, it may be later than can be.
    local arrival = math.max(math.min(stored, now + interval * burst), now)
    nexts[number] = arrival + interval
    local early = nexts[number] - interval * burst - now
    if early > 0 then
        return {number, early}
    end
end
for number, key in ipairs(KEYS) do
    if ARGV[3 * number] == '1' then
        local life = math.ceil((nexts[number] - now) / 1000)
        redis.call('SET', key, string.format('%.0f', nexts[number]), 'PX', life)
    end
end
return {0, 0}
";

/// The decision of Redis.
type Decision = Result<(), Refusal>;

/// Buckets in Redis.
#[derive(Debug)]
pub(super) struct Shared {
    name: &'static str,
    script: Script,
    link: RedisLink,
}

impl Shared {
    pub(super) fn new(
        name: &'static str,
        client: Client,
        clock: Arc<dyn Clock>,
        deadline: Option<Duration>,
    ) -> Self {
        let link = RedisLink::new(client, clock, deadline);
        Self { name, script: Script::new(SCRIPT), link }
    }

    /// Returns the decision of Redis, or `None` if it has none.
    pub(super) async fn check(&self, buckets: &[Bucket]) -> Option<Decision> {
        let mut invocation = self.script.prepare_invoke();
        for bucket in buckets {
            let interval = (bucket.quota.interval() / 1000).max(1);
            invocation.key(format!("{}:{}", self.name, bucket.name()));
            invocation.arg(interval).arg(bucket.quota.burst().get()).arg(u8::from(bucket.takes));
        }
        let (number, early) = self.link.run(&invocation).await?;
        decision(buckets, number, early)
    }
}

/// Parses the script's answer: the number of the empty bucket, counted from one, or 0 if
/// every bucket allowed the request; and the microseconds to wait.
fn decision(buckets: &[Bucket], number: usize, early: u64) -> Option<Decision> {
    let Some(at) = number.checked_sub(1) else {
        return Some(Ok(()));
    };
    Some(Err((*buckets.get(at)?, Duration::from_micros(early))))
}
