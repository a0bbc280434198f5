//! Guarantees 1, 3, 4, 5, 6, 8 and 9 under random operations and random timing, on a runtime of
//! four threads.
//!
//! `HAMMER_SEED=… HAMMER_ROUNDS=… cargo test --test hammer` repeats a seed or runs more rounds.
//! A seed determines the operations, not how the threads interleave.

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
use support::{audit::Audit, *};
use tokio::{sync::watch, task::yield_now, time::timeout};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_refresh::{
    Error, ErrorKind, Origins, RefreshContext, RefreshError, RefreshLayer, Refresher, ReplayBody,
    Session, Token,
    extension::Stamp,
    refresher::{BoxFuture, Cause},
    refresher_fn,
    session::{EndedLogin, Generation, Login, Phase, SessionBuilder, State},
};

/// The limit of one wait. A test that reaches it hangs.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A xorshift random number generator (Marsaglia).
struct Rng(u64);

/// The simulated upstream and auth service, and the violations that they saw.
#[derive(Clone)]
struct World(Arc<Inner>);

struct Inner {
    seeds: AtomicU64,
    /// Requests are answered while this is true.
    gate: watch::Sender<bool>,
    /// The error of every refresh. `None` lets refreshes succeed.
    fails_with: Option<RefreshError>,
    chaotic: bool,
    records: Mutex<Records>,
    /// Checks the events of all sessions of [`World::session`].
    audit: Audit,
}

#[derive(Default)]
struct Records {
    users: u64,
    issued: u64,
    good: HashSet<String>,
    used: HashSet<String>,
    running: HashMap<usize, RefreshContext>,
    refreshes: usize,
    arrived: usize,
    hooks: HashMap<Login, usize>,
    violations: Vec<String>,
}

/// An upstream that becomes ready at random, and records calls to clones that were not polled
/// ready.
struct Upstream {
    world: World,
    ready: bool,
    rng: Rng,
}

/// A request extension that records the user of every attempt.
#[derive(Clone, Default)]
struct SentAs(Arc<Mutex<Vec<u64>>>);

/// A refresh in progress at the auth service, until it is dropped.
struct RunningRefresh(World, usize);

