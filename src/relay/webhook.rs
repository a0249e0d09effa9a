//! A sink that posts events to a URL, signed as Standard Webhooks describes it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use sha2::Sha256;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::event::Event;
use crate::issue::BoxError;
use crate::secret::Secret;

use super::{Delivery, Sink, SinkError};

mod address;

use address::{Resolver, is_public};

const PREFIX: &str = "whsec_";
/// The lengths of a secret that Standard Webhooks recommends, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// The part of an answer that is read, so that its connection can be used again.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The time for the rest of an answer whose head has arrived.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

type HttpClient = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// The secret that signs webhooks: 24 to 64 bytes, which their receiver has too.
///
/// ```
/// use signup::relay::WebhookSecret;
///
/// let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
/// assert_eq!(format!("{secret:?}"), "WebhookSecret(_)");
/// assert!(WebhookSecret::new(b"too short").is_err());
/// ```
#[derive(Clone)]
pub struct WebhookSecret(Secret<Vec<u8>>);

impl WebhookSecret {
    /// Creates a secret of these bytes.
    ///
    /// # Errors
    /// Fails if there are fewer than 24 or more than 64.
    pub fn new(bytes: &[u8]) -> Result<Self, WebhookError> {
        if !LENGTHS.contains(&bytes.len()) {
            return Err(WebhookError::SecretLength(bytes.len()));
        }
        Ok(Self(Secret::new(bytes.to_vec())))
    }

    /// Reads a secret as Standard Webhooks writes it: `whsec_` and base64.
    ///
    /// # Errors
    /// Fails if it is written otherwise, or is too short or too long.
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        let base64 = text.strip_prefix(PREFIX).ok_or(WebhookError::SecretForm)?;
        let bytes = Base64::decode_vec(base64).map_err(|_| WebhookError::SecretForm)?;
        Self::new(&Secret::new(bytes))
    }

    fn sign(&self, message: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(message);
        Some(format!("v1,{}", Base64::encode_string(&mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(_)")
    }
}

/// A sink that posts each event to a URL, with the headers and the signature of
/// [Standard Webhooks](https://www.standardwebhooks.com).
///
/// The body is the event [as JSON](Event::to_json) with a `timestamp` beside, as text of
/// RFC 3339. An answer of 2xx takes the event over; with any other one it is tried again.
/// Redirects are not followed.
///
/// The address of a [`new`](Self::new) webhook must be a public one, which is checked when
/// its name is resolved, for each connection: a receiver that a customer has named can't
/// make the host call itself, its neighbours, or its cloud's metadata.
///
/// ```
/// use signup::relay::{Webhook, WebhookError, WebhookSecret};
///
/// let secret = WebhookSecret::new(&[7; 32])?;
/// let sink = Webhook::new("https://hooks.example.com/accounts", secret.clone())?;
///
/// let metadata = Webhook::new("https://169.254.169.254/latest", secret.clone());
/// assert!(matches!(metadata, Err(WebhookError::PrivateAddress(_))));
/// // A receiver of the host's own.
/// let sink = Webhook::internal("http://billing.internal:8080/events", secret)?;
/// # Ok::<(), WebhookError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Webhook {
    url: Uri,
    secrets: Vec<WebhookSecret>,
    client: HttpClient,
    clock: Arc<dyn Clock>,
    is_internal: bool,
}

impl Webhook {
    /// Creates a sink that posts to a URL of `https` at a public address.
    ///
    /// # Errors
    /// Returns a [`WebhookError`] for another URL, or if the system's root certificates
    /// can't be read.
    pub fn new(url: &str, secret: WebhookSecret) -> Result<Self, WebhookError> {
        Self::at(public(url)?, secret, Resolver::public())
    }

    /// Creates a sink that posts to a URL of `https` or `http` at any address: one of the
    /// host, and not taken from a user.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn internal(url: &str, secret: WebhookSecret) -> Result<Self, WebhookError> {
        Self::at(parse(url, &["https", "http"])?, secret, Resolver::any())
    }

    /// Creates a sink for another public URL, for a host with a URL for each customer: it
    /// shares the root certificates, the connections and the clock of this one.
    ///
    /// ```
    /// use signup::relay::{Webhook, WebhookError, WebhookSecret};
    ///
    /// let secret = WebhookSecret::new(&[7; 32])?;
    /// let first = Webhook::new("https://hooks.example.com/accounts", secret)?;
    /// let second = first.to("https://example.org/hook", WebhookSecret::new(&[8; 32])?)?;
    /// # Ok::<(), WebhookError>(())
    /// ```
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn to(&self, url: &str, secret: WebhookSecret) -> Result<Self, WebhookError> {
        let url = public(url)?;
        if self.is_internal {
            let clock = Arc::clone(&self.clock);
            return Ok(Self { clock, ..Self::at(url, secret, Resolver::public())? });
        }
        Ok(Self { url, secrets: vec![secret], ..self.clone() })
    }

    fn at(url: Uri, secret: WebhookSecret, resolver: Resolver) -> Result<Self, WebhookError> {
        let is_internal = resolver.is_any();
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        let provider = rustls::crypto::ring::default_provider();
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let tls = if url.scheme_str() == Some("http") {
            // Without TLS no certificates are needed: an image from scratch has none.
            let config = ClientConfig::builder_with_provider(Arc::new(provider));
            let config = config.with_safe_default_protocol_versions();
            let config =
                config.map_err(|error| WebhookError::Roots(std::io::Error::other(error)))?;
            let roots = RootCertStore::empty();
            builder.with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
        } else {
            builder.with_provider_and_native_roots(provider).map_err(WebhookError::Roots)?
        };
        let https = tls.https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(https);
        let clock = Arc::new(SystemClock);
        Ok(Self { url, secrets: vec![secret], client, clock, is_internal })
    }

    /// Adds a signature by another secret, while receivers change from one to the other.
    pub fn also_signed_by(mut self, secret: WebhookSecret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Sets the clock of `webhook-timestamp`. Default: [`SystemClock`].
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    fn request(&self, event: &Event) -> Result<Request<Full<Bytes>>, BoxError> {
        let now = Timestamp::read(&self.clock, Timestamp::MAX)?.as_secs();
        let mut body = event.to_json();
        if let Some(body) = body.as_object_mut() {
            body.insert("timestamp".to_owned(), event.created_at().to_rfc_3339().into());
        }
        let body = Bytes::from(body.to_string());
        let mut message = format!("{}.{now}.", event.id()).into_bytes();
        message.extend_from_slice(&body);
        let signatures: Vec<_> = self.secrets.iter().filter_map(|it| it.sign(&message)).collect();
        let request = Request::post(self.url.clone())
            .header("content-type", "application/json")
            .header("user-agent", concat!("signup/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", event.id())
            .header("webhook-timestamp", now)
            .header("webhook-signature", signatures.join(" "));
        Ok(request.body(Full::from(body))?)
    }

    async fn post(&self, event: &Event) -> Result<(), BoxError> {
        let answer = self.client.request(self.request(event)?).await?;
        let status = answer.status();
        // The head decides. Reading the rest lets the connection be used again.
        let rest = Limited::new(answer.into_body(), ANSWER_LIMIT).collect();
        let _ = tokio::time::timeout(ANSWER_DEADLINE, rest).await;
        if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}").into()) }
    }
}

#[async_trait]
impl Sink for Webhook {
    async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError> {
        self.post(&delivery.event).await.map_err(SinkError::Temporary)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host()).finish_non_exhaustive()
    }
}

