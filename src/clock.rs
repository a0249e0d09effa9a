//! Time is injected: a wall clock for what is written down, a monotonic clock for waits.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A source of time.
///
/// # Contract
/// - [`wall`](Clock::wall) may jump in either direction; nothing is measured by it.
/// - [`monotonic`](Clock::monotonic) never goes back. Its origin is arbitrary, but
///   the same for all readings of one clock and its clones.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use signup::clock::{Clock, SystemClock};
///
/// /// The system's clock, as far ahead as a test environment wants it.
/// struct Ahead(Duration);
///
/// impl Clock for Ahead {
///     fn wall(&self) -> SystemTime {
///         SystemClock.wall() + self.0
///     }
///
///     fn monotonic(&self) -> Duration {
///         SystemClock.monotonic()
///     }
/// }
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Returns the time of day, for what is written down (`iat`, `exp`, `created_at`).
    fn wall(&self) -> SystemTime;

    /// Returns the time since an arbitrary fixed moment, for waits.
    fn monotonic(&self) -> Duration;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn wall(&self) -> SystemTime {
        (**self).wall()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

static ORIGIN: LazyLock<Instant> = LazyLock::new(instant);

#[expect(clippy::disallowed_methods, reason = "the only place that reads it")]
fn instant() -> Instant {
    Instant::now()
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads it")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        let origin = *ORIGIN;
        instant().saturating_duration_since(origin)
    }
}

/// A clock for tests that moves only when advanced. Clones share the time.
///
/// ```
/// use signup::clock::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::at_unix(1_700_000_000);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.monotonic(), Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<(SystemTime, Duration)>>);

impl ManualClock {
    /// Creates a clock with this wall time and a monotonic time of zero.
    pub fn new(wall: SystemTime) -> Self {
        Self(Arc::new(Mutex::new((wall, Duration::ZERO))))
    }

    /// Creates a clock whose wall time is `seconds` after 1970.
    pub fn at_unix(seconds: u32) -> Self {
        Self::new(UNIX_EPOCH + Duration::from_secs(seconds.into()))
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        self.change(|(wall, monotonic)| {
            *wall += by;
            *monotonic += by;
        });
    }

    /// Sets the wall clock, as an administrator would: no time passes.
    pub fn set_wall(&self, to: SystemTime) {
        self.change(|(wall, _)| *wall = to);
    }

    fn change<T>(&self, change: impl FnOnce(&mut (SystemTime, Duration)) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        self.change(|(wall, _)| *wall)
    }

    fn monotonic(&self) -> Duration {
        self.change(|(_, monotonic)| *monotonic)
    }
}

