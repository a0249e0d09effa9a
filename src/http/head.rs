//! What of a request's head the endpoint looks at.

use std::fmt;
use std::net::IpAddr;

use super::media::{is_identity, is_json};

/// The head of a request: its method and its headers, and who sends it.
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
    /// Reads a head. Headers come as names, in any case, and values; one that
    /// comes several times is passed as often.
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
                // One that is no number is the server's to refuse.
                let text = std::str::from_utf8(value).ok();
                head.content_length = text.and_then(|text| text.trim().parse().ok());
            }
        }
        head.is_json &= content_types == 1;
        head
    }

    /// The address that the connection comes from; none for a Unix socket's.
    #[must_use]
    pub fn peer(mut self, address: Option<IpAddr>) -> Self {
        self.peer = address;
        self
    }
}

/// Without the headers: there are credentials among them.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("is_json", &self.is_json)
            .field("content_length", &self.content_length)
            .finish_non_exhaustive()
    }
}
