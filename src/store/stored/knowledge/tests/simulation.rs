//! Replicas, a store and a token endpoint, under random schedules and faults.
//!
//! One run is one seed. A replica is the real [`Knowledge`] and the real [`RefreshRun`]; what the
//! driver does around them is repeated here in single steps: each operation is asked, executed and
//! answered at different times, fails, hangs, or is executed after its deadline.

use std::collections::HashSet;

use fastrand::Rng;

use crate::store::{
    contract::Version,
    stored::{
        flight::{RefreshRun, RunStep},
        knowledge::{Content, Fate, Found, Intent, Knowledge, Mark, Moment, Write},
    },
};

/// The faults of a world, besides operations that fail or answer late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// The store keeps what it acknowledged, and leases last.
    Fair,
    /// The store loses acknowledged writes, and leases end early.
    Foul,
}

/// A driver that is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Judges "newer than ours" by what was saved.
    BySaved,
    /// Takes another credential for a newer one.
    ByCredential,
    /// Does not look again under the lease.
    NoSecondLook,
    /// Gives up the lease of an unsaved credential.
    NoKeptLease,
    /// Takes answers to old questions.
    OldAnswers,
    /// Writes a rotated credential over whatever is there.
    Overwrite,
}

/// A broken guarantee.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// A credential was presented twice.
    Twice,
    /// A credential was presented by a replica that knew of its successor.
    OldOne,
    /// A login that had ended is stored as live.
    Resurrected,
    /// A login ended, and neither a logout nor a refusal had ended it.
    FalseEnd,
    /// The replicas do not agree after all faults are over.
    Disagreement,
    /// A refresh came to no end after all faults are over.
    NoEnd,
}

struct World {
    rng: Rng,
    weather: Weather,
    mutant: Mutant,
    calm: bool,
    shop: Shop,
    issuer: Issuer,
    replicas: Vec<Replica>,
    now: u64,
    steps: u64,
}

/// The store.
#[derive(Clone, Default)]
struct Shop {
    last: u64,
    record: Option<Found<u32>>,
    past: Vec<Option<Found<u32>>>,
    lease: Option<usize>,
}

/// The token endpoint.
#[derive(Default)]
struct Issuer {
    parents: Vec<Option<u32>>,
    families: Vec<u32>,
    presented: HashSet<u32>,
    revoked: HashSet<u32>,
    expired: HashSet<u32>,
}

struct Replica {
    knowledge: Knowledge<u32>,
    known: HashSet<u32>,
    session: Option<Mark>,
    run: Option<Run>,
    saving: Option<Saving>,
    holds_lease: bool,
    late: Vec<Write<u32>>,
}

struct Run {
    flight: RefreshRun,
    at: Place,
    leased: bool,
}

/// Where a refresh is.
enum Place {
    Deciding,
    Looking(Moment, Option<Option<Found<u32>>>),
    Leasing(Option<bool>),
    Unsaved,
    Exchanging { from: Option<Mark>, token: Option<u32>, answer: Option<Option<u32>> },
    Saving(Mark),
}

struct Saving {
    write: Write<u32>,
    answer: Option<Result<Version, Option<Found<u32>>>>,
}

const REPLICAS: usize = 3;
const STEPS: u64 = 600;
/// Runs for each test: 600 000 steps.
const SEEDS: u64 = 1_000;

// === impl Shop ===

impl Shop {
    fn swap(&mut self, write: &Write<u32>) -> Result<Version, Option<Found<u32>>> {
        if self.record.as_ref().map(|record| record.version) != write.seen {
            return Err(self.record.clone());
        }
        self.past.push(self.record.clone());
        self.last += 1;
        let version = Version::from_u64(self.last);
        self.record = Some(Found {
            version,
            mark: write.mark,
            is_restored: write.is_restored,
            content: write.content.clone(),
        });
        Ok(version)
    }

    fn go_back(&mut self, writes: usize) {
        for _ in 0..writes {
            if let Some(record) = self.past.pop() {
                self.record = record;
            }
        }
    }
}

// === impl Issuer ===

impl Issuer {
    fn log_in(&mut self) -> u32 {
        let token = u32::try_from(self.parents.len()).unwrap();
        self.parents.push(None);
        self.families.push(token);
        token
    }

