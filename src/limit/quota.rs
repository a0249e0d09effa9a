//! Quotas, and the generic cell rate algorithm as a pure function.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::issue::InvalidValue;

const INVALID_QUOTA: InvalidValue = InvalidValue::new(
    "invalid quota: needs 1 or more per `second`, `minute`, `hour` or `day`, such as 20/minute",
);

/// A burst that is refilled evenly over a period: `5/min` is a burst of five, and one more
/// every twelve seconds.
///
/// A text names the period in full or in short: `second` or `s`, `minute` or `min`,
/// `hour` or `h`, `day` or `d`.
///
/// ```
/// use signup::limit::Quota;
///
/// let quota: Quota = "5/min".parse().unwrap();
/// assert_eq!((quota.burst().get(), quota.period().as_secs()), (5, 60));
/// assert_eq!("5/minute".parse(), Ok(quota));
/// assert!("5".parse::<Quota>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    burst: NonZeroU32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Quota {
    /// Creates a quota of `burst` per second.
    pub const fn per_second(burst: NonZeroU32) -> Self {
        Self { burst, unit: Unit::Second }
    }

    /// Creates a quota of `burst` per minute.
    pub const fn per_minute(burst: NonZeroU32) -> Self {
        Self { burst, unit: Unit::Minute }
    }

    /// Creates a quota of `burst` per hour.
    pub const fn per_hour(burst: NonZeroU32) -> Self {
        Self { burst, unit: Unit::Hour }
    }

    /// Creates a quota of `burst` per day.
    pub const fn per_day(burst: NonZeroU32) -> Self {
        Self { burst, unit: Unit::Day }
    }

    /// Returns the burst.
    pub const fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Returns the time to refill a full burst.
    pub const fn period(&self) -> Duration {
        match self.unit {
            Unit::Second => Duration::from_secs(1),
            Unit::Minute => Duration::from_mins(1),
            Unit::Hour => Duration::from_hours(1),
            Unit::Day => Duration::from_hours(24),
        }
    }

    /// Multiplies the burst, in the same period.
    pub(super) const fn times(self, factor: u32) -> Self {
        let burst = self.burst.saturating_mul(match NonZeroU32::new(factor) {
            Some(factor) => factor,
            None => NonZeroU32::MIN,
        });
        Self { burst, ..self }
    }

    /// Returns the time to refill one, in nanoseconds. Rates above 10⁹ per second are
    /// clamped.
    pub(super) fn interval(self) -> u64 {
        let nanos = self.period().as_nanos() / u128::from(self.burst.get());
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }

    /// Applies GCRA (ITU-T I.371). The whole state of a bucket is its *theoretical arrival
    /// time*: when it will be full again, in nanoseconds of a monotonic clock; one in the
    /// past, or 0, is a full bucket.
    ///
    /// Returns the next state, or how long to wait.
    pub(super) fn take(self, arrival: u64, now: u64) -> Result<u64, Duration> {
        let interval = self.interval();
        let tolerance = interval.saturating_mul(self.burst.get().into());
        let next = arrival.max(now).saturating_add(interval);
        match next.saturating_sub(tolerance).checked_sub(now) {
            None | Some(0) => Ok(next),
            Some(early) => Err(Duration::from_nanos(early)),
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => "s",
            Unit::Minute => "min",
            Unit::Hour => "h",
            Unit::Day => "d",
        };
        write!(f, "{}/{unit}", self.burst)
    }
}

impl FromStr for Quota {
    type Err = InvalidValue;

    fn from_str(quota: &str) -> Result<Self, InvalidValue> {
        let (burst, unit) = quota.split_once('/').ok_or(INVALID_QUOTA)?;
        // A sign would be accepted, too.
        if !burst.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(INVALID_QUOTA);
        }
        let burst = burst.parse().map_err(|_| INVALID_QUOTA)?;
        let unit = match unit {
            "s" | "second" => Unit::Second,
            "min" | "minute" => Unit::Minute,
            "h" | "hour" => Unit::Hour,
            "d" | "day" => Unit::Day,
            _ => return Err(INVALID_QUOTA),
        };
        Ok(Self { burst, unit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Returns which of the moments `asked` are allowed.
    fn passed(quota: &str, asked: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (quota, mut state): (Quota, u64) = (quota.parse().unwrap(), 0);
        let mut passed = Vec::new();
        for now in asked {
            if let Ok(next) = quota.take(state, now) {
                state = next;
                passed.push(now);
            }
        }
        passed
    }

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let at_once = passed("5/min", [7; 20]);
        assert_eq!(at_once, [7; 5]);
        let each_second = passed("5/min", (0..61).map(|second| second * SECOND));
        let expected = [0, 1, 2, 3, 4, 12, 24, 36, 48, 60].map(|second| second * SECOND);
        assert_eq!(each_second, expected);
    }

    #[test]
    fn q03_the_wait_is_exact_to_the_nanosecond() {
        let quota: Quota = "5/min".parse().unwrap();
        let now = 1000 * SECOND;
        let empty = (0..5).fold(0, |state, _| quota.take(state, now).unwrap());
        assert_eq!(quota.take(empty, now), Err(Duration::from_secs(12)));
        assert_eq!(quota.take(empty, now + 12 * SECOND - 1), Err(Duration::from_nanos(1)));
        assert!(quota.take(empty, now + 12 * SECOND).is_ok());
        // After the period it is as full as at first.
        assert_eq!(quota.take(empty, now + 60 * SECOND), quota.take(0, now + 60 * SECOND));
    }

    #[test]
    fn a_quota_is_read_as_it_is_written() {
        for text in ["1/s", "20/min", "100/h", "4294967295/d"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        for (long, short) in
            [("1/second", "1/s"), ("20/minute", "20/min"), ("100/hour", "100/h"), ("5/day", "5/d")]
        {
            assert_eq!(long.parse::<Quota>(), short.parse::<Quota>());
        }
        for text in [
            "",
            "20",
            "20/",
            "/min",
            "0/min",
            "-1/min",
            "+1/min",
            "20/m",
            "20/MIN",
            "20/minutes",
            "20 / minute",
            "4294967296/s",
        ] {
            assert_eq!(text.parse::<Quota>(), Err(INVALID_QUOTA), "{text}");
        }
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let quota: Quota = "1/d".parse().unwrap();
        assert!(quota.take(u64::MAX, u64::MAX).is_ok());
        assert!(quota.take(u64::MAX, 0).is_err());
        let fast: Quota = "4294967295/s".parse().unwrap();
        assert!(fast.take(0, 0).is_ok());
    }
}
