//! Random schedules of the driver as pure steps. One schedule is one seed.
//!
//! `STORE_SEED` sets the first seed, and `STORE_SCHEDULES` the number of schedules.

use std::{collections::HashSet, env, thread};

use crate::store::stored::knowledge::tests::{
    replica::Activity,
    world::{Fault, Mutant, Weather, World},
};

const SCHEDULES: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("the variable is a number"))
}

/// A schedule that fails, of so many from `STORE_SEED` or else from a random one.
fn fault(weather: Weather, mutant: Mutant, schedules: u64) -> Option<(u64, Fault)> {
    let start = number("STORE_SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    println!("{schedules} schedules from STORE_SEED={start}");
    let seeds = start..start + schedules;
    let run = |seed| World::new(seed, weather, mutant).live().err().map(|fault| (seed, fault));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let mut seeds = seeds.clone().skip(first).step_by(threads);
                scope.spawn(move || seeds.find_map(run))
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().unwrap())
            .min_by_key(|(seed, _)| *seed)
    })
}

fn schedules() -> u64 {
    number("STORE_SCHEDULES").unwrap_or(SCHEDULES)
}

#[test]
fn g16_replicas_exchange_each_credential_once_while_the_store_keeps_what_it_acknowledged() {
    let fault = fault(Weather::Fair, Mutant::None, schedules());
    assert!(fault.is_none(), "STORE_SEED and the fault: {fault:?}");
}

#[test]
fn g17_no_replica_presents_a_credential_whose_successor_it_knows_even_if_the_store_goes_back() {
    let fault = fault(Weather::Foul, Mutant::None, schedules());
    assert!(fault.is_none(), "STORE_SEED and the fault: {fault:?}");
}

#[test]
fn processes_die_at_every_step() {
    let deaths: HashSet<_> = (0..1_000)
        .flat_map(|seed| {
            let mut world = World::new(seed, Weather::Fair, Mutant::None);
            assert_eq!(world.live(), Ok(()), "{seed}");
            world.deaths
        })
        .collect();
    let missing: Vec<_> =
        Activity::ALL.into_iter().filter(|activity| !deaths.contains(activity)).collect();
    assert!(missing.is_empty(), "no process died in {missing:?}");
}

#[test]
fn every_driver_that_is_wrong_on_purpose_is_caught() {
    let mutants = [
        (Mutant::BySaved, Weather::Fair),
        (Mutant::ByCredential, Weather::Foul),
        (Mutant::Reranked, Weather::Foul),
        (Mutant::NoSecondLook, Weather::Fair),
        (Mutant::NoKeptLease, Weather::Fair),
        (Mutant::OldAnswers, Weather::Fair),
        (Mutant::Overwrite, Weather::Fair),
    ];
    for (mutant, weather) in mutants {
        let fault = fault(weather, mutant, SCHEDULES);
        println!("{mutant:?}: {fault:?}");
        assert!(fault.is_some(), "{mutant:?} was not caught");
    }
}
