//! The one JSON with a secret in it is the answer's, and it is bytes.

fn serialize<T: serde::Serialize>() {}

fn main() {
    serialize::<signup::fields::Password>(); //~ Serialize` is not satisfied
    serialize::<signup::hash::PasswordHash>(); //~ Serialize` is not satisfied
    serialize::<signup::api_key::ApiKey>(); //~ Serialize` is not satisfied
    serialize::<signup::token::Token>(); //~ Serialize` is not satisfied
    serialize::<signup::Signup>(); //~ Serialize` is not satisfied
    serialize::<signup::SignupRequest>(); //~ Serialize` is not satisfied
}
