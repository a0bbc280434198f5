//! The world of a scenario: an upstream, an issuer of tokens, a session and its client, and a log
//! that every attempt is checked against.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body::Frame;
use http_body_util::Empty;
use tokio::{model::point, runtime::Runtime, task::yield_now};
use tower_layer::Layer;
use tower_refresh::{
    BoxError, Error, ErrorKind, Origins, Refresh, RefreshContext, RefreshError, RefreshLayer,
    Refresher, ReplayBody, Session, Token,
    observe::{Event, EventKind, observer_fn},
    refresher::BoxFuture,
    session::{EndedLogin, Phase, SessionBuilder},
};
use tower_service::Service;

/// The token that the upstream rejects from the start.
pub const FIRST: &str = "ann-1";

#[derive(Clone, Default)]
pub struct World(Arc<Mutex<Log>>);

/// What has happened so far. `now` counts the events, so it orders them.
#[derive(Default)]
struct Log {
    now: usize,
    accepted: BTreeSet<String>,
    /// When the login of a user ended, as far as the session's callers know.
    ended: BTreeMap<String, usize>,
    requests: BTreeMap<usize, Vec<String>>,
    /// When the present poll of a request, or the last one of its body, began.
    polls: BTreeMap<usize, usize>,
    refreshes: usize,
    running: BTreeMap<usize, RefreshContext>,
    renewed: Vec<String>,
    hooks: Vec<Option<String>>,
    /// The token of each generation that was seen.
    generations: BTreeMap<String, String>,
    /// The flights that an observer was told of, and whether they have settled.
    flights: BTreeMap<u64, bool>,
    /// How many waits an observer was told of that have not ended.
    waits: usize,
    /// The events that contradict earlier ones. A panic of an observer would be caught.
    contradictions: Vec<String>,
}

/// How the issuer answers a refresh.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Renew,
    Fail,
    Unprocessed,
    Refuse,
    Panic,
    Hang,
}

/// The number of a request, in its extensions.
#[derive(Clone, Copy)]
struct Number(usize);

#[derive(Clone)]
pub struct Upstream(World);

/// The empty body of a request. Other tasks may run while it is polled, and what they have done by
/// then counts as done before the request is sent.
struct Body(World, usize);

struct Issuer {
    world: World,
    answer: fn(usize) -> Answer,
}

pub type Client = Refresh<Upstream>;

/// A future that logs when a poll of its request begins.
struct Logged<F> {
    world: World,
    number: usize,
    inner: Pin<Box<F>>,
}

/// A refresher that is running. Its drop says that it is over.
struct Running(World, usize);

// === impl World ===

