//! Buckets in Redis, which several instances share.

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

/// A connection may take longer to be made: it is made behind the requests' backs.
const CONNECT: Duration = Duration::from_secs(5);

/// GCRA in microseconds of the server's own clock, over all buckets or none of them.
/// Its keys are of one client or one email, and so of one slot of a cluster. A bucket
/// that is full again expires by itself.
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

/// Reads the URL. Nothing is connected.
pub(super) fn client(url: &str) -> Result<Client, RedisError> {
    #[cfg(feature = "tls-rustls")]
    if url.starts_with("rediss:") {
        return tls_client(url);
    }
    Client::open(url)
}

/// By rustls, which wants two things told: whose cryptography, if nobody has said;
/// and the system's certificates, which redis does not look for where its other TLS
/// is compiled in as well.
#[cfg(feature = "tls-rustls")]
fn tls_client(url: &str) -> Result<Client, RedisError> {
    use base64ct::{Base64, Encoding as _};
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody may have been faster: then there is one.
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

/// What Redis has decided.
type Decision = Result<(), Refusal>;

/// Buckets in Redis.
pub(super) struct Shared {
    name: &'static str,
    client: Client,
    script: Script,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    clock: Arc<dyn Clock>,
    /// The whole decision of a request waits so long; then memory decides.
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

    /// Returns what Redis decides, or none where it does not answer in time or is left
    /// alone; and what that has turned.
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

    /// Lets whoever comes next make a new connection. Those who have this one keep it:
    /// should it be good after all, nothing is lost but that.
    fn reconnect(&self) {
        // Locked, a new one is being made already.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    /// Asks, and where the server turns out to be another one than it was, which is
    /// a failover's doing, once more.
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
        // Of a caller that is out of time the answer is dropped, and the connection
        // stays in step: it is multiplexed.
        let answer = invocation.invoke_async(&mut connection).await;
        if answer.is_err() {
            self.reconnect();
        }
        let (number, early) = answer?;
        decision(buckets, number, early)
    }

    /// The connection, or a new one, which is made in a task of its own: whoever
    /// waits may be out of time before it is there.
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

/// Reads the script's answer: which bucket is empty, counted from one, or 0; and for
/// how many microseconds.
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
