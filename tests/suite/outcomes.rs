//! Outcomes of writes: what a store reports is true after a caller that leaves, at a deadline,
//! when a connection breaks, and while a commit is slow.

mod cancelled;
mod late;
mod round_trips;
mod settled;
