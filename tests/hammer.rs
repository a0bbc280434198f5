//! Guarantees 1, 3, 4, 5, 6, 8 and 9 on a runtime of four threads, many times over, with random
//! timing.
//!
//! `HAMMER_SEED=… HAMMER_ROUNDS=… cargo test --test hammer` repeats a seed, or hammers for longer.
//! A seed decides what is done, not how the threads interleave.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{
    collections::{HashMap, HashSet},
    env,
    future::pending,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use support::*;
use tokio::{sync::watch, task::yield_now, time::timeout};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_refresh::{
    Error, ErrorKind, Origins, RefreshContext, RefreshError, RefreshLayer, Refresher, ReplayBody,
    Session, Token,
    extension::Stamp,
    refresher::{BoxFuture, Cause},
    refresher_fn,
    session::{EndedLogin, Generation, Login, Phase, State},
};

/// No test takes nearly as long, unless something hangs.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// Random enough (Marsaglia's xorshift).
struct Dice(u64);

/// The server side of everything, and what went wrong.
#[derive(Clone)]
struct World(Arc<Inner>);

struct Inner {
    seeds: AtomicU64,
    /// Requests are answered when this is true.
    gate: watch::Sender<bool>,
    /// What the refresher does when it isn't left to the dice.
    fails_with: Option<RefreshError>,
    chaotic: bool,
    truth: Mutex<Truth>,
}

#[derive(Default)]
struct Truth {
    users: u64,
    minted: u64,
    good: HashSet<String>,
    spent: HashSet<String>,
    flying: HashMap<usize, RefreshContext>,
    refreshes: usize,
    arrived: usize,
    hooks: HashMap<Login, usize>,
    violations: Vec<String>,
}

/// An upstream whose clones have to be polled ready, each by itself, and take their time.
struct Upstream {
    world: World,
    ready: bool,
    dice: Dice,
}

/// In the extensions of a request: the users in whose name it was sent.
#[derive(Clone, Default)]
struct SentAs(Arc<Mutex<Vec<u64>>>);

/// A refresh that is under way at the server.
struct Flying(World, usize);

