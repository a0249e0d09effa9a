//! The door: whether a valid sign-up may go on, or how long it is to wait.

use crate::error::SignupError;
use crate::hash::{HashPool, Place};
use crate::validate::ValidSignup;

/// A sign-up that may go on, with its place in the hash queue. Only admission
/// makes one, and only one can be hashed.
pub(crate) struct Admitted {
    pub(crate) signup: ValidSignup,
    pub(crate) place: Place,
}

/// Takes a place before anything is asked of the store, so that a flood costs
/// neither a query nor a hash.
pub(crate) fn admit(signup: ValidSignup, pool: &HashPool) -> Result<Admitted, SignupError> {
    let place = pool.reserve()?;
    Ok(Admitted { signup, place })
}
