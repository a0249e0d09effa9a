//! A copy of a secret would be one more to wipe.

fn clone<T: Clone>() {}

fn main() {
    clone::<signup::fields::Password>(); //~ Clone` is not satisfied
    clone::<signup::api_key::ApiKey>(); //~ Clone` is not satisfied
    clone::<signup::token::Token>(); //~ Clone` is not satisfied
    clone::<signup::token::SigningKey>(); //~ Clone` is not satisfied
    clone::<signup::Signup>(); //~ Clone` is not satisfied
    clone::<signup::SignupRequest>(); //~ Clone` is not satisfied
    clone::<signup::http::Body>(); //~ Clone` is not satisfied
}