// === 1, 3, 8: one flight, late rejections, one answer ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g01_a_herd_that_is_rejected_in_any_order_costs_one_refresh() {
    for round in rounds(60) {
        let world = World::new(round, None, false);
        let session = Session::new(world.mint(0), world.clone());
        world.expire_all();
        let client =
            RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::new(&world));
        let mut dice = world.dice();
        let requests: Vec<_> = (0..64)
            .map(|n| {
                let (client, mut dice) = (client.clone(), world.dice());
                let leaves = n > 0 && dice.one_in(5);
                let request = tokio::spawn(async move {
                    dice.dawdle(20).await;
                    client.oneshot(get("/")).await
                });
                (leaves, request)
            })
            .collect();
        for (leaves, request) in requests {
            if leaves {
                dice.dawdle(3).await;
                request.abort();
                drop(request.await);
            } else {
                let answer = timeout(SAFETY_NET, request).await.expect("it gets an answer");
                assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK, "{round:#x}");
            }
        }
        world.verify(round);
        assert_eq!(world.truth().refreshes, 1, "{round:#x}");
        assert_eq!(session.state().flights_started(), 1, "{round:#x}");
        assert_eq!(session.waiters(), 0, "{round:#x}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g03_rejections_in_any_order_around_one_failure_cost_one_refresh_and_share_its_cause() {
    for failure in [RefreshError::transient("503"), RefreshError::terminal("revoked")] {
        for round in rounds(40) {
            let world = World::new(round, Some(failure.clone()), false);
            world.0.gate.send_replace(false);
            let hooked = world.clone();
            let session = Session::builder(world.clone())
                .credential(world.mint(0))
                .on_login_end(move |end| hooked.clone().hook(end))
                .build();
            world.expire_all();
            let client =
                RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::new(&world));
            let requests = ask_many(&client, 64, |_| get("/"));
            while world.truth().arrived < 64 {
                yield_now().await;
            }
            // All of them were sent before the failure; now their rejections straggle in.
            world.0.gate.send_replace(true);
            for request in requests {
                let answer = timeout(SAFETY_NET, request).await.expect("it gets an answer");
                let error = answer.unwrap().unwrap_err();
                let expected = if failure.is_terminal() {
                    ErrorKind::LoggedOut
                } else {
                    ErrorKind::RefreshFailed
                };
                assert_eq!(own(&error).kind(), expected, "{round:#x}");
                assert!(std::ptr::addr_eq(root_cause(own(&error)), root_cause(&failure)));
            }
            world.verify(round);
            assert_eq!(world.truth().refreshes, 1, "{round:#x}");
            assert_eq!(session.waiters(), 0, "{round:#x}");
            let hooks = usize::from(failure.is_terminal());
            until(|| world.truth().hooks.len() == hooks).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g08_waiters_that_are_woken_on_four_threads_get_the_outcome_of_their_own_flight() {
    for round in rounds(40) {
        let mut dice = Dice::new(round);
        let (refresher, mut flights) = by_hand();
        let session = Session::builder(refresher).credential(token("at-0")).build();
        let client = RefreshLayer::new(session.clone(), Origins::any())
            .layer(support::Upstream::accepting(&[]));
        let requests = ask_many(&client, 64, |_| get("/"));
        let flight = timeout(SAFETY_NET, flights.next()).await.expect("it starts");
        until(|| session.waiters() == 64).await;
        let failure = RefreshError::transient(round.to_string());
        flight.answer(Err(failure.clone()));
        let settled = |state: &State| state.flights_settled() == 1;
        session.subscribe().wait_for(settled).await.unwrap();
        // Newer credentials follow at once, while the waiters of the flight wake up.
        for number in 0..dice.roll(4) {
            session.replace(session.state().login(), token(&format!("at-{number}x"))).unwrap();
            dice.dawdle(2).await;
        }
        for request in requests {
            let answer = timeout(SAFETY_NET, request).await.expect("it gets an answer");
            let error = answer.unwrap().unwrap_err();
            assert!(std::ptr::addr_eq(root_cause(own(&error)), root_cause(&failure)), "{round:#x}");
        }
        assert_eq!(session.waiters(), 0, "{round:#x}");
    }
}

// === 5: settles ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g05_whatever_a_refresher_does_its_flight_settles_and_every_request_gets_an_answer() {
    for round in rounds(60) {
        let dice = Arc::new(Mutex::new(Dice::new(round)));
        let refresher = refresher_fn(move |_: RefreshContext| {
            let whim = dice.lock().unwrap_or_else(PoisonError::into_inner).roll(5);
            async move {
                match whim {
                    0 => pending::<()>().await,
                    1 => resume_unwind(Box::new("without the noise of a panic")),
                    2 => return Err(RefreshError::transient("503")),
                    3 => {
                        for _ in 0..500 {
                            yield_now().await;
                        }
                    }
                    _ => yield_now().await,
                }
                Ok(token("at-good"))
            }
        });
        let session = Session::builder(refresher)
            .credential(token("at-0"))
            .refresh_timeout(Duration::from_millis(3))
            .backoff(Duration::ZERO, Duration::ZERO)
            .build();
        let client = RefreshLayer::new(session.clone(), Origins::any())
            .layer(support::Upstream::accepting(&["at-good"]));
        for request in ask_many(&client, 32, |_| get("/")) {
            let answer = timeout(SAFETY_NET, request).await.expect("it gets an answer").unwrap();
            match answer {
                Ok(answer) => assert_eq!(answer.status(), StatusCode::OK, "{round:#x}"),
                Err(error) => {
                    assert_eq!(own(&error).kind(), ErrorKind::RefreshFailed, "{round:#x}")
                }
            }
        }
        let settled = session.state().flights_settled();
        assert_eq!(session.state().flights_started(), settled, "{round:#x}");
        assert_eq!(session.waiters(), 0, "{round:#x}");
    }
}

// === 6: callers may leave ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g06_whoever_leaves_and_whenever_the_rotated_token_comes_home() {
    for round in rounds(150) {
        let world = World::new(round, None, false);
        let session = Session::new(world.mint(0), world.clone());
        let mut watcher = session.subscribe();
        world.expire_all();
        let client =
            RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::new(&world));
        let requests = ask_many(&client, 8, |_| get("/"));
        drop((session, client));
        // One of them at least has been rejected by then.
        let elected = timeout(SAFETY_NET, watcher.wait_for(|state| state.flights_started() > 0));
        elected.await.expect("a flight starts").expect("the flight keeps the session");
        for request in requests {
            request.abort();
            drop(request.await);
        }
        let settled = timeout(SAFETY_NET, watcher.wait_for(|state| state.flights_settled() == 1));
        let state = settled.await.expect("it settles").expect("it is stored");
        let good = state.credential().unwrap().access_token().to_owned();
        assert!(world.truth().good.contains(&good), "{round:#x}");
        world.verify(round);
        drop(state);
        until(|| watcher.clone().state().flights_settled() == 1).await;
        assert!(
            timeout(SAFETY_NET, watcher.wait_for(|_| false)).await.expect("it closes").is_err()
        );
    }
}

