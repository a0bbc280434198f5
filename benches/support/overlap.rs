use std::time::{Duration, Instant};

/// From when to when a thread was busy with one chunk of its work.
pub(crate) struct Span {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// What takes longer was interrupted: its thread had no core all the while.
const INTERRUPTED: Duration = Duration::from_micros(250);

/// How long a chunk takes one thread by itself.
pub(crate) fn alone(spans: &[Span]) -> Option<Duration> {
    let durations = spans.iter().filter(|span| !span.is_interrupted()).map(Span::duration);
    durations.clone().sum::<Duration>().checked_div(durations.count() as u32)
}

/// How long a chunk takes either of two threads, of what they do while both have a core.
///
/// On a machine with other work that is some of the time only. The rest of it tells about that
/// work, not about the threads, which don't meet meanwhile.
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
    // A few of them say nothing.
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
