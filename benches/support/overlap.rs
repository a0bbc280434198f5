use std::time::{Duration, Instant};

/// The time in which a thread processed one chunk of requests.
pub(crate) struct Span {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// The duration above which the thread was interrupted while it processed the chunk.
const INTERRUPTED: Duration = Duration::from_micros(250);

/// The mean duration of a chunk on a single thread.
pub(crate) fn alone(spans: &[Span]) -> Option<Duration> {
    let durations = spans.iter().filter(|span| !span.is_interrupted()).map(Span::duration);
    durations.clone().sum::<Duration>().checked_div(durations.count() as u32)
}

/// The mean duration of a chunk on two threads, from the time in which both threads have a core.
///
/// On a machine with other load, the two threads run at once for a part of the time only. The rest
/// shows no contention between them.
pub(crate) fn together(mut spans: Vec<Span>) -> Option<Duration> {
    spans.retain(|span| !span.is_interrupted());
    spans.sort_by_key(|span| span.start);
    let (mut seconds, mut chunks) = (0.0, 0.0);
    for (n, span) in spans.iter().enumerate() {
        for other in spans[n + 1..].iter().take_while(|other| other.start < span.end) {
            let both = span.end.min(other.end).duration_since(other.start).as_secs_f64();
            seconds += 2.0 * both;
            chunks += both / span.duration().as_secs_f64() + both / other.duration().as_secs_f64();
        }
    }
    // `None` if the threads overlapped for too few chunks.
    (chunks >= 10.0).then(|| Duration::from_secs_f64(seconds / chunks))
}

// === impl Span ===

impl Span {
    fn duration(&self) -> Duration {
        self.end - self.start
    }

    fn is_interrupted(&self) -> bool {
        self.duration() > INTERRUPTED
    }
}
