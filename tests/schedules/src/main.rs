//! Runs each scenario under many schedules, and checks the guarantees of the module `session` in
//! each of them.
//!
//! ```text
//! schedules [--schedules N] [--seed N] [--delays N] [--scenario NAME]
//!           [--replay FILE] [--failures DIRECTORY] [--list]
//! ```
//!
//! Half of the schedules are random, and half come from a scheduler that looks for bugs with few
//! preemptions (PCT). Every schedule with at most `--delays` delays runs as well. A failure prints
//! the scenario and the seed, and writes the schedule to a file for `--replay`.

mod delays;
mod scenarios;
mod world;

use std::{
    error::Error,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use delays::DelayScheduler;
use lexopt::{Arg, Parser, ValueExt};
use scenarios::{SCENARIOS, Scenario};
use shuttle::{
    Config, FailurePersistence, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler},
};

struct Options {
    schedules: usize,
    seed: u64,
    delays: usize,
    scenario: Option<String>,
    replay: Option<PathBuf>,
    /// The folder for the schedules that fail.
    failures: PathBuf,
}

/// The number of preemptions that PCT looks for.
const PCT_DEPTH: usize = 4;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(options) = options()? else {
        for scenario in SCENARIOS {
            println!("{}", scenario.name);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let is_chosen =
        |scenario: &&Scenario| options.scenario.as_ref().is_none_or(|name| name == scenario.name);
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        return Err("there is no scenario of this name: see --list".into());
    }
    if let Some(file) = &options.replay {
        let [scenario] = chosen[..] else { return Err("--replay needs --scenario".into()) };
        let config = config(FailurePersistence::None);
        Runner::new(ReplayScheduler::new_from_file(file)?, config).run(|| scenario.run());
        println!("{}: the schedule passes", scenario.name);
        return Ok(ExitCode::SUCCESS);
    }

    fs::create_dir_all(&options.failures)?;
    println!("seed {}", options.seed);
    let each = options.schedules.div_ceil(chosen.len());
    let mut total = 0;
    for scenario in chosen {
        let start = Instant::now();
        let Some(count) = check(scenario, each, &options) else {
            println!(
                "FAILED: {}; again with --scenario {} --seed {} --schedules {each}",
                scenario.name, scenario.name, options.seed
            );
            return Ok(ExitCode::FAILURE);
        };
        println!("{:<55} {count:>8} schedules {:>7.1?}", scenario.name, start.elapsed());
        total += count;
    }
    println!("{total} schedules, and all guarantees hold");
    Ok(ExitCode::SUCCESS)
}

/// Returns the number of schedules, or `None` after a failure.
fn check(scenario: &'static Scenario, schedules: usize, options: &Options) -> Option<usize> {
    let Options { seed, delays, ref failures, .. } = *options;
    let half = schedules.div_ceil(2);
    let mut count = run(scenario, RandomScheduler::new_from_seed(seed, half), failures)?;
    count += run(scenario, PctScheduler::new_from_seed(seed, PCT_DEPTH, half), failures)?;
    count += run(scenario, DelayScheduler::new(delays), failures)?;
    Some(count)
}

fn run(
    scenario: &'static Scenario,
    scheduler: impl Scheduler + 'static,
    failures: &Path,
) -> Option<usize> {
    let failures = FailurePersistence::File(Some(failures.to_owned()));
    let runner = Runner::new(scheduler, config(failures));
    catch_unwind(AssertUnwindSafe(|| runner.run(|| scenario.run()))).ok()
}

fn config(failures: FailurePersistence) -> Config {
    let mut config = Config::new();
    config.failure_persistence = failures;
    config.max_steps = MaxSteps::FailAfter(20_000);
    config.stack_size = 0x2_0000;
    config
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = Options {
        schedules: 100_000,
        seed: now.as_nanos() as u64 % 1_000_000,
        delays: 2,
        scenario: None,
        replay: None,
        failures: "target/failures".into(),
    };
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("schedules") => options.schedules = parser.value()?.parse()?,
            Arg::Long("seed") => options.seed = parser.value()?.parse()?,
            Arg::Long("delays") => options.delays = parser.value()?.parse()?,
            Arg::Long("scenario") => options.scenario = Some(parser.value()?.string()?),
            Arg::Long("replay") => options.replay = Some(parser.value()?.into()),
            Arg::Long("failures") => options.failures = parser.value()?.into(),
            Arg::Long("list") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}