impl World {
    pub fn builder(&self, answer: fn(usize) -> Answer) -> SessionBuilder {
        let world = self.clone();
        Session::builder(Issuer { world: self.clone(), answer })
            .observer(observer_fn(move |event: &Event<'_>| world.observe(event)))
    }

    /// A session that is logged in as Ann, with a token that the upstream rejects.
    pub fn session(&self, answer: fn(usize) -> Answer) -> Session {
        let world = self.clone();
        self.builder(answer)
            .credential(token(FIRST))
            .on_login_end(move |end: EndedLogin| {
                let world = world.clone();
                async move {
                    let last = end.credential().map(|token| token.access_token().to_owned());
                    if let Some(last) = &last {
                        world.ended(owner(last));
                    }
                    let mut log = world.log();
                    let is_over = log.running.is_empty();
                    assert!(is_over, "g10: the hook runs after the last flight of its login");
                    log.hooks.push(last);
                }
            })
            .build()
    }

    pub fn client(&self, session: &Session) -> Client {
        RefreshLayer::new(session.clone(), Origins::any_with_cleartext())
            .layer(Upstream(self.clone()))
    }

    /// Sends a request, and checks that it is sent twice at most.
    pub async fn send(&self, client: &mut Client, number: usize) -> Result<(), ErrorKind> {
        poll_fn(|cx| client.poll_ready(cx)).await.expect("the upstream is never in trouble");
        let mut request = Request::new(Body(self.clone(), number));
        *request.uri_mut() = http::Uri::from_static("http://api.example.com/");
        request.extensions_mut().insert(Number(number));
        self.begin_poll(number);
        let inner = Box::pin(client.call(request));
        let response = Logged { world: self.clone(), number, inner }.await;
        let sent = self.log().requests.get(&number).cloned().unwrap_or_default();
        assert!(sent.len() <= 2, "g7: one replay at most: {sent:?}");
        match response {
            Ok(response) => {
                let status = response.status();
                assert_eq!(status, StatusCode::OK, "g7: a replay has the new token: {sent:?}");
                Ok(())
            }
            Err(error) => {
                let error = error.downcast::<Error>().expect("the upstream is never in trouble");
                if error.kind() == ErrorKind::LoggedOut && error.retry_after().is_none() {
                    assert!(sent.len() <= 1, "g9: no replay after the end: {sent:?}");
                }
                Err(error.kind())
            }
        }
    }

    /// Does something that ends the login of this user, and logs that it has ended.
    pub fn end<T>(&self, user: &str, change: impl FnOnce() -> T) -> T {
        let done = change();
        self.ended(user);
        done
    }

    pub fn accept(&self, name: &str) {
        self.log().accepted.insert(name.to_owned());
    }

    pub fn refreshes(&self) -> usize {
        self.log().refreshes
    }

    pub fn renewed(&self) -> Vec<String> {
        self.log().renewed.clone()
    }

    /// The last token of each login whose hook has run.
    pub fn hooks(&self) -> Vec<Option<String>> {
        self.log().hooks.clone()
    }

    pub fn sent(&self, number: usize) -> Vec<String> {
        self.log().requests.get(&number).cloned().unwrap_or_default()
    }

    /// Checks that a generation has one token, and that an observer never sees an older one.
    pub fn see(&self, state: &tower_refresh::session::State, last: &mut Option<String>) {
        let generation = format!("{:?}", state.generation());
        if let Some(token) = state.credential() {
            let token = token.access_token().to_owned();
            let known = self.log().generations.entry(generation).or_insert(token.clone()).clone();
            assert_eq!(known, token, "g2: a generation has one credential");
            *last = Some(token);
        }
    }

    /// Waits until all tasks of the runtime are over, and checks the state in which they leave the
    /// session.
    pub async fn settle(&self, runtimes: &[&Runtime], session: &Session) {
        while !runtimes.iter().all(|runtime| runtime.is_idle()) {
            yield_now().await;
        }
        // A task that a runtime has aborted may still be telling the observer that its flight is
        // over. The runtime counts it no longer.
        for _ in 0..100 {
            if self.log().flights.values().all(|is_settled| *is_settled) {
                break;
            }
            yield_now().await;
        }
        let state = session.state();
        assert_eq!(session.waiters(), 0, "g5: no request waits");
        assert_eq!(
            state.flights_started(),
            state.flights_settled(),
            "g5: each flight settles once"
        );
        assert!(!matches!(state.phase(), Phase::Refreshing(_)), "g5: no flight is left");
        let log = self.log();
        assert!(log.running.is_empty(), "g5: no refresher is left");
        assert_eq!(log.contradictions, Vec::<String>::new(), "g5: what an observer is told");
        let settled = log.flights.values().filter(|is_settled| **is_settled).count();
        assert_eq!(settled, log.flights.len(), "g5: each start has a settle");
        let started = state.flights_started();
        assert_eq!(settled as u64, started, "g5: each flight has a start");
        assert_eq!(log.waits, 0, "g5: each wait that began has ended");
    }

    /// Each flight has one start and later one settle, and each wait one end.
    fn observe(&self, event: &Event<'_>) {
        let mut log = self.log();
        let is_right = match *event.kind() {
            EventKind::FlightStarted { flight, .. } => log.flights.insert(flight, false).is_none(),
            EventKind::FlightSettled { flight, .. } => {
                log.flights.insert(flight, true) == Some(false)
            }
            EventKind::WaitStarted { .. } => {
                log.waits += 1;
                true
            }
            EventKind::WaitEnded { .. } => {
                log.waits = log.waits.wrapping_sub(1);
                log.waits != usize::MAX
            }
            _ => true,
        };
        if !is_right {
            log.contradictions.push(format!("{event:?}"));
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn ended(&self, user: &str) {
        let mut log = self.log();
        log.now += 1;
        let now = log.now;
        log.ended.entry(user.to_owned()).or_insert(now);
    }

    fn begin_poll(&self, number: usize) {
        let mut log = self.log();
        log.now += 1;
        let now = log.now;
        log.polls.insert(number, now);
    }

    fn sent_now(&self, number: usize, token: &str) {
        let mut log = self.log();
        let log = &mut *log;
        let sent = log.requests.entry(number).or_default();
        if let Some(first) = sent.first() {
            assert_eq!(owner(first), owner(token), "g4: one login per request");
            assert_ne!(first, token, "g3: a replay has a newer token");
        }
        sent.push(token.to_owned());
        let began = log.polls[&number];
        let ended = log.ended.get(owner(token));
        assert!(
            ended.is_none_or(|ended| began < *ended),
            "g4, g9: request {number} is sent with {token} after that login had ended"
        );
    }
}

// === impl Upstream ===

impl Service<Request<ReplayBody<Body>>> for Upstream {
    type Response = Response<Empty<Bytes>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        point();
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Body>>) -> Self::Future {
        let Number(number) = request.extensions().get().copied().expect("requests are numbered");
        let token = request.headers().get(AUTHORIZATION).map(|value| {
            let value = value.to_str().expect("a token is text");
            value.strip_prefix("Bearer ").expect("it is a bearer token").to_owned()
        });
        let world = self.0.clone();
        if let Some(token) = &token {
            world.sent_now(number, token);
        }
        Box::pin(async move {
            point();
            let is_accepted = token.is_none_or(|token| world.log().accepted.contains(&token));
            let status = if is_accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            let mut response = Response::new(Empty::new());
            *response.status_mut() = status;
            Ok(response)
        })
    }
}

// === impl Body ===

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        point();
        self.0.begin_poll(self.1);
        Poll::Ready(None)
    }
}

// === impl Issuer ===

impl Refresher for Issuer {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let (turn, running) = self.world.begin_refresh(&context);
            point();
            let answer = (self.answer)(turn);
            yield_now().await;
            let result = match answer {
                Answer::Renew => {
                    let current = context.current().map(|token| token.access_token().to_owned());
                    let user = current.as_deref().map_or("ann", owner).to_owned();
                    let name = format!("{user}-r{turn}");
                    let mut log = self.world.log();
                    log.accepted.insert(name.clone());
                    log.renewed.push(name.clone());
                    Ok(token(&name))
                }
                Answer::Fail => Err(RefreshError::transient("503")),
                Answer::Unprocessed => Err(RefreshError::unprocessed("no connection")),
                Answer::Refuse => Err(RefreshError::terminal("invalid_grant")),
                Answer::Panic => tokio::model::panic(),
                Answer::Hang => std::future::pending().await,
            };
            drop(running);
            result
        })
    }
}

impl World {
    fn begin_refresh(&self, context: &RefreshContext) -> (usize, Running) {
        let mut log = self.log();
        log.refreshes += 1;
        let turn = log.refreshes;
        assert!(
            log.running.values().all(RefreshContext::is_fenced),
            "g1: a flight starts while another one can change the session"
        );
        log.running.insert(turn, context.clone());
        (turn, Running(self.clone(), turn))
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.log().running.remove(&self.1);
    }
}

// === impl Logged ===

impl<F: Future> Future for Logged<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.world.begin_poll(self.number);
        self.inner.as_mut().poll(cx)
    }
}

pub fn token(name: &str) -> Token {
    Token::bearer(name).expect("the name is a token")
}

/// The user of a token: the part of its name before the hyphen.
fn owner(token: &str) -> &str {
    token.split('-').next().expect("there is a first part")
}
