//! Virtual time. The clock moves only in [`advance`], so a scenario decides when a deadline passes.

pub use std::time::Duration;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    ops::{Add, AddAssign, Sub},
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time,
};

use crate::model::point;

pub mod error {
    /// The deadline of a `timeout` has passed.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Elapsed(pub(super) ());

    impl std::fmt::Display for Elapsed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("deadline has elapsed")
        }
    }

    impl std::error::Error for Elapsed {}
}

/// A time of the virtual clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(time::Instant);

/// A future that completes when the clock has reached its deadline.
pub struct Sleep {
    deadline: Instant,
    timer: Option<u64>,
}

/// A future with a deadline.
pub struct Timeout<F> {
    // The order of the fields is the order of the drops: the inner future goes first.
    inner: Pin<Box<F>>,
    sleep: Sleep,
}

/// The clock of one execution, which has one OS thread.
#[derive(Default)]
struct Clock {
    now: Duration,
    next_timer: u64,
    timers: BTreeMap<u64, (Duration, Waker)>,
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

pub fn sleep(duration: Duration) -> Sleep {
    Sleep { deadline: Instant::now() + duration, timer: None }
}

pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout { inner: Box::pin(future.into_future()), sleep: sleep(duration) }
}

/// Moves the clock on, and wakes the timers that are due then.
pub fn advance(duration: Duration) {
    point();
    let due: Vec<Waker> = CLOCK.with_borrow_mut(|clock| {
        clock.now += duration;
        let now = clock.now;
        let due = clock.timers.extract_if(.., |_, (deadline, _)| *deadline <= now);
        due.map(|(_, (_, waker))| waker).collect()
    });
    due.into_iter().for_each(Waker::wake);
}

pub(crate) fn reset() {
    CLOCK.take();
}

fn origin() -> time::Instant {
    static ORIGIN: OnceLock<time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(time::Instant::now)
}

// === impl Instant ===

impl Instant {
    pub fn now() -> Self {
        Self(origin() + CLOCK.with_borrow(|clock| clock.now))
    }

    pub fn from_std(instant: time::Instant) -> Self {
        Self(instant)
    }

    pub fn into_std(self) -> time::Instant {
        self.0
    }

    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0)
    }

    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_duration_since(earlier.0)
    }

    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl From<time::Instant> for Instant {
    fn from(instant: time::Instant) -> Self {
        Self(instant)
    }
}

// === impl Sleep ===

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        point();
        let deadline = self.deadline.0.saturating_duration_since(origin());
        CLOCK.with_borrow_mut(|clock| {
            if clock.now >= deadline {
                return Poll::Ready(());
            }
            let timer = *self.timer.get_or_insert_with(|| {
                clock.next_timer += 1;
                clock.next_timer
            });
            clock.timers.insert(timer, (deadline, cx.waker().clone()));
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(timer) = self.timer else { return };
        // The waker is dropped after the borrow.
        let timer = CLOCK.try_with(|clock| clock.try_borrow_mut().ok()?.timers.remove(&timer)).ok();
        drop(timer);
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

// === impl Timeout ===

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, error::Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.inner.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| Err(error::Elapsed(())))
    }
}
