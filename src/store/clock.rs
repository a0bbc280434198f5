//! Times of the clock as numbers. A time before 1970 is 0.

use std::time::{Duration, SystemTime};

pub(in crate::store) fn micros_since_1970(time: SystemTime) -> u64 {
    u64::try_from(since_1970(time).as_micros()).unwrap_or(0)
}

pub(in crate::store) fn millis_since_1970(time: SystemTime) -> u64 {
    u64::try_from(since_1970(time).as_millis()).unwrap_or(0)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
