//! The one JSON with a secret in it is the answer's, and it is bytes.

fn serialize<T: serde::Serialize>() {}

fn main() {
    serialize::<signup::fields::Password>();
    serialize::<signup::hash::PasswordHash>();
    serialize::<signup::api_key::ApiKey>();
    serialize::<signup::token::Token>();
    serialize::<signup::Signup>();
    serialize::<signup::SignupRequest>();
}