// === 1, 4, 5, 9: everything at once ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g04_whatever_happens_no_request_is_sent_in_anothers_name() {
    for round in rounds(120) {
        chaos(round, true).await;
    }
}

/// Without logins from outside, each login ends by a logout or a refusal, and the next one is
/// acquired.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g09_whatever_happens_the_hook_runs_once_for_every_login_that_ended() {
    for round in rounds(120) {
        let (world, session) = chaos(round, false).await;
        let state = session.state();
        let is_over = matches!(state.phase(), Phase::LoggedOut(_));
        let ended = number(state.login()) - u64::from(!is_over);
        until(|| world.truth().hooks.len() as u64 == ended).await;
        world.verify(round);
    }
}

async fn chaos(round: u64, with_logins: bool) -> (World, Session) {
    let world = World::new(round, None, true);
    let hooked = world.clone();
    let session = Session::builder(world.clone())
        .credential(world.mint(0))
        .on_login_end(move |end| hooked.clone().hook(end))
        .build();
    let layer = RefreshLayer::new(session.clone(), Origins::any()).expose_stamp(true);
    let over = Arc::new(AtomicBool::new(false));
    let observer = tokio::spawn(observe(world.clone(), session.clone(), over.clone()));
    // Two, so that what clones of one share differs from what all share.
    let clients = [(); 2].map(|()| Arc::new(layer.layer(Upstream::new(&world))));
    let actors: Vec<_> = (0..24)
        .map(|n| {
            let client = clients[n % 2].clone();
            tokio::spawn(act(world.clone(), session.clone(), client, with_logins))
        })
        .collect();
    for actor in actors {
        let ended = timeout(SAFETY_NET, actor).await;
        ended.unwrap_or_else(|_| panic!("a request hangs: {round:#x} {session:?}")).unwrap();
    }
    let mut watcher = session.subscribe();
    let settled = watcher.wait_for(|state| !matches!(state.phase(), Phase::Refreshing(_)));
    let state = timeout(SAFETY_NET, settled).await.expect("it settles").unwrap();
    assert_eq!(state.flights_started(), state.flights_settled(), "{round:#x}");
    over.store(true, Ordering::SeqCst);
    observer.await.unwrap();
    assert_eq!(session.waiters(), 0, "{round:#x}");
    // Those that were fenced off are over some time, too.
    until(|| world.truth().flying.is_empty()).await;
    world.verify(round);
    (world, session)
}

/// Does twenty things at random.
async fn act(world: World, session: Session, shared: Arc<Client>, with_logins: bool) {
    let mut dice = world.dice();
    let mut kept = Client::clone(&shared);
    for _ in 0..20 {
        dice.dawdle(3).await;
        match dice.roll(100) {
            0..20 => request(&world, &session, &mut Client::clone(&shared), &mut dice).await,
            20..30 => request(&world, &session, &mut kept.clone(), &mut dice).await,
            30..60 => request(&world, &session, &mut kept, &mut dice).await,
            60..70 => kept = kept.clone(),
            70..76 => {
                let refreshed = session.refresh();
                if dice.one_in(2) {
                    drop(timeout(SAFETY_NET, refreshed).await.expect("refresh() ends"));
                }
            }
            76..82 => {
                let acquired = session.acquire();
                if dice.one_in(2) {
                    drop(timeout(SAFETY_NET, acquired).await.expect("acquire() ends"));
                }
            }
            82..87 => drop(session.logout()),
            87..91 if with_logins => {
                let user = world.new_user();
                session.login(world.mint(user));
            }
            91..95 => {
                let state = session.state();
                if let Some(current) = state.credential() {
                    drop(
                        session.replace(state.login(), world.mint(user_of(current.access_token()))),
                    );
                }
            }
            _ => world.expire_all(),
        }
    }
}

type Client = tower_refresh::Refresh<Upstream>;

