//! The head of a request.

use std::fmt;
use std::net::IpAddr;

use crate::idempotency::HEADER;

#[cfg(feature = "verification")]
use super::PresentedCredentials;
use super::media::{is_identity, is_json};

/// The head of a request: its method, its headers and its peer.
#[derive(Clone)]
pub struct Head<'a> {
    pub(super) method: Method,
    pub(super) is_json: bool,
    pub(super) content_length: Option<u64>,
    pub(super) peer: Option<IpAddr>,
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Head,
    Other,
}

impl<'a> Head<'a> {
    /// Creates a head. Headers are names, in any case, and values; a repeated header is
    /// passed repeatedly.
    pub fn new(method: &str, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut content_types = 0;
        let mut head = Self {
            method: match method {
                "POST" => Method::Post,
                "HEAD" => Method::Head,
                _ => Method::Other,
            },
            is_json: true,
            content_length: None,
            peer: None,
            headers: headers.into_iter().collect(),
        };
        for (name, value) in &head.headers {
            if name.eq_ignore_ascii_case("content-type") {
                content_types += 1;
                head.is_json &= is_json(value);
            } else if name.eq_ignore_ascii_case("content-encoding") {
                head.is_json &= is_identity(value);
            } else if name.eq_ignore_ascii_case("content-length") {
                // The server refuses one that is not a number.
                let text = std::str::from_utf8(value).ok();
                head.content_length = text.and_then(|text| text.trim().parse().ok());
            }
        }
        head.is_json &= content_types == 1;
        head
    }

    /// Returns the values of `Idempotency-Key`, one for each line of it.
    pub(super) fn idempotency_keys(&self) -> impl Iterator<Item = &'a [u8]> {
        let named = |(name, _): &&(&str, &[u8])| name.eq_ignore_ascii_case(HEADER);
        self.headers.iter().filter(named).map(|(_, value)| *value)
    }

    #[cfg(feature = "verification")]
    pub(super) fn presented_credentials(&self) -> PresentedCredentials {
        PresentedCredentials::new(self.headers.iter().copied())
    }

    /// Sets the peer's address, if it has one: a Unix socket has none.
    #[must_use]
    pub fn peer(mut self, address: Option<IpAddr>) -> Self {
        self.peer = address;
        self
    }
}

/// Without the headers, which may hold credentials.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("is_json", &self.is_json)
            .field("content_length", &self.content_length)
            .finish_non_exhaustive()
    }
}
