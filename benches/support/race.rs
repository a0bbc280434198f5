use std::{env, time::Duration};

/// How much a run is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Figures.
    Full,
    /// Everything once, to see that it still runs.
    Once,
    /// Nothing.
    List,
}

/// Several ways to do one thing, sampled in turns, so that whatever else the machine does meets all
/// of them.
pub(crate) struct Race<'a, T = Duration> {
    runners: Vec<Box<dyn FnMut() -> T + 'a>>,
}

/// Of each runner: its median time, and the median ratio of the first runner's time to its own in
/// the same turn.
pub(crate) struct Standing {
    pub(crate) time: Duration,
    pub(crate) ratio: f64,
}

// === impl Effort ===

impl Effort {
    /// As divan understands the command line: without cargo's `--bench`, this is `cargo test`.
    pub(crate) fn from_args() -> Self {
        let has = |flag: &str| env::args().any(|arg| arg == flag);
        match () {
            () if has("--list") => Self::List,
            () if has("--test") || !has("--bench") => Self::Once,
            () => Self::Full,
        }
    }

    /// How often something is done that figures take so many times.
    pub(crate) fn turns(self, full: usize) -> usize {
        self.choose(full, 1)
    }

    pub(crate) fn choose<T>(self, full: T, once: T) -> T {
        if self == Self::Full { full } else { once }
    }

    pub(crate) fn is_measured(self) -> bool {
        self == Self::Full
    }

    /// What the figures are, for above their table.
    pub(crate) fn caption(self) -> &'static str {
        match self {
            Self::Full => "medians of samples taken in turns",
            Self::Once | Self::List => {
                "one sample of each, to see that they run: not a measurement"
            }
        }
    }
}

// === impl Race ===

impl<'a, T> Race<'a, T> {
    pub(crate) fn new() -> Self {
        Self { runners: Vec::new() }
    }

    /// The one whose ratios are asked for.
    pub(crate) fn of(first: impl FnMut() -> T + 'a) -> Self {
        Self::new().against(first)
    }

    pub(crate) fn against(mut self, other: impl FnMut() -> T + 'a) -> Self {
        self.runners.push(Box::new(other));
        self
    }

    /// What each runner measured, turn by turn.
    pub(crate) fn samples(mut self, turns: usize) -> Vec<Vec<T>> {
        let count = self.runners.len();
        let mut samples: Vec<_> = (0..count).map(|_| Vec::with_capacity(turns)).collect();
        for turn in 0..=turns {
            // Who begins changes, so that nobody always meets the caches that the same one left
            // behind.
            for position in 0..count {
                let runner = (turn + position) % count;
                let sample = self.runners[runner]();
                // The first turn warms up.
                if turn > 0 {
                    samples[runner].push(sample);
                }
            }
        }
        samples
    }
}

impl Race<'_> {
    pub(crate) fn run(self, turns: usize) -> Vec<Standing> {
        let times = self.samples(turns);
        let standing = |own: &Vec<Duration>| {
            let ratios = times[0]
                .iter()
                .zip(own)
                .map(|(first, own)| first.as_secs_f64() / own.as_secs_f64());
            let seconds = own.iter().map(Duration::as_secs_f64);
            Standing { time: Duration::from_secs_f64(median(seconds)), ratio: median(ratios) }
        };
        times.iter().map(standing).collect()
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
