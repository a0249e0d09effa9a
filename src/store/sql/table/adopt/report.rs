//! The outcome of an adoption.

use std::fmt;

/// The number of rows of a kind that a report lists.
const LISTED: usize = 100;

/// The outcome of an [`Adoption`](super::Adoption), or what it would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptionReport {
    /// The statements that added columns and constraints.
    pub statements: Vec<String>,
    /// The number of rows that became accounts.
    pub adopted: u64,
    /// The number of these and of earlier accounts that were disabled.
    pub disabled: u64,
    /// The number of rows that were accounts before, and stay as they are.
    pub unchanged: u64,
    /// The number of rows that the map [excludes](crate::store::TableMap::exclude).
    pub excluded: u64,
    /// Rows that need a decision, by kind.
    pub listed: Vec<ListedRows>,
}

/// The rows of one kind in an [`AdoptionReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedRows {
    /// The reason why they are listed.
    pub kind: ListedKind,
    /// Their number.
    pub count: u64,
    /// The first hundred of them, in the order of the primary key.
    pub rows: Vec<ListedRow>,
}

/// The reason why an [`AdoptionReport`] lists a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListedKind {
    /// Another row has the same mailbox in another spelling. It was not adopted.
    Collision,
    /// Its address is missing, or is not an address. It was not adopted.
    InvalidEmail,
    /// The time of its sign-up can't be read. It was not adopted.
    InvalidTime,
    /// Its state is not a state of an account. It has no log-in.
    InvalidState,
    /// The other system has changed its address, and the account has the new one now.
    ChangedEmail,
}

/// A row of the host's table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedRow {
    /// Its primary key, as text.
    pub primary_key: String,
    /// Its address.
    pub email: String,
    /// The primary key of the row that is the account of this mailbox.
    pub account: Option<String>,
}

impl ListedKind {
    /// Returns what to do about such rows.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Collision => {
                "decide which row the mailbox belongs to, and merge or delete the others"
            }
            Self::InvalidEmail => {
                "ask these users for another address (trim blanks, remove accents before the @), \
                 and run the adoption again"
            }
            Self::InvalidTime => "correct the time, and run the adoption again",
            Self::InvalidState => {
                "set the state to active, disabled, pending_deletion or erased, or name another \
                 column in the map"
            }
            Self::ChangedEmail => "nothing; verify the address if the other system has not",
        }
    }
}

impl AdoptionReport {
    /// Returns the number of rows of a kind.
    pub fn count(&self, kind: ListedKind) -> u64 {
        self.listed.iter().find(|listed| listed.kind == kind).map_or(0, |listed| listed.count)
    }

    /// Returns the first hundred rows of a kind.
    pub fn rows(&self, kind: ListedKind) -> &[ListedRow] {
        let listed = self.listed.iter().find(|listed| listed.kind == kind);
        listed.map_or(&[], |listed| &listed.rows)
    }

    pub(super) fn list(&mut self, kind: ListedKind, row: ListedRow) {
        self.list_all(ListedRows { kind, count: 1, rows: vec![row] });
    }

    fn list_all(&mut self, more: ListedRows) {
        match self.listed.iter_mut().find(|listed| listed.kind == more.kind) {
            Some(listed) => {
                listed.count += more.count;
                listed.rows.extend(more.rows);
                listed.rows.truncate(LISTED);
            }
            None => self.listed.push(more),
        }
    }

    /// Adds what became of a page.
    pub(super) fn add(&mut self, page: Self) {
        self.adopted += page.adopted;
        self.disabled += page.disabled;
        self.unchanged += page.unchanged;
        self.excluded += page.excluded;
        page.listed.into_iter().for_each(|listed| self.list_all(listed));
    }
}

/// Writes a line for each count that is not zero, and one for each listed row.
impl fmt::Display for AdoptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adopted {}, disabled {}, ", self.adopted, self.disabled)?;
        write!(f, "unchanged {}, excluded {}", self.unchanged, self.excluded)?;
        for listed in &self.listed {
            write!(f, "\n{}: {}; {}", listed.kind, listed.count, listed.kind.advice())?;
            for row in &listed.rows {
                write!(f, "\n  {} {}", row.primary_key, row.email)?;
                if let Some(account) = &row.account {
                    write!(f, " (the account is {account})")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for ListedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Collision => "mailbox of another account",
            Self::InvalidEmail => "invalid address",
            Self::InvalidTime => "invalid time",
            Self::InvalidState => "invalid state",
            Self::ChangedEmail => "changed address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_all_rows_and_lists_the_first_hundred() {
        let mut report = AdoptionReport::default();
        for number in 0..250 {
            let mut page = AdoptionReport { adopted: 2, ..AdoptionReport::default() };
            let row = ListedRow {
                primary_key: number.to_string(),
                email: "none".to_owned(),
                account: (number == 1).then(|| "7".to_owned()),
            };
            page.list(ListedKind::InvalidEmail, row);
            report.add(page);
        }
        assert_eq!((report.adopted, report.count(ListedKind::InvalidEmail)), (500, 250));
        let rows = report.rows(ListedKind::InvalidEmail);
        assert_eq!((rows.len(), rows[99].primary_key.as_str()), (100, "99"));
        assert_eq!(report.rows(ListedKind::Collision), []);
        let text = report.to_string();
        assert!(text.starts_with("adopted 500, disabled 0, unchanged 0, excluded 0\ninvalid "));
        assert!(text.contains("\n  1 none (the account is 7)\n"), "{text}");
    }
}
