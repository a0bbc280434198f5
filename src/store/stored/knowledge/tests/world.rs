//! Replicas, a store and a token endpoint, under one random schedule with faults.
//!
//! A replica is the real [`Knowledge`](crate::store::stored::knowledge::Knowledge) and the real
//! [`RefreshRun`](crate::store::stored::flight::RefreshRun) and
//! [`LoginWrite`](crate::store::stored::login::LoginWrite). The loops of the driver around them are
//! repeated here in single steps: each operation is asked, executed and answered at different
//! times, fails, hangs, or is executed after its deadline, and each process may die between any two
//! steps.

use fastrand::Rng;

use crate::store::stored::{
    flight::RunStep,
    knowledge::{
        Content, Fate, Found, Moment,
        tests::{
            backend::{Answer, Issuer, Order, Shop, Tokens},
            replica::{Activity, Login, LoginPlace, Place, Replica, Run, Saving},
        },
    },
    login::LoginWrite,
    rank::Rank,
};

/// The faults of a world, besides operations that fail or answer late, and processes that die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// The store keeps what it acknowledged, and leases last.
    Fair,
    /// The store loses acknowledged writes and records, and leases end early.
    Foul,
}

/// A driver that is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    /// Judges "newer than ours" by what was saved.
    BySaved,
    /// Takes another credential for a newer one.
    ByCredential,
    /// Gives a content that it writes again a rank above all that it has seen.
    Reranked,
    /// Does not look again under the lease.
    NoSecondLook,
    /// Gives up the lease of an unsaved credential.
    NoKeptLease,
    /// Takes answers to old questions.
    OldAnswers,
    /// Writes a credential over whatever is there.
    Overwrite,
}

/// A broken guarantee.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A credential was presented twice, and its successor had not died with its process.
    Twice,
    /// A credential was presented by a replica that knew of its successor.
    OldOne,
    /// A login that had ended is stored as live.
    Resurrected,
    /// An older content was written over a newer one.
    Regressed,
    /// A login ended, and neither a logout nor a refusal had ended it.
    FalseEnd,
    /// The replicas do not agree after all faults are over.
    Disagreement,
    /// A refresh came to no end after all faults are over.
    NoEnd,
}

pub(super) struct World {
    rng: Rng,
    weather: Weather,
    mutant: Mutant,
    calm: bool,
    shop: Shop,
    issuer: Issuer,
    replicas: Vec<Replica>,
    /// Writes whose deadline has passed.
    late: Vec<Order>,
    /// The families of the logins that a stored tombstone has ended.
    ended: Tokens,
    authors: u64,
    now: u64,
    /// The operations that deaths of processes have broken off.
    pub(super) deaths: Vec<Activity>,
}

const REPLICAS: usize = 3;
const STEPS: u64 = 100;

impl World {
    pub(super) fn new(seed: u64, weather: Weather, mutant: Mutant) -> Self {
        let mut rng = Rng::with_seed(seed);
        // No order of authors is special.
        let authors = rng.u64(..u64::MAX / 2);
        Self {
            rng,
            weather,
            mutant,
            calm: false,
            shop: Shop::default(),
            issuer: Issuer::default(),
            replicas: (0..REPLICAS as u64).map(|at| Replica::new(authors ^ at)).collect(),
            late: Vec::new(),
            ended: Tokens::default(),
            authors: authors + REPLICAS as u64,
            now: 0,
            deaths: Vec::new(),
        }
    }

    /// Lives through all faults, and then through a calm in which the replicas come to agree.
    pub(super) fn live(&mut self) -> Result<(), Fault> {
        if self.rng.u8(..8) > 0 {
            self.log_in(0);
            while self.replicas[0].login.is_some() {
                self.advance_login(0)?;
            }
        }
        for _ in 0..STEPS {
            self.step()?;
        }
        self.calm = true;
        self.late.clear();
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
        if self.agrees() { Ok(()) } else { Err(Fault::Disagreement) }
    }