// === 1, 3, 8: one flight, late rejections, one answer ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g01_rejections_in_random_order_cost_one_refresh() {
    for round in rounds(60) {
        let world = World::new(round, None, false);
        let session = world.session().credential(world.issue(0)).build();
        world.expire_all();
        let client =
            RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::new(&world));
        let mut rng = world.rng();
        let requests: Vec<_> = (0..64)
            .map(|n| {
                let (client, mut rng) = (client.clone(), world.rng());
                let is_aborted = n > 0 && rng.one_in(5);
                let request = tokio::spawn(async move {
                    rng.yield_up_to(20).await;
                    client.oneshot(get("/")).await
                });
                (is_aborted, request)
            })
            .collect();
        for (is_aborted, request) in requests {
            if is_aborted {
                rng.yield_up_to(3).await;
                request.abort();
                drop(request.await);
            } else {
                let answer = timeout(TEST_TIMEOUT, request).await.expect("the request is answered");
                assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK, "{round:#x}");
            }
        }
        world.verify(round);
        world.audit().await;
        assert_eq!(world.0.audit.books().flights_settled, 1, "{round:#x}");
        assert_eq!(world.records().refreshes, 1, "{round:#x}");
        assert_eq!(session.state().flights_started(), 1, "{round:#x}");
        assert_eq!(session.waiters(), 0, "{round:#x}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g03_rejections_around_a_failed_refresh_cost_one_refresh_and_share_its_cause() {
    for failure in [RefreshError::transient("503"), RefreshError::terminal("revoked")] {
        for round in rounds(40) {
            let world = World::new(round, Some(failure.clone()), false);
            world.0.gate.send_replace(false);
            let hooked = world.clone();
            let session = world
                .session()
                .credential(world.issue(0))
                .on_login_end(move |end| hooked.clone().hook(end))
                .build();
            world.expire_all();
            let client =
                RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::new(&world));
            let requests = ask_many(&client, 64, |_| get("/"));
            while world.records().arrived < 64 {
                yield_now().await;
            }
            // All requests were sent before the failure. Their rejections arrive during and after
            // it.
            world.0.gate.send_replace(true);
            for request in requests {
                let answer = timeout(TEST_TIMEOUT, request).await.expect("the request is answered");
                let error = answer.unwrap().unwrap_err();
                let expected = if failure.is_terminal() {
                    ErrorKind::LoggedOut
                } else {
                    ErrorKind::RefreshFailed
                };
                assert_eq!(session_error(&error).kind(), expected, "{round:#x}");
                assert!(std::ptr::addr_eq(root_cause(session_error(&error)), root_cause(&failure)));
            }
            world.verify(round);
            assert_eq!(world.records().refreshes, 1, "{round:#x}");
            assert_eq!(session.waiters(), 0, "{round:#x}");
            let hooks = usize::from(failure.is_terminal());
            until(|| world.records().hooks.len() == hooks).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g08_waiters_woken_on_four_threads_get_the_outcome_of_their_own_flight() {
    for round in rounds(40) {
        let mut rng = Rng::new(round);
        let (refresher, mut flights) = manual_refresher();
        let session = Session::builder(refresher).credential(token("at-0")).build();
        let client = RefreshLayer::new(session.clone(), Origins::any())
            .layer(support::Upstream::accepting(&[]));
        let requests = ask_many(&client, 64, |_| get("/"));
        let flight = timeout(TEST_TIMEOUT, flights.next()).await.expect("the flight starts");
        until(|| session.waiters() == 64).await;
        let failure = RefreshError::transient(round.to_string());
        flight.answer(Err(failure.clone()));
        let settled = |state: &State| state.flights_settled() == 1;
        session.subscribe().wait_for(settled).await.unwrap();
        // Newer credentials follow at once, while the waiters of the flight wake up.
        for number in 0..rng.below(4) {
            session.replace(session.state().login(), token(&format!("at-{number}x"))).unwrap();
            rng.yield_up_to(2).await;
        }
        for request in requests {
            let answer = timeout(TEST_TIMEOUT, request).await.expect("the request is answered");
            let error = answer.unwrap().unwrap_err();
            assert!(
                std::ptr::addr_eq(root_cause(session_error(&error)), root_cause(&failure)),
                "{round:#x}"
            );
        }
        assert_eq!(session.waiters(), 0, "{round:#x}");
    }
}

// === 5: every flight settles ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g05_random_refresher_behaviour_settles_every_flight_and_answers_every_request() {
    for round in rounds(60) {
        let rng = Arc::new(Mutex::new(Rng::new(round)));
        let refresher = refresher_fn(move |_: RefreshContext| {
            let behaviour = rng.lock().unwrap_or_else(PoisonError::into_inner).below(5);
            async move {
                match behaviour {
                    0 => pending::<()>().await,
                    1 => resume_unwind(Box::new("a panic without a message on stderr")),
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
        let audit = Audit::default();
        let session = Session::builder(refresher)
            .credential(token("at-0"))
            .observer(audit.clone())
            .refresh_timeout(Duration::from_millis(3))
            .backoff(Duration::ZERO, Duration::ZERO)
            .build();
        let client = RefreshLayer::new(session.clone(), Origins::any())
            .layer(support::Upstream::accepting(&["at-good"]));
        for request in ask_many(&client, 32, |_| get("/")) {
            let answer =
                timeout(TEST_TIMEOUT, request).await.expect("the request is answered").unwrap();
            match answer {
                Ok(answer) => assert_eq!(answer.status(), StatusCode::OK, "{round:#x}"),
                Err(error) => {
                    assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed, "{round:#x}")
                }
            }
        }
        let settled = session.state().flights_settled();
        assert_eq!(session.state().flights_started(), settled, "{round:#x}");
        assert_eq!(session.waiters(), 0, "{round:#x}");
        until(|| audit.is_balanced()).await;
        audit.assert_balanced();
        assert_eq!(audit.books().flights_settled as u64, settled, "{round:#x}");
    }
}

// === 6: dropped callers ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g06_aborting_requests_at_random_never_loses_the_rotated_token() {
    for round in rounds(150) {
        let world = World::new(round, None, false);
        let session = world.session().credential(world.issue(0)).build();
        let mut watcher = session.subscribe();
        world.expire_all();
        let client =
            RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::new(&world));
        let requests = ask_many(&client, 8, |_| get("/"));
        drop((session, client));
        // At least one request was rejected before the flight started.
        let elected = timeout(TEST_TIMEOUT, watcher.wait_for(|state| state.flights_started() > 0));
        elected.await.expect("a flight starts").expect("the flight keeps the session");
        for request in requests {
            request.abort();
            drop(request.await);
        }
        let settled = timeout(TEST_TIMEOUT, watcher.wait_for(|state| state.flights_settled() == 1));
        let state = settled
            .await
            .expect("the flight settles")
            .expect("the flight keeps the session until it settles");
        let good = state.credential().unwrap().access_token().to_owned();
        assert!(world.records().good.contains(&good), "{round:#x}");
        world.verify(round);
        world.audit().await;
        drop(state);
        until(|| watcher.clone().state().flights_settled() == 1).await;
        assert!(
            timeout(TEST_TIMEOUT, watcher.wait_for(|_| false))
                .await
                .expect("the channel closes")
                .is_err()
        );
    }
}

// === 1, 4, 5, 9: random operations ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g04_random_operations_never_send_a_request_with_another_users_token() {
    for round in rounds(120) {
        chaos(round, true).await;
    }
}

/// Without `Session::login`, every login ends by a logout or a refusal, and a later one begins with
/// `acquire`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g09_random_operations_run_the_hook_once_for_every_ended_login() {
    for round in rounds(120) {
        let (world, session) = chaos(round, false).await;
        let state = session.state();
        let is_over = matches!(state.phase(), Phase::LoggedOut(_));
        let ended = number(state.login()) - u64::from(!is_over);
        until(|| world.records().hooks.len() as u64 == ended).await;
        world.verify(round);
    }
}

