//! A secret is opened by a method whose name says so.

fn display<T: std::fmt::Display>() {}
fn deref<T: std::ops::Deref>() {}

fn main() {
    display::<signup::fields::Password>();
    display::<signup::hash::PasswordHash>();
    display::<signup::api_key::ApiKey>();
    display::<signup::token::Token>();
    deref::<signup::fields::Password>();
    deref::<signup::api_key::ApiKey>();
    deref::<signup::token::Token>();
}
