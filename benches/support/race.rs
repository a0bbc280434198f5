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

/// Several ways to do one thing, sampled in turns, so that whatever else the machine does meets all of them.
pub(crate) struct Race<'a> {
    runners: Vec<Box<dyn FnMut() -> Duration + 'a>>,
}

/// Of each runner: its median time, and the median ratio of the first runner's time to its own in the same turn.
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

    pub(crate) fn turns(self, full: usize) -> usize {
        if self == Self::Full { full } else { 1 }
    }

    /// What the figures are, for above their table.
    pub(crate) fn caption(self) -> &'static str {
        match self {
            Self::Full => "medians of samples taken in turns",
            Self::Once | Self::List => "one sample of each, to see that they run: not a measurement",
        }
    }
}

// === impl Race ===

impl<'a> Race<'a> {
    /// The one whose ratios are asked for.
    pub(crate) fn of(first: impl FnMut() -> Duration + 'a) -> Self {
        Self { runners: vec![Box::new(first)] }
    }

    pub(crate) fn against(mut self, other: impl FnMut() -> Duration + 'a) -> Self {
        self.runners.push(Box::new(other));
        self
    }

    pub(crate) fn run(mut self, turns: usize) -> Vec<Standing> {
        let count = self.runners.len();
        let mut times = vec![Vec::with_capacity(turns); count];
        for turn in 0..=turns {
            // Who begins changes, so that nobody always meets the caches that the same one left behind.
            for position in 0..count {
                let runner = (turn + position) % count;
                let time = self.runners[runner]();
                // The first turn warms up.
                if turn > 0 {
                    times[runner].push(time);
                }
            }
        }
        let standing = |own: &Vec<Duration>| {
            let ratios = times[0].iter().zip(own).map(|(first, own)| first.as_secs_f64() / own.as_secs_f64());
            let seconds = own.iter().map(Duration::as_secs_f64);
            Standing { time: Duration::from_secs_f64(median(seconds)), ratio: median(ratios) }
        };
        times.iter().map(standing).collect()
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
