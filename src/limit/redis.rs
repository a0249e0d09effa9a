//! Buckets in Redis, shared by several instances.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Script, ServerErrorKind};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::clock::Clock;

use super::breaker::Breaker;
use super::bucket::{Bucket, Refusal};

/// The time limit for connecting, which happens in a background task.
const CONNECT: Duration = Duration::from_secs(5);

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

/// Parses the URL. It does not connect.
pub(super) fn client(url: &str) -> Result<Client, RedisError> {
    #[cfg(feature = "tls-rustls")]
    if url.starts_with("rediss:") {
        return tls_client(url);
    }
    Client::open(url)
}

/// Creates a client on rustls, which needs a default cryptography provider, and the
/// system's certificates, which redis does not load if its other TLS is compiled in as
/// well.
#[cfg(feature = "tls-rustls")]
fn tls_client(url: &str) -> Result<Client, RedisError> {
    use base64ct::{Base64, Encoding as _};
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails if another thread was faster: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut roots = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        let certificate = Base64::encode_string(&certificate);
        roots += "-----BEGIN CERTIFICATE-----\n";
        roots += &certificate;
        roots += "\n-----END CERTIFICATE-----\n";
    }
    let root_cert = Some(roots.into_bytes());
    Client::build_with_tls(url, redis::TlsCertificates { client_tls: None, root_cert })
}

/// The decision of Redis.
type Decision = Result<(), Refusal>;

/// Buckets in Redis.
pub(super) struct Shared {
    name: &'static str,
    client: Client,
    script: Script,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    clock: Arc<dyn Clock>,
    /// The time limit of a whole decision; after that, memory decides.
    deadline: Duration,
    breaker: Breaker,
}

/// A change of Redis' state: unreachable, or reachable again.
pub(super) enum Turn {
    Lost(RedisError),
    Back,
}

impl Shared {
    pub(super) fn new(
        name: &'static str,
        client: Client,
        clock: Arc<dyn Clock>,
        deadline: Duration,
    ) -> Self {
        Self {
            name,
            client,
            script: Script::new(SCRIPT),
            connection: Arc::default(),
            clock,
            deadline,
            breaker: Breaker::new(deadline),
        }
    }

    /// Returns the decision of Redis, or `None` if it does not answer in time or is paused,
    /// and any change of its state.
    pub(super) async fn check(&self, buckets: &[Bucket]) -> (Option<Decision>, Option<Turn>) {
        let Some(admitted) = self.breaker.admit(self.clock.monotonic()) else {
            return (None, None);
        };
        let decided = timeout(self.deadline, self.decide(buckets)).await;
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        match decided.unwrap_or_else(late) {
            Ok(decided) => {
                let back = self.breaker.record_success(admitted);
                (Some(decided), back.then_some(Turn::Back))
            }
            Err(error) => {
                self.reconnect();
                let lost = self.breaker.record_failure(admitted, self.clock.monotonic());
                (None, lost.then_some(Turn::Lost(error)))
            }
        }
    }

    /// Drops the cached connection; requests already using it are unaffected.
    fn reconnect(&self) {
        // If it is locked, a new connection is already being made.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    /// Runs the script, and once more if the server has changed, as after a failover.
    async fn decide(&self, buckets: &[Bucket]) -> Result<Decision, RedisError> {
        let asked = self.ask(buckets).await;
        match asked {
            Err(error) if is_failover(&error) => self.ask(buckets).await,
            other => other,
        }
    }

    async fn ask(&self, buckets: &[Bucket]) -> Result<Decision, RedisError> {
        let mut connection = self.connection().await?;
        let mut invocation = self.script.prepare_invoke();
        for bucket in buckets {
            let interval = (bucket.quota.interval() / 1000).max(1);
            invocation.key(format!("{}:{}", self.name, bucket.name()));
            invocation.arg(interval).arg(bucket.quota.burst().get()).arg(u8::from(bucket.takes));
        }
        // The answer to a caller that is out of time is dropped; the multiplexed connection
        // stays in step.
        let answer = invocation.invoke_async(&mut connection).await;
        if answer.is_err() {
            self.reconnect();
        }
        let (number, early) = answer?;
        decision(buckets, number, early)
    }

    /// Returns the connection, or makes a new one in a task of its own, because the caller
    /// may be out of time before it is ready.
    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let connection = Arc::clone(&self.connection).lock_owned().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let task = tokio::spawn(connect(self.client.clone(), self.deadline, connection));
        task.await.unwrap_or_else(|lost| Err(std::io::Error::other(lost).into()))
    }
}

async fn connect(
    client: Client,
    deadline: Duration,
    mut place: OwnedMutexGuard<Option<MultiplexedConnection>>,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(deadline));
    let made = client.get_multiplexed_async_connection_with_config(&config).await;
    *place = made.as_ref().ok().cloned();
    made
}

fn is_failover(error: &RedisError) -> bool {
    let read_only = ErrorKind::Server(ServerErrorKind::ReadOnly);
    error.kind() == read_only || error.is_connection_dropped()
}

/// Parses the script's answer: the number of the empty bucket, counted from one, or 0 if
/// every bucket allowed the request; and the microseconds to wait.
fn decision(buckets: &[Bucket], number: usize, early: u64) -> Result<Decision, RedisError> {
    let Some(at) = number.checked_sub(1) else {
        return Ok(Ok(()));
    };
    let unknown = (ErrorKind::UnexpectedReturnType, "the script refused a bucket it was not given");
    let bucket = buckets.get(at).ok_or(unknown)?;
    Ok(Err((*bucket, Duration::from_micros(early))))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