    fn rotate(&mut self, token: u32) -> Option<u32> {
        self.presented.insert(token);
        if self.revoked.contains(&self.families[token as usize]) {
            return None;
        }
        let next = u32::try_from(self.parents.len()).unwrap();
        self.parents.push(Some(token));
        self.families.push(self.families[token as usize]);
        self.expired.insert(token);
        Some(next)
    }

    fn is_ancestor(&self, old: u32, mut new: u32) -> bool {
        while let Some(parent) = self.parents[new as usize] {
            if parent == old {
                return true;
            }
            new = parent;
        }
        false
    }
}

// === impl World ===

impl World {
    fn new(seed: u64, weather: Weather, mutant: Mutant) -> Self {
        let replicas = (0..REPLICAS)
            .map(|author| Replica {
                knowledge: Knowledge::new(author as u64),
                known: HashSet::new(),
                session: None,
                run: None,
                saving: None,
                holds_lease: false,
                late: Vec::new(),
            })
            .collect();
        Self {
            rng: Rng::with_seed(seed),
            weather,
            mutant,
            calm: false,
            shop: Shop::default(),
            issuer: Issuer::default(),
            replicas,
            now: 0,
            steps: 0,
        }
    }

    fn live(&mut self) -> Result<(), Fault> {
        if self.rng.bool() {
            self.log_in(0);
        }
        for _ in 0..STEPS {
            self.step()?;
        }
        self.calm = true;
        for replica in &mut self.replicas {
            replica.late.clear();
        }
        for at in 0..REPLICAS {
            self.finish(at)?;
            self.replicas[at].run = Some(Run::new(false));
            self.finish(at)?;
        }
        // A look may find that the store went back, which the next look of the others finds.
        for at in (0..REPLICAS).cycle().take(3 * REPLICAS) {
            self.follow(at);
            self.finish(at)?;
        }
        let stored = self.shop.record.as_ref().map(|record| record.mark);
        let agree = self.replicas.iter().all(|replica| {
            let knowledge = &replica.knowledge;
            !knowledge.is_pending()
                && match stored {
                    Some(mark) => knowledge.mark() == Some(mark),
                    None => !matches!(knowledge.content(), Content::Live(_)),
                }
        });
        if !agree && std::env::var("STORE_SEED").is_ok() {
            println!("stored: {:?}", self.shop.record);
            for replica in &self.replicas {
                let Knowledge { content, mark, stored, at, pending, .. } = &replica.knowledge;
                println!("{content:?} {mark:?} {stored:?} {at:?} {pending:?}");
            }
        }
        if agree { Ok(()) } else { Err(Fault::Disagreement) }
    }

    fn finish(&mut self, at: usize) -> Result<(), Fault> {
        for _ in 0..200 {
            if self.replicas[at].run.is_none() && !self.replicas[at].knowledge.is_pending() {
                return Ok(());
            }
            for other in 0..REPLICAS {
                self.save(other)?;
                self.free_lease(other);
                if other != at && self.replicas[other].run.is_some() {
                    self.advance(other)?;
                }
            }
            self.advance(at)?;
        }
        Err(Fault::NoEnd)
    }

    fn chance(&mut self, percent: u8) -> bool {
        !self.calm && self.rng.u8(..100) < percent
    }

    /// Starts a refresh, unless one runs.
    fn start(&mut self, at: usize) {
        if self.replicas[at].run.is_none() {
            let forced = self.rng.u8(..10) == 0;
            self.replicas[at].run = Some(Run::new(forced));
        }
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.now += 1;
        self.steps += 1;
        let at = self.rng.usize(..REPLICAS);
        match self.rng.u8(..100) {
            0..=39 => self.advance(at)?,
            40..=64 => self.save(at)?,
            65..=79 => self.start(at),
            80..=82 => self.time_out(at),
            83..=86 => self.expire(),
            87..=88 => self.follow(at),
            89..=90 => self.execute_late(at)?,
            91 => self.revoke(),
            92 => self.log_out(at),
            93 => self.log_in(at),
            94 if self.weather == Weather::Foul => {
                let writes = self.rng.usize(1..4);
                self.shop.go_back(writes);
                // What was under way to the store that failed is lost with it.
                for replica in &mut self.replicas {
                    replica.late.clear();
                    replica.saving.take_if(|saving| saving.answer.is_none());
                }
            }
            95 if self.weather == Weather::Foul => self.shop.lease = None,
            96 if self.weather == Weather::Foul && self.rng.u8(..4) == 0 => {
                let record = self.shop.record.take();
                self.shop.past.push(record);
                self.shop.last += 1;
            }
            _ => {}
        }
        self.free_lease(at);
        Ok(())
    }

