//! The places of a queue of mails.

use std::collections::HashMap;

use crate::fields::Email;

/// The notices that wait for one recipient, so that an address whose mail is refused takes no
/// place of others.
const NOTICES_OF_ONE: usize = 8;

/// A kind of places, each with its own capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// For mails that clients ask for.
    New,
    /// For mails that wait for another attempt. A domain has half of them.
    Retried,
    /// For security notices, whose places nothing else can take.
    Notice,
    /// For notices that wait for another attempt, or that a dead process has left.
    RetriedNotice,
}

impl Lane {
    /// Returns how many of the places one share may have.
    fn of_one(self, capacity: usize) -> usize {
        match self {
            Self::New => capacity,
            Self::Retried => capacity.div_ceil(2),
            Self::Notice | Self::RetriedNotice => capacity.min(NOTICES_OF_ONE),
        }
    }

    /// Returns the share of a recipient.
    pub(super) fn share(self, to: &Email) -> String {
        let key = to.key().as_str();
        match self {
            Self::New => String::new(),
            Self::Retried => key.rsplit_once('@').map_or(key, |(_, domain)| domain).to_owned(),
            Self::Notice | Self::RetriedNotice => key.to_owned(),
        }
    }
}

/// The places that are taken.
#[derive(Default)]
pub(super) struct Places {
    taken: HashMap<Lane, usize>,
    /// The places of a lane that one recipient or domain has.
    shares: HashMap<(Lane, String), usize>,
}

impl Places {
    /// Returns how many places are taken, in all lanes.
    pub(super) fn taken(&self) -> usize {
        self.taken.values().sum()
    }

    /// Takes a place for a share, if one is free.
    pub(super) fn enter(&mut self, lane: Lane, share: &str, capacity: usize) -> bool {
        let taken = self.taken.entry(lane).or_default();
        let share = (lane, share.to_owned());
        let held = self.shares.get(&share).copied().unwrap_or(0);
        if *taken >= capacity || held >= lane.of_one(capacity) {
            return false;
        }
        *taken += 1;
        self.shares.insert(share, held + 1);
        true
    }

    pub(super) fn leave(&mut self, lane: Lane, share: &str) {
        let taken = self.taken.entry(lane).or_default();
        *taken = taken.saturating_sub(1);
        let share = (lane, share.to_owned());
        let held = self.shares.entry(share.clone()).or_default();
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.shares.remove(&share);
        }
    }
}
