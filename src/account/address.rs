//! The knowledge about an account's address, and the nonce of the tickets that change it.

use std::fmt;

/// The knowledge of whether the address of an account is its owner's.
///
/// ```
/// assert_eq!(signup::account::EmailStatus::Unknown.as_str(), "unknown");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EmailStatus {
    /// The address was verified.
    Verified,
    /// The address is to be verified after the sign-up, and was not: someone else may have made
    /// the account.
    Unverified,
    /// The account is older than verification, or was adopted.
    Unknown,
}

impl EmailStatus {
    /// Returns the status as in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Unknown => "unknown",
        }
    }
}

/// The nonce of an account, which its tickets are bound to: without the stored one, no one can
/// forge a ticket.
///
/// ```
/// use signup::account::TicketNonce;
///
/// let nonce = TicketNonce::new([7; 16]);
/// assert_eq!(nonce.as_bytes(), &[7; 16]);
/// assert_eq!(format!("{nonce:?}"), "TicketNonce(_)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketNonce([u8; 16]);

impl TicketNonce {
    /// Creates a nonce from what is stored.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns `accounts.ticket_nonce`.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Omits the bytes.
impl fmt::Debug for TicketNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketNonce(_)")
    }
}