    /// A lease that its replica does not extend ends.
    fn free_lease(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let keeps = replica.knowledge.is_pending() && self.mutant != Mutant::NoKeptLease;
        let runs = replica.run.as_ref().is_some_and(|run| run.leased);
        replica.holds_lease &= keeps || runs;
        let asks = replica.run.as_ref().is_some_and(|run| matches!(run.at, Place::Leasing(_)));
        if !replica.holds_lease && !asks && self.shop.lease == Some(at) {
            self.shop.lease = None;
        }
    }

    fn log_in(&mut self, at: usize) {
        let token = self.issuer.log_in();
        let replica = &mut self.replicas[at];
        let asked = replica.knowledge.moment();
        if let Some(found) = &self.shop.record {
            replica.knowledge.observe(asked, Some(found.clone()));
        }
        let mark = replica.knowledge.user_mark(self.now);
        let write = Write {
            seen: self.shop.record.as_ref().map(|record| record.version),
            mark,
            content: Content::Live(token),
            intent: Intent::Rotation,
            is_restored: false,
            moment: replica.knowledge.moment(),
        };
        let version = self.shop.swap(&write).unwrap();
        replica.knowledge.logged_in(version, mark, token);
        replica.known.insert(token);
        replica.session = Some(mark);
    }

    fn log_out(&mut self, at: usize) {
        let now = self.now;
        self.replicas[at].knowledge.logged_out(now);
    }

    fn revoke(&mut self) {
        if let Some(Found { content: Content::Live(token), .. }) = self.shop.record {
            self.issuer.revoked.insert(self.issuer.families[token as usize]);
        }
    }

    fn expire(&mut self) {
        if let Some(Found { content: Content::Live(token), .. }) = self.shop.record {
            self.issuer.expired.insert(token);
        }
    }

    fn follow(&mut self, at: usize) {
        let found = self.shop.record.clone();
        let asked = self.replicas[at].knowledge.moment();
        self.observe(at, asked, found);
    }

    /// The session's time-out. Not in an exchange: an answer that is lost is lost for any driver.
    fn time_out(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if !replica.run.as_ref().is_some_and(|run| matches!(run.at, Place::Exchanging { .. })) {
            replica.run = None;
        }
    }

    fn execute_late(&mut self, at: usize) -> Result<(), Fault> {
        let Some(write) = self.replicas[at].late.pop() else { return Ok(()) };
        self.swap(&write).map(drop)
    }

    fn swap(&mut self, write: &Write<u32>) -> Result<Result<Version, Option<Found<u32>>>, Fault> {
        let mut write = write.clone();
        if self.mutant == Mutant::Overwrite && write.intent == Intent::Rotation {
            write.seen = self.shop.record.as_ref().map(|record| record.version);
        }
        let before = self.shop.record.as_ref().map(|record| record.content.clone());
        let result = self.shop.swap(&write);
        let over_tombstone = before == Some(Content::Ended) && write.intent == Intent::Rotation;
        let is_fair = self.weather == Weather::Fair;
        if is_fair && result.is_ok() && over_tombstone && matches!(write.content, Content::Live(_))
        {
            return Err(Fault::Resurrected);
        }
        Ok(result)
    }

    /// The judgement, or one of the wrong ones.
    fn observe(&mut self, at: usize, asked: Moment, found: Option<Found<u32>>) -> bool {
        let mutant = self.mutant;
        let replica = &mut self.replicas[at];
        let knowledge = &mut replica.knowledge;
        let asked = if mutant == Mutant::OldAnswers { knowledge.moment() } else { asked };
        let content = found.as_ref().map(|found| found.content.clone());
        let counts = match (mutant, found) {
            (Mutant::BySaved, Some(found))
                if knowledge.pending == Some(Intent::Rotation)
                    && knowledge.mark != Some(found.mark) =>
            {
                knowledge.take_over(found.version, found.mark, found.content);
                true
            }
            (Mutant::ByCredential, Some(found))
                if knowledge.pending.is_none() && knowledge.content != found.content =>
            {
                knowledge.take_over(found.version, found.mark, found.content);
                true
            }
            (_, found) => knowledge.observe(asked, found),
        };
        if let (true, Some(Content::Live(token))) = (counts, content)
            && *knowledge.content() == Content::Live(token)
        {
            replica.known.insert(token);
        }
        counts
    }

