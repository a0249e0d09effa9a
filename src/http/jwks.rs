//! The JWK set, at a well-known path.

use crate::token::TokenKeys;

use super::{Refusal, Reply};

/// The path of the JWK set, a well-known URI (RFC 8615).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Answers a request for [`JWKS_PATH`]: the public keys as a JWK set (RFC 7517, section 5),
/// cacheable for five minutes. Wait as long between adding a key and promoting it.
///
/// ```
/// use signup::http::jwks;
/// use signup::token::{SigningKey, TokenKeys};
///
/// let keys = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
/// let reply = jwks(&keys, "GET");
/// assert_eq!(reply.status(), 200);
/// assert!(reply.headers().any(|header| header == ("cache-control", "public, max-age=300")));
/// ```
pub fn jwks(keys: &TokenKeys, method: &str) -> Reply {
    match method {
        // The server omits the body of a HEAD.
        "GET" | "HEAD" => Reply::jwks(&keys.jwks()),
        _ => Reply::from(Refusal::MethodNotAllowed).allowing("GET, HEAD"),
    }
}