/// Sends a request, and looks in whose name it was sent.
async fn request(world: &World, session: &Session, client: &mut Client, dice: &mut Dice) {
    let sent_as = SentAs::default();
    let mut request = post("/", "a body");
    request.extensions_mut().insert(sent_as.clone());

    // Whoever isn't ready is called all the same, now and then.
    if !dice.one_in(6) {
        client.ready().await.expect("the upstream is always ready some time");
        dice.dawdle(2).await;
    }
    let before = session.state();
    let response = client.call(request);
    let after = session.state();
    let response = tokio::spawn(response);
    if dice.one_in(6) {
        dice.dawdle(8).await;
        response.abort();
    }
    let answer = match timeout(SAFETY_NET, response).await.expect("it gets an answer") {
        Ok(answer) => Some(answer),
        Err(join) if join.is_cancelled() => None,
        Err(join) => return world.violation(format!("a request panicked: {join}")),
    };

    // A login never comes back: between two looks at the same one, the request was called in it.
    let login_is_known = before.login() == after.login();
    let is_over = |state: &State| matches!(state.phase(), Phase::LoggedOut(_));
    let users = sent_as.0.lock().unwrap().clone();
    if users.len() > 2 {
        world.violation(format!("sent {} times", users.len()));
    }
    if users.windows(2).any(|pair| pair[0] != pair[1]) {
        world.violation(format!("one request, sent in the names of {users:?}"));
    }
    if login_is_known {
        let bound =
            before.credential().or(after.credential()).map(|token| user_of(token.access_token()));
        if let (Some(bound), Some(user)) = (bound, users.first())
            && bound != *user
        {
            world.violation(format!("a request of {bound} was sent as {user}"));
        }
        if is_over(&before) && is_over(&after) && !users.is_empty() {
            world.violation("sent although the login was over".into());
        }
    }
    match answer {
        Some(Ok(response)) => {
            if dice.one_in(10)
                && let Some(stamp) = response.extensions().get::<Stamp>()
            {
                stamp.reject();
            }
        }
        Some(Err(error)) => match error.downcast_ref::<Error>().map(Error::kind) {
            Some(ErrorKind::LoggedOut | ErrorKind::RefreshFailed | ErrorKind::LoginChanged) => {}
            other => world.violation(format!("unexpected error {other:?}: {error}")),
        },
        None => {}
    }
}

/// Looks at the state as often as it can.
async fn observe(world: World, session: Session, over: Arc<AtomicBool>) {
    let mut names: HashMap<Generation, String> = HashMap::new();
    let mut last = session.state();
    while !over.load(Ordering::SeqCst) {
        let state = session.state();
        if state.generation() < last.generation() || number(state.login()) < number(last.login()) {
            world.violation(format!("went back from {last:?} to {state:?}"));
        }
        if let Some(credential) = state.credential() {
            let name = credential.access_token();
            if names.entry(state.generation()).or_insert_with(|| name.to_owned()) != name {
                world.violation(format!("two credentials of one generation in {state:?}"));
            }
        }
        let in_progress = u64::from(matches!(state.phase(), Phase::Refreshing(_)));
        if state.flights_started() != state.flights_settled() + in_progress {
            world.violation(format!("flights don't add up in {state:?}"));
        }
        last = state;
        yield_now().await;
    }
}

// === impl World ===

impl World {
    fn new(seed: u64, fails_with: Option<RefreshError>, chaotic: bool) -> Self {
        let seeds = AtomicU64::new(seed);
        let gate = watch::Sender::new(true);
        let truth = Mutex::new(Truth { users: 1, ..Truth::default() });
        Self(Arc::new(Inner { seeds, gate, fails_with, chaotic, truth }))
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.0.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dice(&self) -> Dice {
        Dice::new(self.0.seeds.fetch_add(1, Ordering::Relaxed))
    }

    fn violation(&self, what: String) {
        self.truth().violations.push(what);
    }

    fn verify(&self, round: u64) {
        let truth = self.truth();
        let twice = truth.hooks.values().any(|times| *times > 1);
        assert!(truth.violations.is_empty(), "HAMMER_SEED={round:#x}: {:#?}", truth.violations);
        assert!(!twice, "HAMMER_SEED={round:#x}: a hook ran twice: {:?}", truth.hooks);
    }

    fn new_user(&self) -> u64 {
        let mut truth = self.truth();
        truth.users += 1;
        truth.users
    }

    /// A token of that user, with a refresh token that can be used once.
    fn mint(&self, user: u64) -> Token {
        let mut truth = self.truth();
        truth.minted += 1;
        let number = truth.minted;
        let name = format!("{user}.{number}");
        truth.good.insert(name.clone());
        token(&name).with_refresh_token(format!("refresh-{name}"))
    }

    fn expire_all(&self) {
        self.truth().good.clear();
    }

    async fn hook(self, end: EndedLogin) {
        *self.truth().hooks.entry(end.login()).or_default() += 1;
        self.dice().dawdle(5).await;
        assert!(!self.0.chaotic || !self.dice().one_in(10), "the hook panics at times");
    }

    /// A refresher was called: no other one that could change the session is under way.
    fn take_off(&self, context: &RefreshContext) -> Flying {
        let mut truth = self.truth();
        truth.refreshes += 1;
        let number = truth.refreshes;
        truth.flying.insert(number, context.clone());
        let unfenced = truth.flying.values().filter(|context| !context.is_fenced()).count();
        if unfenced > 1 {
            truth.violations.push(format!("{unfenced} flights at once"));
        }
        Flying(self.clone(), number)
    }

    fn spend(&self, refresh_token: &str) {
        let mut truth = self.truth();
        if !truth.spent.insert(refresh_token.to_owned()) {
            truth.violations.push(format!("{refresh_token} was used twice"));
        }
    }
}

impl Refresher for World {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        let mut dice = self.dice();
        let flying = self.take_off(&context);
        Box::pin(async move {
            let flying = flying;
            dice.dawdle(10).await;
            if let Some(error) = &self.0.fails_with {
                return Err(error.clone());
            }
            if self.0.chaotic {
                match dice.roll(40) {
                    0..5 => return Err(RefreshError::transient("unreachable")),
                    5..8 => return Err(RefreshError::terminal("revoked")),
                    8 => resume_unwind(Box::new("the refresher panics at times")),
                    _ => {}
                }
            }
            let user = match (context.cause(), context.current()) {
                (Cause::Missing, _) | (_, None) => self.new_user(),
                (_, Some(current)) => {
                    self.spend(current.refresh_token().expect("all have one"));
                    user_of(current.access_token())
                }
            };
            dice.dawdle(10).await;
            let minted = self.mint(user);
            drop(flying);
            Ok(minted)
        })
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.0.truth().flying.remove(&self.1);
    }
}

