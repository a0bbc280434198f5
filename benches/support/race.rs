use std::{env, time::Duration};

/// The amount of work of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough samples for figures.
    Full,
    /// Everything once, to check that it runs.
    Once,
    /// No work, for `--list`.
    List,
}

/// Several runners that are sampled in turns, so that other load on the machine affects all of them
/// alike.
pub(crate) struct Race<'a, T = Duration> {
    runners: Vec<Box<dyn FnMut() -> T + 'a>>,
}

/// The median time of a runner, and the median ratio of the first runner's time to its own in the
/// same turn.
pub(crate) struct Standing {
    pub(crate) time: Duration,
    pub(crate) ratio: f64,
}

// === impl Effort ===

impl Effort {
    /// Reads the command line as divan does. Without `--bench`, which cargo passes, the run is a
    /// test.
    pub(crate) fn from_args() -> Self {
        let has = |flag: &str| env::args().any(|arg| arg == flag);
        match () {
            () if has("--list") => Self::List,
            () if has("--test") || !has("--bench") => Self::Once,
            () => Self::Full,
        }
    }

    /// The number of turns, which is `full` for figures.
    pub(crate) fn turns(self, full: usize) -> usize {
        self.choose(full, 1)
    }

    pub(crate) fn choose<T>(self, full: T, once: T) -> T {
        if self == Self::Full { full } else { once }
    }

    pub(crate) fn is_measured(self) -> bool {
        self == Self::Full
    }

    /// A caption for the tables, which says whether their figures are measured.
    pub(crate) fn caption(self) -> &'static str {
        match self {
            Self::Full => "medians of samples taken in turns",
            Self::Once | Self::List => {
                "one sample of each, to check that they run: not a measurement"
            }
        }
    }
}

// === impl Race ===

impl<'a, T> Race<'a, T> {
    pub(crate) fn new() -> Self {
        Self { runners: Vec::new() }
    }

    /// A race whose first runner is compared with the others.
    pub(crate) fn of(first: impl FnMut() -> T + 'a) -> Self {
        Self::new().against(first)
    }

    pub(crate) fn against(mut self, other: impl FnMut() -> T + 'a) -> Self {
        self.runners.push(Box::new(other));
        self
    }

    /// The samples of each runner, turn by turn.
    pub(crate) fn samples(mut self, turns: usize) -> Vec<Vec<T>> {
        let count = self.runners.len();
        let mut samples: Vec<_> = (0..count).map(|_| Vec::with_capacity(turns)).collect();
        for turn in 0..=turns {
            // The first runner of a turn changes, so that no runner always follows the same one and
            // the state of its caches.
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
