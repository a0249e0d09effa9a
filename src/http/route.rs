//! The routes of the endpoint: each path, with its operation.

use std::borrow::Cow;
use std::sync::Arc;

use crate::service::SignupService;
#[cfg(feature = "verification")]
use crate::service::{EmailVerification, VerifyFirst};
use crate::store::AccountStore;

use super::paths::PATH;
#[cfg(feature = "verification")]
use super::verification::{AfterRoute, FirstRoute, Verification};

/// A route of a [`SignupEndpoint`](super::SignupEndpoint), for an adapter: the index of a path in
/// its [routes](super::SignupEndpoint::routes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route(usize);

impl Route {
    /// The sign-up, which each endpoint has.
    pub(super) const SIGNUP: Self = Self(0);
}

/// The operation of a route, with the handle that it needs.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Signup,
    /// The sign-up of a service that verifies addresses first.
    #[cfg(feature = "verification")]
    Begin(VerifyFirst),
    #[cfg(feature = "verification")]
    Verification(Verification),
}

impl Operation {
    /// Returns whether a request counts as a sign-up, and has the body of one.
    pub(super) const fn is_signup(&self) -> bool {
        match self {
            Self::Signup => true,
            #[cfg(feature = "verification")]
            Self::Begin(_) => true,
            #[cfg(feature = "verification")]
            Self::Verification(_) => false,
        }
    }

    /// Returns whether the owner can be verified by a token in the head.
    #[cfg(feature = "verification")]
    pub(super) const fn takes_token(&self) -> bool {
        matches!(self, Self::Verification(verification) if verification.takes_token())
    }
}

/// The routes of an endpoint, the sign-up first.
#[derive(Debug, Clone)]
pub(super) struct Routes(Arc<[(Cow<'static, str>, Operation)]>);

impl Routes {
    /// Binds the routes that a service has to their handles.
    pub(super) fn of<S: AccountStore>(service: &SignupService<S>) -> Self {
        #[cfg(feature = "verification")]
        let (signup, others) = match service.verification() {
            EmailVerification::First(first) => {
                let others = FirstRoute::ALL.map(|(path, route)| {
                    (path, Operation::Verification(Verification::First(first.clone(), route)))
                });
                (Operation::Begin(first), others.to_vec())
            }
            EmailVerification::After(after) => {
                let others = AfterRoute::ALL.map(|(path, route)| {
                    (path, Operation::Verification(Verification::After(after.clone(), route)))
                });
                (Operation::Signup, others.to_vec())
            }
            EmailVerification::Off => (Operation::Signup, Vec::new()),
        };
        #[cfg(not(feature = "verification"))]
        let (signup, others) = {
            let _ = service;
            (Operation::Signup, Vec::new())
        };
        let routes = std::iter::once((PATH, signup)).chain(others);
        Self(routes.map(|(path, operation)| (Cow::Borrowed(path), operation)).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Route, &str)> {
        self.0.iter().enumerate().map(|(index, (path, _))| (Route(index), &**path))
    }

    pub(super) fn find(&self, path: &str) -> Option<Route> {
        self.iter().find(|(_, known)| *known == path).map(|(route, _)| route)
    }

    /// Returns the operation of a route; `None` for a route that this endpoint does not have.
    pub(super) fn operation(&self, Route(index): Route) -> Option<&Operation> {
        self.0.get(index).map(|(_, operation)| operation)
    }

    /// Moves a route to another path.
    pub(super) fn moved(&self, Route(index): Route, to: String) -> Self {
        let mut routes = self.0.to_vec();
        if let Some((path, _)) = routes.get_mut(index) {
            *path = Cow::Owned(to);
        }
        Self(routes.into())
    }
}
