//! Random interleavings of many users: no upstream sees a token under the request of another user,
//! and no user has two flights at once.
//!
//! `SESSIONS_SEED` repeats a run.

use std::{
    collections::HashMap,
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_refresh::{
    ErrorKind, Origins, RefreshContext, RefreshError, RefreshLayer, ReplayBody, Session,
    refresher_fn,
    sessions::{Sessions, SessionsLayer, key_fn},
};

use crate::support::{bearer, session_error, token};

const USERS: usize = 12;
const TASKS: usize = 16;
const STEPS: usize = 300;

/// The provider and the upstream: the truth about users and their tokens.
#[derive(Clone, Default)]
struct World(Arc<WorldState>);

#[derive(Default)]
struct WorldState {
    /// The number of the newest token of each user. Older ones are rejected.
    newest: Mutex<HashMap<String, usize>>,
    /// The flights in progress.
    flights: Mutex<Vec<(String, RefreshContext)>>,
    issued: AtomicUsize,
    answered: AtomicUsize,
    hooks: AtomicUsize,
}

/// A small generator, so that each task has a schedule of its own.
struct Random(u64);

#[test]
fn g20_g21_users_do_not_cross_on_one_thread() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let seed = seed();
    runtime.unwrap().block_on(World::default().run(seed));
}

#[test]
fn g20_g21_users_do_not_cross_on_four_threads() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    let seed = seed();
    runtime.unwrap().block_on(World::default().run(seed));
}

