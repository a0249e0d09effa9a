//! What of a request's head the endpoint looks at.

use super::media::{is_identity, is_json};

/// The head of a request: its method, and what its headers say of the body.
#[derive(Debug, Clone)]
pub struct Head {
    pub(super) method: Method,
    pub(super) is_json: bool,
    pub(super) content_length: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Head,
    Other,
}

impl Head {
    /// Reads a head. Headers come as names, in any case, and values; one that
    /// comes several times is passed as often.
    pub fn new<'a>(method: &str, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut content_types = 0;
        let mut head = Self {
            method: match method {
                "POST" => Method::Post,
                "HEAD" => Method::Head,
                _ => Method::Other,
            },
            is_json: true,
            content_length: None,
        };
        for (name, value) in headers {
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
}