/// The reason why a webhook can't be set up.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The secret is too short or too long.
    #[error("a secret of webhooks has 24 to 64 bytes, not {0}")]
    SecretLength(usize),
    /// The secret is not `whsec_` and base64.
    #[error("a secret of webhooks is `whsec_` and base64")]
    SecretForm,
    /// The URL is invalid.
    #[error("the URL of a webhook can't be read")]
    Url(#[source] BoxError),
    /// The URL has a scheme that is not allowed.
    #[error("the URL of a webhook begins with `https://`")]
    Scheme,
    /// The URL has a user name or a password, which would be logged and never sent.
    #[error("the URL of a webhook has a user name")]
    UserName,
    /// The URL names an address that is not public.
    #[error("{0} is not a public address")]
    PrivateAddress(IpAddr),
    /// The root certificates of the system can't be read.
    #[error("the root certificates of the system can't be read")]
    Roots(#[source] std::io::Error),
}

crate::issue::debug_by_text!(WebhookError);

/// Parses a URL of `https` that names no address which is not public.
fn public(url: &str) -> Result<Uri, WebhookError> {
    let url = parse(url, &["https"])?;
    match literal(&url) {
        Some(address) if !is_public(address) => Err(WebhookError::PrivateAddress(address)),
        _ => Ok(url),
    }
}

/// Writes the host of a URL in A-labels, as its resolver and its server know it.
fn in_ascii(url: &str) -> Result<String, WebhookError> {
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(url.to_owned()) };
    let end = rest.find(['/', '?', '#', ':', '[']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_ascii() {
        return Ok(url.to_owned());
    }
    let host = idna::domain_to_ascii(host).map_err(|error| WebhookError::Url(Box::new(error)))?;
    Ok(format!("{scheme}://{host}{path}"))
}

fn parse(url: &str, schemes: &[&str]) -> Result<Uri, WebhookError> {
    let url = in_ascii(url)?;
    if !url.is_ascii() {
        return Err(WebhookError::Url("percent-encode what is not ASCII in it".into()));
    }
    let url: Uri = url.parse().map_err(|error| WebhookError::Url(Box::new(error)))?;
    if !url.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return Err(WebhookError::Scheme);
    }
    if url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(WebhookError::UserName);
    }
    Ok(url)
}

/// Returns the address of a URL that names one: no name is resolved for it.
fn literal(url: &Uri) -> Option<IpAddr> {
    let host = url.host()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
