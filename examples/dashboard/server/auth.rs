//! The auth service: `/auth/login`, `/auth/refresh`, `/auth/logout`.
//!
//! A refresh token can be used once (rotation, RFC 9700 §4.14.2). A second use means that the token
//! was stolen or that the client has a bug. The service cannot tell which, and revokes the session.
//!
//! An access token is valid until it expires, even after a newer one was issued.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::{
    clock::WallClock,
    form,
    server::{
        gate::Gate,
        traffic::Meter,
        wire::{Pair, Wire},
    },
};

pub(crate) const USER: &str = "ada";
pub(crate) const PASSWORD: &str = "lovelace";

/// The lifetime of an access token.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

pub(crate) struct Auth {
    /// A token names its session and the number of its pair in that session: `access-0-3`,
    /// `refresh-0-3`. A real service issues tokens that cannot be guessed.
    sessions: Mutex<Vec<AuthSession>>,
    pub(crate) refresh_answers: Gate,
    clock: WallClock,
    wire: &'static dyn Wire,
    meter: Meter,
}

struct AuthSession {
    /// The expiry of each pair's access token. The last pair has the only refresh token that is
    /// still unused.
    expiries: Vec<SystemTime>,
    is_revoked: bool,
}

impl Auth {
    pub(crate) fn new(clock: WallClock, wire: &'static dyn Wire, meter: Meter) -> Self {
        Self { sessions: Mutex::default(), refresh_answers: Gate::open(), clock, wire, meter }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.meter.count(|traffic| traffic.auth_requests += 1);
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return answer(StatusCode::BAD_REQUEST, "error=incomplete");
        };
        let body = body.to_bytes();
        match head.uri.path() {
            "/auth/login" => self.login(&body),
            "/auth/refresh" => {
                let answer = self.refresh(&head.headers, &body);
                // The refresh is decided here. Only its answer is held back.
                self.refresh_answers.pass().await;
                answer
            }
            "/auth/logout" => self.logout(&head.headers, &body),
            _ => answer(StatusCode::NOT_FOUND, "error=not_found"),
        }
    }

    /// Whether the API serves requests with this access token.
    pub(crate) fn accepts(&self, access_token: &str) -> bool {
        let (sessions, now) = (self.lock(), self.clock.now());
        parse("access", access_token)
            .and_then(|(id, pair)| Some((sessions.get(id)?, pair)))
            .is_some_and(|(session, pair)| session.accepts(pair, now))
    }

    /// Expires the access token of every session now.
    pub(crate) fn expire_access_tokens(&self) {
        for session in self.lock().iter_mut() {
            session.expiries.fill(self.clock.now());
        }
    }

    /// Ends every session, as an administrator could.
    pub(crate) fn revoke_sessions(&self) {
        for session in self.lock().iter_mut() {
            session.is_revoked = true;
        }
    }

    fn login(&self, body: &[u8]) -> Response<Full<Bytes>> {
        if (form::field(body, "user"), form::field(body, "password"))
            != (Some(USER), Some(PASSWORD))
        {
            return answer(StatusCode::UNAUTHORIZED, "error=wrong_password");
        }
        let mut sessions = self.lock();
        sessions
            .push(AuthSession { expiries: vec![self.clock.now() + LIFETIME], is_revoked: false });
        self.issue(sessions.len() - 1, 0)
    }

    fn refresh(&self, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        self.meter.count(|traffic| traffic.refreshes += 1);
        let renewed = self
            .wire
            .refresh_token(headers, body)
            .and_then(|token| parse("refresh", token))
            .and_then(|(id, pair)| {
                Some((id, self.lock().get_mut(id)?.renew(pair, self.clock.now())?))
            });
        match renewed {
            Some((id, pair)) => self.issue(id, pair),
            None => {
                self.meter.count(|traffic| traffic.refreshes_refused += 1);
                answer(StatusCode::UNAUTHORIZED, "error=session_revoked")
            }
        }
    }

    fn logout(&self, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        self.meter.count(|traffic| traffic.logouts += 1);
        if let Some((id, _)) =
            self.wire.refresh_token(headers, body).and_then(|token| parse("refresh", token))
            && let Some(session) = self.lock().get_mut(id)
        {
            session.is_revoked = true;
        }
        answer(StatusCode::NO_CONTENT, "")
    }

    fn issue(&self, id: usize, pair: usize) -> Response<Full<Bytes>> {
        let pair = Pair {
            access_token: format!("access-{id}-{pair}"),
            refresh_token: format!("refresh-{id}-{pair}"),
            lifetime: LIFETIME,
        };
        self.wire.issue(&pair, self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AuthSession>> {
        self.sessions.lock().expect("nothing panics while it holds the lock")
    }
}

impl AuthSession {
    fn accepts(&self, pair: usize, now: SystemTime) -> bool {
        !self.is_revoked && self.expiries.get(pair).is_some_and(|expiry| now < *expiry)
    }

    /// Exchanges a pair for the next one.
    fn renew(&mut self, pair: usize, now: SystemTime) -> Option<usize> {
        if pair + 1 != self.expiries.len() {
            self.is_revoked = true;
        }
        if self.is_revoked {
            return None;
        }
        self.expiries.push(now + LIFETIME);
        Some(pair + 1)
    }
}

fn parse(kind: &str, token: &str) -> Option<(usize, usize)> {
    let (id, pair) = token.strip_prefix(kind)?.strip_prefix('-')?.split_once('-')?;
    Some((id.parse().ok()?, pair.parse().ok()?))
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
