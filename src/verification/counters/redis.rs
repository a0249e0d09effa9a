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

use super::Key;

/// Counts one more up to a limit, in a key that expires once after its first. Returns a
/// negative number, or the milliseconds until it expires.
const TAKE: &str = r"
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count >= tonumber(ARGV[1]) then
    return math.max(redis.call('PTTL', KEYS[1]), 0)
end
redis.call('INCR', KEYS[1])
if redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return -1
";

/// Counts one less.
const GIVE_BACK: &str = r"
if tonumber(redis.call('GET', KEYS[1]) or '0') > 0 then
    redis.call('DECR', KEYS[1])
end
return 0
";

/// Counters in Redis.
pub(super) struct Shared {
    link: RedisLink,
    secret: Secret<Vec<u8>>,
    take: Script,
    give_back: Script,
}

impl Shared {
    pub(super) fn new(
        RedisTarget { client, secret }: RedisTarget,
        clock: Arc<dyn Clock>,
        deadline: Option<Duration>,
    ) -> Self {
        let link = RedisLink::new(client, clock, deadline);
        Self { link, secret, take: Script::new(TAKE), give_back: Script::new(GIVE_BACK) }
    }

    /// Returns the decision of Redis, or `None` if it has none.
    pub(super) async fn take(
        &self,
        key: &Key,
        limit: u32,
        life: Duration,
    ) -> Option<Result<(), Duration>> {
        let mut invocation = self.take.key(self.name(key)?);
        invocation.arg(limit).arg(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let wait: i64 = self.link.run(&invocation).await?;
        Some(u64::try_from(wait).map_or(Ok(()), |wait| Err(Duration::from_millis(wait))))
    }

    pub(super) async fn give_back(&self, key: &Key) {
        if let Some(name) = self.name(key) {
            // While Redis does not answer, nobody has their try back, which ends by itself.
            let _: Option<i64> = self.link.run(&self.give_back.key(name)).await;
        }
    }

    /// Returns the name of a counter, from which nobody without the secret can tell whose it
    /// is.
    fn name(&self, key: &Key) -> Option<String> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?.chain_update(key);
        let mut name = "signup:verification:".to_owned();
        for byte in mac.finalize().into_bytes() {
            let _ = write!(name, "{byte:02x}");
        }
        Some(name)
    }
}