async fn chaos(round: u64, with_logins: bool) -> (World, Session) {
    let world = World::new(round, None, true);
    let hooked = world.clone();
    let session = world
        .session()
        .credential(world.issue(0))
        .on_login_end(move |end| hooked.clone().hook(end))
        .build();
    let layer = RefreshLayer::new(session.clone(), Origins::any()).expose_stamp(true);
    let over = Arc::new(AtomicBool::new(false));
    let observer = tokio::spawn(observe(world.clone(), session.clone(), over.clone()));
    // Two services, because clones of one service share a snapshot.
    let clients = [(); 2].map(|()| Arc::new(layer.layer(Upstream::new(&world))));
    let actors: Vec<_> = (0..24)
        .map(|n| {
            let client = clients[n % 2].clone();
            tokio::spawn(act(world.clone(), session.clone(), client, with_logins))
        })
        .collect();
    for actor in actors {
        let ended = timeout(TEST_TIMEOUT, actor).await;
        ended.unwrap_or_else(|_| panic!("an actor hangs: {round:#x} {session:?}")).unwrap();
    }
    let mut watcher = session.subscribe();
    let settled = watcher.wait_for(|state| !matches!(state.phase(), Phase::Refreshing(_)));
    let state = timeout(TEST_TIMEOUT, settled).await.expect("the flight settles").unwrap();
    assert_eq!(state.flights_started(), state.flights_settled(), "{round:#x}");
    over.store(true, Ordering::SeqCst);
    observer.await.unwrap();
    assert_eq!(session.waiters(), 0, "{round:#x}");
    // Fenced flights end as well.
    until(|| world.records().running.is_empty()).await;
    world.verify(round);
    world.audit().await;
    let started = world.0.audit.books().flights_started;
    assert_eq!(started as u64, session.state().flights_started(), "{round:#x}");
    (world, session)
}

/// Performs twenty random operations.
async fn act(world: World, session: Session, shared: Arc<Client>, with_logins: bool) {
    let mut rng = world.rng();
    let mut kept = Client::clone(&shared);
    for _ in 0..20 {
        rng.yield_up_to(3).await;
        match rng.below(100) {
            0..20 => request(&world, &session, &mut Client::clone(&shared), &mut rng).await,
            20..30 => request(&world, &session, &mut kept.clone(), &mut rng).await,
            30..60 => request(&world, &session, &mut kept, &mut rng).await,
            60..70 => kept = kept.clone(),
            70..76 => {
                let refreshed = session.refresh();
                if rng.one_in(2) {
                    drop(timeout(TEST_TIMEOUT, refreshed).await.expect("refresh() ends"));
                }
            }
            76..82 => {
                let acquired = session.acquire();
                if rng.one_in(2) {
                    drop(timeout(TEST_TIMEOUT, acquired).await.expect("acquire() ends"));
                }
            }
            82..87 => drop(session.logout()),
            87..91 if with_logins => {
                let user = world.new_user();
                session.login(world.issue(user));
            }
            91..95 => {
                let state = session.state();
                if let Some(current) = state.credential() {
                    drop(
                        session
                            .replace(state.login(), world.issue(user_of(current.access_token()))),
                    );
                }
            }
            _ => world.expire_all(),
        }
    }
}

type Client = tower_refresh::Refresh<Upstream>;