// === impl Upstream ===

impl Upstream {
    fn new(world: &World) -> Self {
        Self { world: world.clone(), ready: false, dice: world.dice() }
    }
}

impl Clone for Upstream {
    fn clone(&self) -> Self {
        Self::new(&self.world)
    }
}

impl Service<Request<ReplayBody<Full<bytes::Bytes>>>> for Upstream {
    type Response = Response<Full<bytes::Bytes>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.ready && self.dice.one_in(2) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Full<bytes::Bytes>>>) -> Self::Future {
        let name = bearer(&request).map(str::to_owned);
        if !std::mem::take(&mut self.ready) {
            self.world.violation("called an instance that was not polled ready".into());
        }
        match (&name, request.extensions().get::<SentAs>()) {
            (Some(name), Some(sent_as)) => sent_as.0.lock().unwrap().push(user_of(name)),
            (None, _) => self.world.violation("sent without a credential".into()),
            _ => {}
        }
        self.world.truth().arrived += 1;
        let (world, mut dice) = (self.world.clone(), self.world.dice());
        let mut gate = self.world.0.gate.subscribe();
        Box::pin(async move {
            dice.dawdle(5).await;
            gate.wait_for(|open| *open).await?;
            let good = name.is_some_and(|name| world.truth().good.contains(&name));
            let spurious = world.0.chaotic && dice.one_in(16);
            dice.dawdle(20).await;
            Ok(response(if good && !spurious { StatusCode::OK } else { StatusCode::UNAUTHORIZED }))
        })
    }
}

// === impl Dice ===

impl Dice {
    fn new(seed: u64) -> Self {
        // Seeds next to each other must not begin alike (SplitMix64).
        let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// Lets others go first, a few times.
    async fn dawdle(&mut self, times: u64) {
        for _ in 0..self.roll(times + 1) {
            yield_now().await;
        }
    }
}

/// The seeds of the rounds: printed, so that a failure shows where it began.
fn rounds(default: u64) -> impl Iterator<Item = u64> {
    let first = match env::var("HAMMER_SEED") {
        Ok(seed) => {
            let seed = seed.trim_start_matches("0x");
            u64::from_str_radix(seed, 16).expect("HAMMER_SEED is a hexadecimal number")
        }
        Err(_) => {
            SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_nanos() as u64
        }
    };
    let number = env::var("HAMMER_ROUNDS")
        .map_or(default, |it| it.parse().expect("HAMMER_ROUNDS is a number"));
    println!("HAMMER_SEED={first:#x} HAMMER_ROUNDS={number}");
    // Far apart: each round counts its own seeds up from there.
    (0..number).map(move |round| first.wrapping_add(round << 32))
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            yield_now().await;
        }
    };
    timeout(SAFETY_NET, waiting).await.expect("it comes to pass");
}

fn user_of(access_token: &str) -> u64 {
    access_token
        .split_once('.')
        .expect("all tokens name their user")
        .0
        .parse()
        .expect("it is a number")
}

fn number(login: Login) -> u64 {
    format!("{login:?}")
        .trim_start_matches("Login(")
        .trim_end_matches(')')
        .parse()
        .expect("it is a number")
}
