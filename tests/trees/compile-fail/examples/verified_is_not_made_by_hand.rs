//! Verified credentials, which only their verifier creates.

use signup::credentials::{ApiKeyAuth, DashboardAuth};
use signup::token::VerifiedToken;

fn main() {
    let _ = VerifiedToken { account_id: "acc_x".parse().unwrap() }; //~ private fields
    let _ = |token: VerifiedToken| DashboardAuth { token }; //~ private fields
    let _ = ApiKeyAuth { account_id: "acc_x".parse().unwrap() }; //~ private fields
    let _ = VerifiedToken::default(); //~ named `default`
}
