//! A secret is opened by a method whose name says so.

fn display<T: std::fmt::Display>() {}
fn deref<T: std::ops::Deref>() {}

fn main() {
    display::<signup::fields::Password>(); //~ doesn't implement `std::fmt::Display`
    display::<signup::hash::PasswordHash>(); //~ doesn't implement `std::fmt::Display`
    display::<signup::api_key::ApiKey>(); //~ doesn't implement `std::fmt::Display`
    display::<signup::token::Token>(); //~ doesn't implement `std::fmt::Display`
    deref::<signup::fields::Password>(); //~ Deref` is not satisfied
    deref::<signup::api_key::ApiKey>(); //~ Deref` is not satisfied
    deref::<signup::token::Token>(); //~ Deref` is not satisfied
}