/// A moment that can be written down: milliseconds since 1970, UTC, not negative, and not
/// after [`Timestamp::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last millisecond of the year 9999, where RFC 3339 (section 1) ends.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The beginning of 1970.
    pub const EPOCH: Self = Self(0);

    /// Reads `clock`'s wall time.
    ///
    /// # Errors
    /// Fails if the time is before 1970 or after `not_after`: such a clock is wrong, and
    /// what it would write as well.
    pub fn read(clock: &impl Clock, not_after: Self) -> Result<Self, ClockError> {
        let since_epoch = clock.wall().duration_since(UNIX_EPOCH);
        let since_epoch = since_epoch.map_err(|_| ClockError::BeforeEpoch)?;
        Self::checked(since_epoch.as_millis(), not_after)
    }

    /// Returns the moment `later` than this one.
    ///
    /// # Errors
    /// Fails if it is after [`Timestamp::MAX`].
    pub fn plus(self, later: Duration) -> Result<Self, ClockError> {
        let millis = u128::from(self.0.unsigned_abs()).saturating_add(later.as_millis());
        Self::checked(millis, Self::MAX)
    }

    /// Returns the moment this long before, at the earliest [`EPOCH`](Self::EPOCH).
    pub(crate) fn minus(self, earlier: Duration) -> Self {
        let millis = i64::try_from(earlier.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(0))
    }

    /// Returns how long after `earlier` this moment is.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Returns the moment as text of RFC 3339 (section 5.6), in UTC and whole seconds.
    #[cfg(any(feature = "verification", feature = "webhooks"))]
    pub(crate) fn to_rfc_3339(self) -> String {
        use time::OffsetDateTime;
        use time::format_description::well_known::Rfc3339;
        // Neither fails for a moment of this type.
        let moment = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).ok();
        moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default()
    }

    fn checked(millis: u128, not_after: Self) -> Result<Self, ClockError> {
        match i64::try_from(millis) {
            Ok(millis) if millis <= not_after.0 => Ok(Self(millis)),
            _ => Err(ClockError::AfterLimit),
        }
    }

    /// Returns the moment `millis` milliseconds after 1970, as a store has kept it.
    ///
    /// # Errors
    /// Fails if it is negative or after [`Timestamp::MAX`].
    pub fn from_millis(millis: i64) -> Result<Self, ClockError> {
        let millis = u128::try_from(millis).map_err(|_| ClockError::BeforeEpoch)?;
        Self::checked(millis, Self::MAX)
    }

    /// Returns the milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970: a JWT's *`NumericDate`* (RFC 7519, section 2).
    pub const fn as_secs(self) -> i64 {
        self.0 / 1000
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = ClockError;

    fn try_from(time: SystemTime) -> Result<Self, ClockError> {
        Self::read(&ManualClock::new(time), Self::MAX)
    }
}

/// The reason why a clock's time is refused.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The wall clock is before 1970.
    #[error("the wall clock is before 1970")]
    BeforeEpoch,
    /// The wall clock is after the latest accepted time.
    #[error("the wall clock is after the latest accepted time")]
    AfterLimit,
}

crate::issue::debug_by_text!(ClockError);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wall: SystemTime) -> Result<i64, ClockError> {
        Timestamp::try_from(wall).map(Timestamp::as_millis)
    }

    #[test]
    fn t02_before_1970_is_an_error() {
        assert_eq!(read(UNIX_EPOCH - Duration::from_millis(1)), Err(ClockError::BeforeEpoch));
        assert_eq!(read(UNIX_EPOCH), Ok(0));
    }

    #[test]
    fn t03_the_far_future_is_an_error() {
        let last = UNIX_EPOCH + Duration::from_millis(253_402_300_799_999);
        assert_eq!(read(last), Ok(Timestamp::MAX.as_millis()));
        let beyond = last + Duration::from_millis(1);
        assert_eq!(read(beyond), Err(ClockError::AfterLimit));
        let forever = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
        assert_eq!(read(forever), Err(ClockError::AfterLimit));
        let late = Timestamp::try_from(last).unwrap();
        assert_eq!(late.plus(Duration::MAX), Err(ClockError::AfterLimit));
    }

    #[test]
    fn milliseconds_are_read_back() {
        assert_eq!(Timestamp::from_millis(Timestamp::MAX.as_millis()), Ok(Timestamp::MAX));
        assert_eq!(Timestamp::from_millis(-1), Err(ClockError::BeforeEpoch));
        assert_eq!(Timestamp::from_millis(i64::MAX), Err(ClockError::AfterLimit));
    }

    #[test]
    fn a_horizon_of_the_hosts_is_kept() {
        let clock = ManualClock::at_unix(100);
        let not_after = Timestamp::try_from(UNIX_EPOCH + Duration::from_secs(99)).unwrap();
        assert_eq!(Timestamp::read(&clock, not_after), Err(ClockError::AfterLimit));
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_no_time_passed() {
        let clock = ManualClock::at_unix(1000);
        clock.advance(Duration::from_secs(5));
        clock.set_wall(UNIX_EPOCH);
        assert_eq!(clock.wall(), UNIX_EPOCH);
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn the_systems_monotonic_clock_does_not_go_back() {
        let first = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= first);
    }
}