    fn agrees(&self) -> bool {
        let stored = self.shop.record.as_ref().map(|record| record.rank);
        self.replicas.iter().all(|Replica { knowledge, .. }| {
            !knowledge.is_pending()
                && match stored {
                    Some(rank) => knowledge.rank() == Some(rank),
                    None => !matches!(knowledge.content(), Content::Live(_)),
                }
        })
    }

    fn finish(&mut self, at: usize) -> Result<(), Fault> {
        for _ in 0..200 {
            if self.replicas[at].is_at_rest() {
                return Ok(());
            }
            for other in 0..REPLICAS {
                self.advance_login(other)?;
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

    fn step(&mut self) -> Result<(), Fault> {
        self.now += 1;
        let at = self.rng.usize(..REPLICAS);
        match self.rng.u8(..100) {
            0..=57 => {
                self.start(at);
                self.advance(at)?;
            }
            58..=72 => self.save(at)?,
            73..=77 => self.advance_login(at)?,
            78..=79 => self.time_out(at),
            80..=82 => self.expire(),
            83..=85 => self.follow(at),
            86..=87 => self.execute_late()?,
            88 if self.rng.u8(..3) == 0 => self.revoke(),
            89 if self.rng.u8(..3) == 0 => self.log_out(at),
            90 if self.rng.bool() => self.log_in(at),
            91..=93 => self.die(at),
            95 if self.weather == Weather::Foul => {
                let (writes, reuses_versions) = (self.rng.usize(1..4), self.rng.bool());
                self.shop.go_back(writes, reuses_versions);
                // Writes on their way to the store that failed are lost with it.
                self.late.clear();
                for replica in &mut self.replicas {
                    replica.saving.take_if(|saving| saving.answer.is_none());
                }
            }
            96 if self.weather == Weather::Foul => self.shop.lease = None,
            97 if self.weather == Weather::Foul && self.rng.u8(..4) == 0 => self.shop.delete(),
            _ => {}
        }
        self.free_lease(at);
        Ok(())
    }

    /// The process dies, and another one starts in its place.
    fn die(&mut self, at: usize) {
        self.authors += 1;
        let heir = Replica::new(self.authors);
        let dead = std::mem::replace(&mut self.replicas[at], heir);
        self.deaths.extend(dead.activities());
        self.late.extend(dead.die(&self.shop, &mut self.issuer));
        self.follow(at);
    }

    /// Ends the lease of a replica that does not extend it, or of one that has died.
    fn free_lease(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let keeps = replica.knowledge.is_pending() && self.mutant != Mutant::NoKeptLease;
        let runs = replica.run.as_ref().is_some_and(|run| run.leased);
        replica.holds_lease &= keeps || runs;
        let asks = replica.run.as_ref().is_some_and(|run| matches!(run.at, Place::Leasing(_)));
        if !replica.holds_lease && !asks && self.shop.lease == Some(replica.author) {
            self.shop.lease = None;
        }
        let mut authors = self.replicas.iter().map(|replica| Some(replica.author));
        if !authors.any(|author| author == self.shop.lease) {
            self.shop.lease = None;
        }
    }

    /// Starts a refresh, unless one runs.
    fn start(&mut self, at: usize) {
        if self.replicas[at].run.is_none() {
            let forced = self.rng.u8(..10) == 0;
            self.replicas[at].run = Some(Run::new(forced));
        }
    }

    /// Starts a login, unless one runs.
    fn log_in(&mut self, at: usize) {
        if self.replicas[at].login.is_none() {
            let token = self.issuer.log_in();
            self.replicas[at].known.insert(token);
            self.replicas[at].login = Some(Login { token, at: LoginPlace::Looking });
        }
    }

    fn log_out(&mut self, at: usize) {
        let now = self.clock();
        self.replicas[at].knowledge.logged_out(now);
    }

    /// The time by one of the clocks, which differ.
    fn clock(&mut self) -> u64 {
        self.now + self.rng.u64(..50)
    }

    fn revoke(&mut self) {
        if let Some(Found { content: Content::Live(token), .. }) = self.shop.record {
            self.issuer.revoked.insert(self.issuer.family(token));
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

    fn execute_late(&mut self) -> Result<(), Fault> {
        if self.late.is_empty() {
            return Ok(());
        }
        let at = self.rng.usize(..self.late.len());
        let order = self.late.swap_remove(at);
        self.swap(order, false).map(drop)
    }

    fn swap(&mut self, mut order: Order, is_login: bool) -> Result<Answer, Fault> {
        if self.mutant == Mutant::Overwrite && !order.rank.is_end {
            order.seen = self.shop.version();
        }
        let before = self.shop.record.clone();
        let answer = self.shop.swap(&order);
        if self.weather == Weather::Foul || answer.is_err() {
            return Ok(answer);
        }
        if before.as_ref().is_some_and(|before| before.rank > order.rank) {
            return Err(Fault::Regressed);
        }
        match (before.map(|before| before.content), order.content) {
            (_, Content::Live(token)) if is_login => {
                self.ended.remove(self.issuer.family(token));
            }
            (Some(Content::Live(token)), Content::Ended) => {
                self.ended.insert(self.issuer.family(token));
            }
            (_, Content::Live(token)) if self.ended.contains(self.issuer.family(token)) => {
                return Err(Fault::Resurrected);
            }
            _ => {}
        }
        Ok(answer)
    }

    /// The judgement, or one of the wrong ones.
    fn observe(&mut self, at: usize, asked: Moment, found: Option<Found<u32>>) -> bool {
        let mutant = self.mutant;
        let Replica { knowledge, known, .. } = &mut self.replicas[at];
        let asked = if mutant == Mutant::OldAnswers { knowledge.moment() } else { asked };
        if let Some(Found { content: Content::Live(token), .. }) = found {
            known.insert(token);
        }
        let is_other = |found: &Found<u32>| {
            matches!(found.content, Content::Live(_)) && *knowledge.content() != found.content
        };
        let takes_any = match mutant {
            Mutant::BySaved => knowledge.is_pending() && found.as_ref().is_some_and(is_other),
            Mutant::ByCredential => !knowledge.is_pending() && found.as_ref().is_some_and(is_other),
            _ => false,
        };
        if let (true, Some(found)) = (takes_any, &found) {
            knowledge.become_content(found.rank, found.content.clone());
        }
        let was_pending = knowledge.is_pending();
        let is_answer = knowledge.observe(asked, found.as_ref());
        if mutant == Mutant::Reranked && knowledge.is_pending() && !was_pending {
            knowledge.rank =
                knowledge.rank.map(|rank| Rank { depth: rank.depth.saturating_add(2), ..rank });
        }
        is_answer
    }

    fn save(&mut self, at: usize) -> Result<(), Fault> {
        let Some(mut saving) = self.replicas[at].saving.take() else {
            // A login writes over what is pending.
            let replica = &mut self.replicas[at];
            let write = if replica.login.is_none() { replica.knowledge.write() } else { None };
            replica.saving = write.map(|write| Saving { write, answer: None });
            return Ok(());
        };
        if saving.answer.is_none() {
            if self.chance(15) {
                // No answer in time. It may be executed later.
                if self.chance(50) {
                    self.late.push(saving.write.into());
                }
                return Ok(());
            }
            saving.answer = Some(self.swap(saving.write.clone().into(), false)?);
            self.replicas[at].saving = Some(saving);
            return Ok(());
        }
        if self.chance(15) {
            return Ok(()); // The acknowledgement is lost.
        }
        match saving.answer {
            Some(Ok(version)) => {
                self.replicas[at].knowledge.written(&saving.write.found(version));
            }
            Some(Err(found)) => {
                let moment = saving.write.moment;
                self.observe(at, moment, found);
            }
            None => {}
        }
        Ok(())
    }

    fn advance_login(&mut self, at: usize) -> Result<(), Fault> {
        let Some(Login { token, at: place }) = self.replicas[at].login.take() else {
            return Ok(());
        };
        if self.chance(5) {
            return Ok(()); // The store is down: the login has not begun.
        }
        let now = self.clock();
        let author = self.rng.u64(..);
        let place = match place {
            LoginPlace::Looking => {
                self.follow(at);
                let knowledge = &self.replicas[at].knowledge;
                let seen = self.shop.version();
                let write = LoginWrite::new(seen, token, author, knowledge, now);
                LoginPlace::Writing(write, None)
            }
            LoginPlace::Writing(mut write, None) if self.chance(15) => {
                // No answer in time. It may be executed later.
                if self.chance(50) {
                    self.late.push(Order::from(&write));
                }
                write.failed();
                LoginPlace::Writing(write, None)
            }
            LoginPlace::Writing(write, None) => {
                let answer = self.swap(Order::from(&write), true)?;
                LoginPlace::Writing(write, Some(answer))
            }
            // The acknowledgement is lost, and the write is made again.
            LoginPlace::Writing(mut write, Some(_)) if self.chance(15) => {
                write.failed();
                LoginPlace::Writing(write, None)
            }
            LoginPlace::Writing(mut write, Some(answer)) => {
                let replica = &mut self.replicas[at];
                let ours = match answer {
                    Ok(version) => write.found(version),
                    Err(found) => {
                        if let Some(Found { content: Content::Live(token), .. }) = found {
                            replica.known.insert(token);
                        }
                        let is_over = write.lost(found.as_ref(), &mut replica.knowledge, now);
                        match found {
                            Some(ours) if is_over => ours,
                            _ => {
                                let at = LoginPlace::Writing(write, None);
                                replica.login = Some(Login { token, at });
                                return Ok(());
                            }
                        }
                    }
                };
                replica.session = Some(ours.rank);
                replica.knowledge.written(&ours);
                return Ok(());
            }
        };
        self.replicas[at].login = Some(Login { token, at: place });
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
                let author = self.replicas[at].author;
                let free = self.shop.lease.is_none_or(|holder| holder == author);
                if free {
                    self.shop.lease = Some(author);
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
            Place::Exchanging { from, token, answer: Some(answer) } => {
                let now = self.clock();
                let replica = &mut self.replicas[at];
                replica.presented = token;
                let rank = match answer {
                    Some(token) => {
                        replica.known.insert(token);
                        replica.knowledge.exchanged(from, token, now, replica.author)
                    }
                    None => replica.knowledge.refused(from),
                };
                rank.map_or(Place::Deciding, Place::Saving)
            }
            Place::Saving(rank) => {
                let replica = &mut self.replicas[at];
                match replica.knowledge.fate(rank) {
                    // Failed for good: the session gets the credential without a save.
                    Fate::Pending if fails => {
                        if matches!(replica.knowledge.content(), Content::Live(_)) {
                            replica.session = Some(rank);
                        }
                        return Ok(());
                    }
                    Fate::Pending => Place::Saving(rank),
                    Fate::Saved => {
                        replica.session = Some(rank);
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
        let (session, expired) = (replica.session, self.issuer.expired);
        let step = run.flight.next(&replica.knowledge, |rank, token| {
            session != Some(rank) && !expired.contains(*token)
        });
        Ok(Some(match step {
            RunStep::Look => Place::Looking(replica.knowledge.moment(), None),
            RunStep::Save => Place::Unsaved,
            RunStep::Lease => Place::Leasing(None),
            RunStep::Adopt { rank, .. } => {
                // During a login the refresh fails, since the session is about to get another one.
                if replica.login.is_none() {
                    replica.session = Some(rank);
                }
                return Ok(None);
            }
            RunStep::End | RunStep::Exchange { credential: None, .. } => return Ok(None),
            RunStep::Exchange { from, credential: Some(token) } => {
                if self.weather == Weather::Fair && self.issuer.is_reuse(token) {
                    return Err(Fault::Twice);
                }
                if replica.known.any(|known| self.issuer.is_ancestor(token, known)) {
                    return Err(Fault::OldOne);
                }
                Place::Exchanging { from, token: Some(token), answer: None }
            }
        }))
    }
}
