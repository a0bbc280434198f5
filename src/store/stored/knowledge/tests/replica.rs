//! One process of a simulated world.

use crate::store::stored::{
    flight::RefreshRun,
    knowledge::{
        Found, Knowledge, Moment, Write,
        tests::backend::{Answer, Issuer, Order, Shop, Tokens},
    },
    login::LoginWrite,
    rank::Rank,
};

pub(super) struct Replica {
    /// Identifies the process: another one takes its place after its death.
    pub(super) author: u64,
    pub(super) knowledge: Knowledge<u32>,
    /// All credentials that it has seen.
    pub(super) known: Tokens,
    /// The credential that its last exchange has used up.
    pub(super) presented: Option<u32>,
    /// The content that its session was given.
    pub(super) session: Option<Rank>,
    pub(super) run: Option<Run>,
    pub(super) saving: Option<Saving>,
    pub(super) login: Option<Login>,
    pub(super) holds_lease: bool,
}

/// A refresh.
pub(super) struct Run {
    pub(super) flight: RefreshRun,
    pub(super) at: Place,
    pub(super) leased: bool,
}

/// Where a refresh is.
pub(super) enum Place {
    Deciding,
    Looking(Moment, Option<Option<Found<u32>>>),
    Leasing(Option<bool>),
    Unsaved,
    Exchanging { from: Option<Rank>, token: Option<u32>, answer: Option<Option<u32>> },
    Saving(Rank),
}

/// A write by the saver.
pub(super) struct Saving {
    pub(super) write: Write<u32>,
    pub(super) answer: Option<Answer>,
}

/// A login by the application.
pub(super) struct Login {
    pub(super) token: u32,
    pub(super) at: LoginPlace,
}

/// Where a login is.
pub(super) enum LoginPlace {
    Looking,
    Writing(LoginWrite<u32>, Option<Answer>),
}

/// An operation that the death of a process breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Activity {
    Idle,
    Looking,
    Leasing,
    WaitingForTheSaver,
    RequestUnderWay,
    AnswerUnderWay,
    Saving,
    Writing,
    Unsaved,
    LoggingIn,
}

impl Activity {
    pub(super) const ALL: [Self; 10] = [
        Self::Idle,
        Self::Looking,
        Self::Leasing,
        Self::WaitingForTheSaver,
        Self::RequestUnderWay,
        Self::AnswerUnderWay,
        Self::Saving,
        Self::Writing,
        Self::Unsaved,
        Self::LoggingIn,
    ];
}

// === impl Replica ===

impl Replica {
    pub(super) fn new(author: u64) -> Self {
        Self {
            author,
            knowledge: Knowledge::new(),
            known: Tokens::default(),
            presented: None,
            session: None,
            run: None,
            saving: None,
            login: None,
            holds_lease: false,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.run.is_none() && self.login.is_none() && !self.knowledge.is_pending()
    }

    /// Everything that this process does now, and that its death breaks off.
    pub(super) fn activities(&self) -> Vec<Activity> {
        let mut activities = Vec::new();
        activities.extend(self.run.as_ref().map(|run| match &run.at {
            Place::Deciding => Activity::Idle,
            Place::Looking(..) => Activity::Looking,
            Place::Leasing(_) => Activity::Leasing,
            Place::Unsaved => Activity::WaitingForTheSaver,
            Place::Exchanging { answer: None, .. } => Activity::RequestUnderWay,
            Place::Exchanging { .. } => Activity::AnswerUnderWay,
            Place::Saving(_) => Activity::Saving,
        }));
        activities.extend(self.saving.is_some().then_some(Activity::Writing));
        activities.extend(self.login.is_some().then_some(Activity::LoggingIn));
        activities.extend(self.knowledge.is_pending().then_some(Activity::Unsaved));
        if activities.is_empty() {
            activities.push(Activity::Idle);
        }
        activities
    }

    /// Gives a grace to each token whose successor dies with this process. Returns the writes that
    /// may be executed after its death.
    pub(super) fn die(self, shop: &Shop, issuer: &mut Issuer) -> Vec<Order> {
        if let Some(Run { at: Place::Exchanging { token: Some(token), answer, .. }, .. }) = self.run
        {
            if answer.is_none() {
                // The request arrives nevertheless.
                issuer.rotate(token);
            }
            issuer.in_grace.insert(token);
        }
        if let (Some(token), true) = (self.presented, self.knowledge.is_pending())
            && !shop.stored.any(|stored| issuer.parents[stored as usize] == Some(token))
        {
            issuer.in_grace.insert(token);
        }
        let mut late = Vec::new();
        if let Some(Saving { write, answer: None }) = self.saving {
            late.push(write.into());
        }
        if let Some(Login { at: LoginPlace::Writing(write, None), .. }) = self.login {
            late.push((&write).into());
        }
        late
    }
}

// === impl Run ===

impl Run {
    pub(super) fn new(forced: bool) -> Self {
        Self { flight: RefreshRun::new(forced, false), at: Place::Deciding, leased: false }
    }
}

// === impl Order ===

impl From<Write<u32>> for Order {
    fn from(Write { seen, rank, content, .. }: Write<u32>) -> Self {
        Self { seen, rank, content }
    }
}

impl From<&LoginWrite<u32>> for Order {
    fn from(write: &LoginWrite<u32>) -> Self {
        Self { seen: write.seen, rank: write.rank, content: write.content.clone() }
    }
}