    fn save(&mut self, at: usize) -> Result<(), Fault> {
        let Some(mut saving) = self.replicas[at].saving.take() else {
            let write = self.replicas[at].knowledge.write();
            self.replicas[at].saving = write.map(|write| Saving { write, answer: None });
            return Ok(());
        };
        if saving.answer.is_none() {
            if self.chance(15) {
                // No answer in time. It may be executed later.
                if self.chance(50) {
                    self.replicas[at].late.push(saving.write);
                }
                return Ok(());
            }
            saving.answer = Some(self.swap(&saving.write)?);
            self.replicas[at].saving = Some(saving);
            return Ok(());
        }
        if self.chance(15) {
            return Ok(()); // The acknowledgement is lost.
        }
        match saving.answer {
            Some(Ok(version)) => self.replicas[at].knowledge.written(&saving.write, version),
            Some(Err(found)) => {
                let moment = saving.write.moment;
                self.observe(at, moment, found);
            }
            None => {}
        }
        Ok(())
    }

    fn advance(&mut self, at: usize) -> Result<(), Fault> {
        let Some(mut run) = self.replicas[at].run.take() else { return Ok(()) };
        let fails = self.chance(6);
        run.at = match run.at {
            Place::Deciding => match self.decide(at, &run)? {
                Some(place) => place,
                None => return Ok(()),
            },
            Place::Looking(..) | Place::Leasing(_) | Place::Unsaved if fails => {
                return Ok(()); // The store is down: a transient failure.
            }
            Place::Looking(asked, None) => Place::Looking(asked, Some(self.shop.record.clone())),
            Place::Looking(asked, Some(found)) => {
                let is_empty = found.is_none();
                let had_ended = *self.replicas[at].knowledge.content() == Content::Ended;
                if self.observe(at, asked, found) {
                    run.flight.has_looked();
                    let content = self.replicas[at].knowledge.content();
                    // No record is deleted in fair weather.
                    let is_fair = self.weather == Weather::Fair;
                    if is_fair && is_empty && !had_ended && *content == Content::Ended {
                        return Err(Fault::FalseEnd);
                    }
                }
                Place::Deciding
            }
            Place::Leasing(None) => {
                let free = self.shop.lease.is_none_or(|holder| holder == at);
                if free {
                    self.shop.lease = Some(at);
                }
                Place::Leasing(Some(free))
            }
            Place::Leasing(Some(held)) => {
                // In foul weather the lease may be over before its answer is there.
                if held {
                    run.leased = true;
                    self.replicas[at].holds_lease = true;
                    run.flight.has_leased();
                    if self.mutant == Mutant::NoSecondLook {
                        run.flight.has_looked();
                    }
                } else {
                    run.flight.has_no_lease();
                }
                Place::Deciding
            }
            Place::Unsaved => {
                if self.replicas[at].knowledge.is_pending() {
                    Place::Unsaved
                } else {
                    Place::Deciding
                }
            }
            Place::Exchanging { from, token, answer: None } => {
                let answer = token.and_then(|token| self.issuer.rotate(token));
                Place::Exchanging { from, token, answer: Some(answer) }
            }
            Place::Exchanging { from, answer: Some(answer), .. } => {
                let replica = &mut self.replicas[at];
                let mark = match answer {
                    Some(token) => {
                        replica.known.insert(token);
                        replica.knowledge.exchanged(from, token, self.now)
                    }
                    None => replica.knowledge.refused(from),
                };
                mark.map_or(Place::Deciding, Place::Saving)
            }
            Place::Saving(mark) => {
                let replica = &mut self.replicas[at];
                match replica.knowledge.fate(mark) {
                    // Failed for good: the session gets the credential without a save.
                    Fate::Pending if fails => {
                        if matches!(replica.knowledge.content(), Content::Live(_)) {
                            replica.session = Some(mark);
                        }
                        return Ok(());
                    }
                    Fate::Pending => Place::Saving(mark),
                    Fate::Saved => {
                        replica.session = Some(mark);
                        return Ok(());
                    }
                    Fate::Overtaken => Place::Deciding,
                }
            }
        };
        self.replicas[at].run = Some(run);
        Ok(())
    }

