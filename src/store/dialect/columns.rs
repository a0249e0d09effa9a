//! The columns of an account that are inserted.

use super::table::AccountColumn::{
    self, CreatedAt, Email, EmailKey, EmailUnverified, EmailVerifiedAt, Id, Name, PasswordHash,
    PepperVersion, Plan, ReplayNonce, ReplayTag, ReplayVersion, TicketNonce,
};

/// The columns of an account that are inserted, in the order of their values.
pub(super) const INSERTED: [AccountColumn; 14] = [
    Id,
    Email,
    EmailKey,
    Name,
    Plan,
    PasswordHash,
    PepperVersion,
    CreatedAt,
    ReplayNonce,
    ReplayVersion,
    ReplayTag,
    EmailVerifiedAt,
    EmailUnverified,
    TicketNonce,
];

/// Returns the list of these columns, and the list of their values, as in a template.
pub(super) fn account_lists() -> (String, String) {
    let value = |(number, column): (usize, AccountColumn)| match column {
        CreatedAt | EmailVerifiedAt => format!("{{{}:{number}}}", column.own_name()),
        _ => format!("{{{number}}}"),
    };
    let columns = INSERTED.map(|column| format!("@{}", column.own_name())).join(", ");
    (columns, (1..).zip(INSERTED).map(value).collect::<Vec<_>>().join(", "))
}
