//! A copy of a secret would be one more to wipe.

fn clone<T: Clone>() {}

fn main() {
    clone::<signup::fields::Password>();
    clone::<signup::api_key::ApiKey>();
    clone::<signup::token::Token>();
    clone::<signup::token::SigningKey>();
    clone::<signup::Signup>();
    clone::<signup::SignupRequest>();
    clone::<signup::http::Body>();
}