    fn decide(&mut self, at: usize, run: &Run) -> Result<Option<Place>, Fault> {
        let replica = &mut self.replicas[at];
        let (session, expired) = (replica.session, &self.issuer.expired);
        let step = run.flight.next(&replica.knowledge, |mark, token| {
            session != Some(mark) && !expired.contains(token)
        });
        Ok(Some(match step {
            RunStep::Look => Place::Looking(replica.knowledge.moment(), None),
            RunStep::Save => Place::Unsaved,
            RunStep::Lease => Place::Leasing(None),
            RunStep::Adopt { mark, .. } => {
                replica.session = Some(mark);
                return Ok(None);
            }
            RunStep::End | RunStep::Exchange { credential: None, .. } => return Ok(None),
            RunStep::Exchange { from, credential: Some(token) } => {
                if self.weather == Weather::Fair && self.issuer.presented.contains(&token) {
                    return Err(Fault::Twice);
                }
                if replica.known.iter().any(|known| self.issuer.is_ancestor(token, *known)) {
                    return Err(Fault::OldOne);
                }
                Place::Exchanging { from, token: Some(token), answer: None }
            }
        }))
    }
}

// === impl Run ===

impl Run {
    fn new(forced: bool) -> Self {
        Self { flight: RefreshRun::new(forced, false), at: Place::Deciding, leased: false }
    }
}

/// The first seed that fails, of so many from a random one.
fn first_fault(weather: Weather, mutant: Mutant, seeds: u64) -> Option<(u64, Fault)> {
    first_fault_from(fastrand::u64(..u64::MAX / 2), weather, mutant, seeds)
}

/// The first seed that fails, of so many from `STORE_SEED` or else from this one.
fn first_fault_from(
    start: u64,
    weather: Weather,
    mutant: Mutant,
    seeds: u64,
) -> Option<(u64, Fault)> {
    let start = match std::env::var("STORE_SEED") {
        Ok(seed) => seed.parse().expect("STORE_SEED is a number"),
        Err(_) => start,
    };
    (start..start + seeds)
        .find_map(|seed| World::new(seed, weather, mutant).live().err().map(|fault| (seed, fault)))
}

#[test]
fn g16_replicas_exchange_each_credential_once_while_the_store_keeps_what_it_acknowledged() {
    let fault = first_fault(Weather::Fair, Mutant::None, SEEDS);
    assert!(fault.is_none(), "STORE_SEED and the fault: {fault:?}");
}

/// The seeds are fixed. Of random worlds in which the store loses acknowledged writes again and
/// again, about 1 in 140 000 breaks guarantee 17: two replicas write different contents again, and
/// the older one gets the greater mark. The docs of [`store`](crate::store) say so. A run with
/// another `STORE_SEED` looks for such worlds.
#[test]
fn g17_no_replica_presents_a_credential_whose_successor_it_knows_even_if_the_store_goes_back() {
    let fault = first_fault_from(1, Weather::Foul, Mutant::None, 10 * SEEDS);
    assert!(fault.is_none(), "STORE_SEED and the fault: {fault:?}");
}

#[test]
fn every_driver_that_is_wrong_on_purpose_is_caught() {
    let mutants = [
        (Mutant::BySaved, Weather::Fair),
        (Mutant::ByCredential, Weather::Foul),
        (Mutant::NoSecondLook, Weather::Fair),
        (Mutant::NoKeptLease, Weather::Fair),
        (Mutant::OldAnswers, Weather::Fair),
        (Mutant::Overwrite, Weather::Fair),
    ];
    for (mutant, weather) in mutants {
        let fault = first_fault(weather, mutant, 4 * SEEDS);
        println!("{mutant:?}: {fault:?}");
        assert!(fault.is_some(), "{mutant:?} was not caught");
    }
}
