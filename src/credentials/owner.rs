//! The owner of an account, as far as it was verified.

use crate::account::AccountId;

use super::{DashboardAuth, Login};

/// The account to issue a credential for, and the generation of its tokens in which its owner
/// was verified: a [`Login`], a [`DashboardAuth`], or an [`AccountId`], which stands for the
/// current generation.
#[derive(Debug, Clone, Copy)]
pub struct TokenOwner<'a> {
    pub(super) account: &'a AccountId,
    pub(super) generation: Option<i64>,
}

impl<'a> From<&'a AccountId> for TokenOwner<'a> {
    fn from(account: &'a AccountId) -> Self {
        Self { account, generation: None }
    }
}

impl<'a> From<&'a Login> for TokenOwner<'a> {
    fn from(login: &'a Login) -> Self {
        Self { account: login.account_id(), generation: Some(login.generation) }
    }
}

impl<'a> From<&'a DashboardAuth> for TokenOwner<'a> {
    fn from(auth: &'a DashboardAuth) -> Self {
        Self { account: auth.account_id(), generation: Some(auth.record.token_generation) }
    }
}
