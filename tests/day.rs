//! A simulated day of a busy client whose auth service has several outages. The test counts refresh
//! calls and ended logins.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use support::*;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};
use tower_refresh::{
    ErrorKind, Origins, RefreshContext, RefreshError, RefreshErrorKind, RefreshLayer, Refresher,
    Session, Token, refresher::BoxFuture, session::Phase,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const LIFE: Duration = Duration::from_secs(10 * 60);

/// The state of the auth service and of the API.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// Connections are refused.
    Outage,
    /// Answers take ten seconds.
    Slow,
    /// Answers never come.
    Silent,
    /// 429, with a `Retry-After` of two minutes.
    RateLimited,
    /// The API rejects every token that the auth service issues.
    WrongAudience,
    /// The API rejects an unexpired token once a minute.
    SpuriousRejections,
}

/// Hour of the start, length in minutes, and state of each outage.
const DAY: [(u64, u64, Trouble); 6] = [
    (2, 60, Trouble::Outage),
    (6, 60, Trouble::Slow),
    (9, 60, Trouble::Silent),
    (12, 60, Trouble::RateLimited),
    (16, 60, Trouble::WrongAudience),
    (20, 60, Trouble::SpuriousRejections),
];

/// The simulated auth service and its counters.
struct World {
    start: Instant,
    issued: AtomicUsize,
    calls: Mutex<Vec<Trouble>>,
    upstream: Upstream,
}

struct Endpoint(Arc<World>);

/// A linear congruential random number generator.
struct Rng(AtomicU64);

impl World {
    fn time(&self) -> Duration {
        self.start.elapsed()
    }

    fn trouble(&self) -> Trouble {
        let minute = self.time().as_secs() / 60;
        let at =
            DAY.iter().find(|(hour, length, _)| (hour * 60..hour * 60 + length).contains(&minute));
        at.map_or(Trouble::None, |(_, _, trouble)| *trouble)
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + 500_000 * HOUR + self.time()
    }

    fn issue(&self, good: bool) -> Token {
        let name = format!("at-{}", self.issued.fetch_add(1, Ordering::Relaxed));
        self.upstream.accept_only(&[name.as_str()][..usize::from(good)]);
        token(&name).with_expires_at(self.wall() + LIFE)
    }
}

impl Refresher for Endpoint {
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async {
            let trouble = self.0.trouble();
            self.0.calls.lock().expect("no thread panics with the lock").push(trouble);
            match trouble {
                Trouble::Outage => return Err(RefreshError::transient("connection refused")),
                Trouble::RateLimited => {
                    return Err(RefreshError::from_status(StatusCode::TOO_MANY_REQUESTS)
                        .with_retry_after(2 * MINUTE));
                }
                Trouble::Slow => sleep(Duration::from_secs(10)).await,
                Trouble::Silent => std::future::pending().await,
                Trouble::WrongAudience => return Ok(self.0.issue(false)),
                Trouble::None | Trouble::SpuriousRejections => {}
            }
            Ok(self.0.issue(true))
        })
    }
}

impl Rng {
    fn below(&self, bound: u64) -> u64 {
        let next =
            self.0.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0.store(next, Ordering::Relaxed);
        (next >> 33) % bound
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_auth_service_outages_costs_few_refreshes_and_ends_no_login() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let rng = Rng(AtomicU64::new(seed));
    let upstream = Upstream::accepting(&[]);
    let world = Arc::new(World {
        start: Instant::now(),
        issued: AtomicUsize::new(0),
        calls: Mutex::default(),
        upstream: upstream.clone(),
    });
    let logouts = Arc::new(AtomicUsize::new(0));
    let session = Session::builder(Endpoint(world.clone()))
        .credential(world.issue(true))
        .refresh_ahead(MINUTE)
        .clock({
            let world = world.clone();
            move || world.wall()
        })
        .on_login_end({
            let logouts = logouts.clone();
            move |_| {
                logouts.fetch_add(1, Ordering::Relaxed);
                async {}
            }
        })
        .build();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());

    let mut requests = JoinSet::new();
    let (mut sent, mut next_spurious_rejection) = (0_usize, Duration::ZERO);
    while world.time() < 24 * HOUR {
        if world.trouble() == Trouble::SpuriousRejections && world.time() >= next_spurious_rejection
        {
            upstream.accept_only(&[]);
            next_spurious_rejection = world.time() + MINUTE;
        }
        let burst = if rng.below(20) == 0 { 30 } else { 1 };
        for _ in 0..burst {
            sent += 1;
            let (client, world) = (client.clone(), world.clone());
            requests.spawn(async move {
                let before = world.trouble();
                let answer = client.oneshot(get("/api")).await;
                (before, world.trouble(), answer.map(|response| response.status()))
            });
        }
        sleep(Duration::from_millis(500 + rng.below(5000))).await;
        assert!(!matches!(session.state().phase(), Phase::LoggedOut(_)));
    }
    let (mut answered, mut served) = (0, 0);
    while let Some(request) = requests.join_next().await {
        answered += 1;
        match request.unwrap() {
            (_, _, Ok(StatusCode::OK)) => served += 1,
            // A back-off may last a little longer than its outage.
            (Trouble::None, Trouble::None, Err(error)) => {
                let error = session_error(&error);
                assert_eq!(error.kind(), ErrorKind::RefreshFailed);
                assert!(error.retry_after().unwrap() <= 2 * MINUTE);
            }
            (_, _, Err(error)) => {
                assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed)
            }
            (before, _, Ok(status)) => {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "during {before:?}");
            }
        }
    }
    let calls = world.calls.lock().expect("no thread panics with the lock").clone();
    let during = |trouble| calls.iter().filter(|call| **call == trouble).count();
    println!("{sent} requests, {served} served; {} refreshes:", calls.len());
    let troubles = [
        Trouble::None,
        Trouble::Outage,
        Trouble::Slow,
        Trouble::Silent,
        Trouble::RateLimited,
        Trouble::WrongAudience,
        Trouble::SpuriousRejections,
    ];
    for trouble in troubles {
        println!("  {trouble:?}: {}", during(trouble));
    }

    assert_eq!(answered, sent);
    assert_eq!(logouts.load(Ordering::Relaxed), 0, "no login ended");
    assert!(matches!(session.state().phase(), Phase::Active | Phase::Refreshing(_)));
    assert!(served * 10 > sent * 8, "{served} of {sent} were served");
    // Eighteen hours without an outage, a token every nine minutes, and one after each outage.
    assert!(during(Trouble::None) <= 18 * 60 / 9 + DAY.len() + 10);
    // The back-off doubles from a second to a minute, and stays there.
    assert!(during(Trouble::Outage) <= 8 + 60);
    assert!(during(Trouble::Slow) <= 8);
    // Each flight takes half a minute to time out, followed by the back-off.
    assert!(during(Trouble::Silent) <= 8 + 40);
    assert!(during(Trouble::RateLimited) <= 31);
    assert!(during(Trouble::WrongAudience) <= 121, "one refresh per thirty seconds");
    assert!(
        during(Trouble::SpuriousRejections) <= 67,
        "one refresh per spurious rejection, and one per expiry"
    );
    let timed_out = matches!(session.state().phase(), Phase::Failed(failure) if failure.error().kind() == RefreshErrorKind::Ambiguous);
    assert!(!timed_out, "the last outage is over");
}
