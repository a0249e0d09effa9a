//! A connection to Redis that several requests share, and that does without Redis for a
//! while when it does not answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, ScriptInvocation,
    ServerErrorKind,
};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::issue::InvalidValue;
use crate::observe;
use crate::secret::{Secret, without_line_end};

use super::breaker::Breaker;

/// The time limit for connecting, which happens in a background task.
const CONNECT: Duration = Duration::from_secs(5);

/// The default time limit for a decision: a hundred times what a nearby Redis takes, and
/// nothing that a person notices.
const DEADLINE: Duration = Duration::from_millis(50);
/// The minimum length of a shared secret, in bytes.
const MIN_SECRET_BYTES: usize = 16;
const SHORT_SECRET: InvalidValue =
    InvalidValue::new("short rate limit secret: needs 16 bytes or more");
const INVALID_URL: InvalidValue =
    InvalidValue::new("invalid Redis URL; rediss:// needs the feature tls-rustls or tls-native");

/// A Redis, and the secret by which names in it are hashed.
#[derive(Clone)]
pub(crate) struct RedisTarget {
    pub(crate) client: Client,
    pub(crate) secret: Secret<Vec<u8>>,
}

impl RedisTarget {
    /// Parses the URL. It does not connect.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for an invalid URL or a short secret.
    pub(crate) fn new(url: &str, secret: &[u8]) -> Result<Self, InvalidValue> {
        if without_line_end(secret) < MIN_SECRET_BYTES {
            return Err(SHORT_SECRET);
        }
        // Its error may quote the URL, with a password.
        let client = client(url).map_err(|_| INVALID_URL)?;
        Ok(Self { client, secret: Secret::new(secret.to_owned()) })
    }
}

/// Parses the URL.
fn client(url: &str) -> Result<Client, RedisError> {
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

/// A connection to Redis.
pub(crate) struct RedisLink {
    client: Client,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    clock: Arc<dyn Clock>,
    /// The time limit of a whole decision; after that, memory decides.
    deadline: Duration,
    breaker: Breaker,
}

impl RedisLink {
    pub(crate) fn new(client: Client, clock: Arc<dyn Clock>, deadline: Option<Duration>) -> Self {
        let deadline = deadline.unwrap_or(DEADLINE);
        let breaker = Breaker::new(deadline);
        Self { client, connection: Arc::default(), clock, deadline, breaker }
    }

    /// Returns what a script returns, or `None` if Redis does not answer in time or is
    /// paused. Records when it is lost, and when it is back.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let admitted = self.breaker.admit(self.clock.monotonic())?;
        let decided = timeout(self.deadline, self.decide(invocation)).await;
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        match decided.unwrap_or_else(late) {
            Ok(decided) => {
                if self.breaker.record_success(admitted) {
                    observe::limits_back();
                }
                Some(decided)
            }
            Err(error) => {
                self.reconnect();
                if self.breaker.record_failure(admitted, self.clock.monotonic()) {
                    observe::limits_lost(&error);
                }
                None
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
    async fn decide<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        match self.ask(invocation).await {
            Err(error) if is_failover(&error) => self.ask(invocation).await,
            other => other,
        }
    }

    async fn ask<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let mut connection = self.connection().await?;
        // The answer to a caller that is out of time is dropped; the multiplexed connection
        // stays in step.
        let answer = invocation.invoke_async(&mut connection).await;
        if answer.is_err() {
            self.reconnect();
        }
        answer
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

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").finish_non_exhaustive()
    }
}