fn seed() -> u64 {
    let seed = env::var("SESSIONS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(1..));
    println!("SESSIONS_SEED={seed}");
    seed
}

fn user_of(access_token: &str) -> &str {
    access_token.split_once('#').expect("tokens name their user").0
}

impl World {
    async fn run(self, seed: u64) {
        let sessions = self.sessions();
        let client = {
            let world = self.clone();
            let upstream = service_fn(move |request| {
                let world = world.clone();
                async move { world.answer(request).await }
            });
            let inner = RefreshLayer::per_request(Origins::any()).layer(upstream);
            let by_header = key_fn(|request: &http::request::Parts| {
                Some(request.headers.get("x-user")?.to_str().ok()?.to_owned())
            });
            BoxCloneService::new(SessionsLayer::new(sessions.clone(), by_header).layer(inner))
        };
        let maintenance = tokio::spawn(sessions.maintain());
        let tasks: Vec<_> = (0..TASKS as u64)
            .map(|number| {
                let (world, sessions, client) = (self.clone(), sessions.clone(), client.clone());
                let mut random = Random(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
                tokio::spawn(async move {
                    for _ in 0..STEPS {
                        let user = format!("user-{}", random.below(USERS));
                        match random.below(20) {
                            0 => {
                                let token = world.issue(&user);
                                match sessions.login(&user, token).await {
                                    Ok(session) => drop(session),
                                    Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded),
                                }
                            }
                            1 => match sessions.logout(&user).await {
                                Ok(()) => {}
                                Err(error) => assert!(matches!(
                                    error.kind(),
                                    ErrorKind::StorageFailed | ErrorKind::Overloaded
                                )),
                            },
                            2 => drop(sessions.remove(&user)),
                            3 => world.expire(&user),
                            4 => {
                                if let Some(session) = sessions.peek(&user) {
                                    drop(session.refresh());
                                }
                            }
                            5 => {
                                // A caller that leaves in the middle.
                                let request = client.clone().oneshot(Self::request(&user));
                                let short = Duration::from_micros(random.below(50) as u64);
                                drop(tokio::time::timeout(short, request).await);
                            }
                            _ => match client.clone().oneshot(Self::request(&user)).await {
                                Ok(response) => {
                                    assert_eq!(response.headers()["x-user"], user);
                                }
                                Err(error) => {
                                    let kind = session_error(&error).kind();
                                    assert_ne!(kind, ErrorKind::NoSession);
                                }
                            },
                        }
                        if random.below(4) == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        maintenance.abort();
        assert!(self.0.answered.load(SeqCst) > 100, "requests were answered");
        assert!(sessions.len() <= USERS - 2);
    }

    fn sessions(&self) -> Sessions<String> {
        let refresher = {
            let world = self.clone();
            refresher_fn(move |context: RefreshContext| {
                let world = world.clone();
                async move { world.refresh(&context).await }
            })
        };
        let hook = {
            let world = self.clone();
            move |end: tower_refresh::session::EndedLogin| {
                let name = end.session_name().unwrap_or_default().to_owned();
                let owner = end.credential().map(|token| user_of(token.access_token()).to_owned());
                assert!(owner.is_none_or(|owner| owner == name), "the hook of another user");
                world.0.hooks.fetch_add(1, SeqCst);
                std::future::ready(())
            }
        };
        let template = Session::builder(refresher)
            .backoff(Duration::from_millis(1), Duration::from_millis(2))
            .refresh_limit(1000, Duration::ZERO)
            .on_login_end(hook)
            .template();
        let world = self.clone();
        Sessions::builder(template)
            .name(String::clone)
            .capacity(USERS - 2)
            .idle_timeout(Duration::from_millis(20))
            .load(move |user: String| {
                let world = world.clone();
                async move {
                    tokio::task::yield_now().await;
                    if fastrand::u8(..10) == 0 {
                        return Err("a hiccup of the store".into());
                    }
                    let found = world.0.newest.lock().unwrap().get(&user).copied();
                    Ok(found.map(|number| (user.clone(), token(&format!("{user}#{number}")))))
                }
            })
            .build()
    }

    fn request(user: &str) -> Request<Full<Bytes>> {
        let request = Request::get("https://api.example.com/").header("x-user", user);
        request.body(Full::default()).unwrap()
    }

    fn issue(&self, user: &str) -> tower_refresh::Token {
        let number = self.0.issued.fetch_add(1, SeqCst) + 1;
        self.0.newest.lock().unwrap().insert(user.to_owned(), number);
        token(&format!("{user}#{number}"))
    }

    fn expire(&self, user: &str) {
        if let Some(newest) = self.0.newest.lock().unwrap().get_mut(user) {
            *newest = self.0.issued.fetch_add(1, SeqCst) + 1;
        }
    }

    /// The token endpoint: two calls for one user at once are an error.
    async fn refresh(
        &self,
        context: &RefreshContext,
    ) -> Result<tower_refresh::Token, RefreshError> {
        let user = context.session_name().expect("sessions have names").to_owned();
        let current = context.current().expect("a login has a credential");
        assert_eq!(user_of(current.access_token()), user, "the token of another user");
        {
            let mut flights = self.0.flights.lock().unwrap();
            // A flight that a login or a logout has fenced may still be finishing.
            let current =
                flights.iter().filter(|(other, flight)| *other == user && !flight.is_fenced());
            assert_eq!(current.count(), 0, "two flights of {user} at once");
            flights.push((user.clone(), context.clone()));
        }
        for _ in 0..fastrand::u8(..4) {
            tokio::task::yield_now().await;
        }
        let fails = fastrand::u8(..8) == 0;
        self.0.flights.lock().unwrap().retain(|(other, flight)| {
            *other != user
                || flight.generation() != context.generation()
                || flight.login() != context.login()
        });
        if fails {
            return Err(RefreshError::transient("a hiccup of the provider"));
        }
        Ok(self.issue(&user))
    }

    async fn answer(
        &self,
        request: Request<ReplayBody<Full<Bytes>>>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        tokio::task::yield_now().await;
        assert!(request.extensions().get::<Session>().is_none());
        let user = request.headers()["x-user"].to_str()?.to_owned();
        let token = bearer(&request).expect("no request goes without a credential");
        assert_eq!(user_of(token), user, "a token under the request of another user");
        let newest = self.0.newest.lock().unwrap().get(&user).copied();
        let is_newest = newest.is_some_and(|newest| token == format!("{user}#{newest}"));
        self.0.answered.fetch_add(1, SeqCst);
        let status = if is_newest { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        Ok(Response::builder().status(status).header("x-user", user).body(Full::default())?)
    }
}

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