/// Sends a request and checks which user it was sent for.
async fn request(world: &World, session: &Session, client: &mut Client, rng: &mut Rng) {
    let sent_as = SentAs::default();
    let mut request = post("/", "a body");
    request.extensions_mut().insert(sent_as.clone());

    // One call in six comes without `poll_ready`.
    if !rng.one_in(6) {
        client.ready().await.expect("the upstream becomes ready");
        rng.yield_up_to(2).await;
    }
    let before = session.state();
    let response = client.call(request);
    let after = session.state();
    let response = tokio::spawn(response);
    if rng.one_in(6) {
        rng.yield_up_to(8).await;
        response.abort();
    }
    let answer = match timeout(TEST_TIMEOUT, response).await.expect("the request is answered") {
        Ok(answer) => Some(answer),
        Err(join) if join.is_cancelled() => None,
        Err(join) => return world.violation(format!("a request panicked: {join}")),
    };

    // Logins never repeat. If both states have the same login, the call belongs to that login.
    let login_is_known = before.login() == after.login();
    let is_over = |state: &State| matches!(state.phase(), Phase::LoggedOut(_));
    let users = sent_as.0.lock().unwrap().clone();
    if users.len() > 2 {
        world.violation(format!("sent {} times", users.len()));
    }
    if users.windows(2).any(|pair| pair[0] != pair[1]) {
        world.violation(format!("one request was sent for the users {users:?}"));
    }
    if login_is_known {
        let bound =
            before.credential().or(after.credential()).map(|token| user_of(token.access_token()));
        if let (Some(bound), Some(user)) = (bound, users.first())
            && bound != *user
        {
            world.violation(format!("a request of user {bound} was sent for user {user}"));
        }
        if is_over(&before) && is_over(&after) && !users.is_empty() {
            world.violation("sent after the login had ended".into());
        }
    }
    match answer {
        Some(Ok(response)) => {
            if rng.one_in(10)
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

/// Checks the invariants of the state in a loop.
async fn observe(world: World, session: Session, over: Arc<AtomicBool>) {
    let mut names: HashMap<Generation, String> = HashMap::new();
    let mut last = session.state();
    while !over.load(Ordering::SeqCst) {
        let state = session.state();
        if state.generation() < last.generation() || number(state.login()) < number(last.login()) {
            world.violation(format!("the state went back from {last:?} to {state:?}"));
        }
        if let Some(credential) = state.credential() {
            let name = credential.access_token();
            if names.entry(state.generation()).or_insert_with(|| name.to_owned()) != name {
                world.violation(format!("one generation has two credentials in {state:?}"));
            }
        }
        let in_progress = u64::from(matches!(state.phase(), Phase::Refreshing(_)));
        if state.flights_started() != state.flights_settled() + in_progress {
            world.violation(format!("the flight counters disagree in {state:?}"));
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
        let records = Mutex::new(Records { users: 1, ..Records::default() });
        let audit = Audit::default();
        Self(Arc::new(Inner { seeds, gate, fails_with, chaotic, records, audit }))
    }

    fn session(&self) -> SessionBuilder {
        Session::builder(self.clone()).observer(self.0.audit.clone())
    }

    /// Waits until every flight and every wait has ended, and checks that each ended once.
    async fn audit(&self) {
        until(|| self.0.audit.is_balanced()).await;
        self.0.audit.assert_balanced();
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rng(&self) -> Rng {
        Rng::new(self.0.seeds.fetch_add(1, Ordering::Relaxed))
    }

    fn violation(&self, what: String) {
        self.records().violations.push(what);
    }

    fn verify(&self, round: u64) {
        let records = self.records();
        let twice = records.hooks.values().any(|times| *times > 1);
        assert!(records.violations.is_empty(), "HAMMER_SEED={round:#x}: {:#?}", records.violations);
        assert!(!twice, "HAMMER_SEED={round:#x}: a hook ran twice: {:?}", records.hooks);
    }

    fn new_user(&self) -> u64 {
        let mut records = self.records();
        records.users += 1;
        records.users
    }

    /// A new token of this user, with a refresh token that can be used once.
    fn issue(&self, user: u64) -> Token {
        let mut records = self.records();
        records.issued += 1;
        let number = records.issued;
        let name = format!("{user}.{number}");
        records.good.insert(name.clone());
        token(&name).with_refresh_token(format!("refresh-{name}"))
    }

    fn expire_all(&self) {
        self.records().good.clear();
    }

    async fn hook(self, end: EndedLogin) {
        *self.records().hooks.entry(end.login()).or_default() += 1;
        self.rng().yield_up_to(5).await;
        assert!(!self.0.chaotic || !self.rng().one_in(10), "the hook panics at random");
    }

    /// Records the start of a refresh, and a violation if another unfenced one is running.
    fn start_refresh(&self, context: &RefreshContext) -> RunningRefresh {
        let mut records = self.records();
        records.refreshes += 1;
        let number = records.refreshes;
        records.running.insert(number, context.clone());
        let unfenced = records.running.values().filter(|context| !context.is_fenced()).count();
        if unfenced > 1 {
            records.violations.push(format!("{unfenced} unfenced flights at once"));
        }
        RunningRefresh(self.clone(), number)
    }

    fn use_refresh_token(&self, refresh_token: &str) {
        let mut records = self.records();
        if !records.used.insert(refresh_token.to_owned()) {
            records.violations.push(format!("{refresh_token} was used twice"));
        }
    }
}

impl Refresher for World {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        let mut rng = self.rng();
        let running = self.start_refresh(&context);
        Box::pin(async move {
            let running = running;
            rng.yield_up_to(10).await;
            if let Some(error) = &self.0.fails_with {
                return Err(error.clone());
            }
            if self.0.chaotic {
                match rng.below(40) {
                    0..5 => return Err(RefreshError::transient("unreachable")),
                    5..8 => return Err(RefreshError::terminal("revoked")),
                    8 => resume_unwind(Box::new("the refresher panics at random")),
                    _ => {}
                }
            }
            let user = match (context.cause(), context.current()) {
                (Cause::Missing, _) | (_, None) => self.new_user(),
                (_, Some(current)) => {
                    self.use_refresh_token(
                        current.refresh_token().expect("every token has a refresh token"),
                    );
                    user_of(current.access_token())
                }
            };
            rng.yield_up_to(10).await;
            let issued = self.issue(user);
            drop(running);
            Ok(issued)
        })
    }
}

impl Drop for RunningRefresh {
    fn drop(&mut self) {
        self.0.records().running.remove(&self.1);
    }
}

// === impl Upstream ===

impl Upstream {
    fn new(world: &World) -> Self {
        Self { world: world.clone(), ready: false, rng: world.rng() }
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
        if !self.ready && self.rng.one_in(2) {
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
        self.world.records().arrived += 1;
        let (world, mut rng) = (self.world.clone(), self.world.rng());
        let mut gate = self.world.0.gate.subscribe();
        Box::pin(async move {
            rng.yield_up_to(5).await;
            gate.wait_for(|open| *open).await?;
            let good = name.is_some_and(|name| world.records().good.contains(&name));
            let spurious = world.0.chaotic && rng.one_in(16);
            rng.yield_up_to(20).await;
            Ok(response(if good && !spurious { StatusCode::OK } else { StatusCode::UNAUTHORIZED }))
        })
    }
}

// === impl Rng ===

impl Rng {
    fn new(seed: u64) -> Self {
        // Mixes the seed (SplitMix64), because consecutive seeds must start different sequences.
        let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    /// Yields a random number of times, at most `times`.
    async fn yield_up_to(&mut self, times: u64) {
        for _ in 0..self.below(times + 1) {
            yield_now().await;
        }
    }
}

/// The seeds of the rounds. They are printed, so that a failure can be repeated.
fn rounds(default: u64) -> impl Iterator<Item = u64> {
    let first = match env::var("HAMMER_SEED") {
        Ok(seed) => {
            let seed = seed.trim_start_matches("0x");
            u64::from_str_radix(seed, 16).expect("HAMMER_SEED is a hexadecimal number")
        }
        Err(_) => {
            SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos()
                as u64
        }
    };
    let number = env::var("HAMMER_ROUNDS")
        .map_or(default, |it| it.parse().expect("HAMMER_ROUNDS is a number"));
    println!("HAMMER_SEED={first:#x} HAMMER_ROUNDS={number}");
    // Rounds are far apart, because each round derives further seeds by counting up.
    (0..number).map(move |round| first.wrapping_add(round << 32))
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            yield_now().await;
        }
    };
    timeout(TEST_TIMEOUT, waiting).await.expect("the condition becomes true");
}

fn user_of(access_token: &str) -> u64 {
    access_token
        .split_once('.')
        .expect("a token starts with its user")
        .0
        .parse()
        .expect("a decimal number")
}

fn number(login: Login) -> u64 {
    format!("{login:?}")
        .trim_start_matches("Login(")
        .trim_end_matches(')')
        .parse()
        .expect("a decimal number")
}
