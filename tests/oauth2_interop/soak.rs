//! A busy client over a provider with outages, for `SOAK_SECONDS`: half a minute by default.

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_refresh::{Error, ErrorKind, Session, Token};

use crate::provider::{Api, Provider, api};

/// What the clients have got.
#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    /// A second expiry came before the replay, or the token of a refresh expired unused.
    rejected: AtomicUsize,
    failed: AtomicUsize,
    cancelled: AtomicUsize,
}

/// The resources of this process.
#[derive(Clone, Copy, Debug)]
struct Resources {
    kilobytes: usize,
    descriptors: usize,
}

const CLIENTS: usize = 500;
/// A request without an answer after this time is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The share of the time after which memory and descriptors no longer grow.
const WARM_UP: u32 = 4;
const MORE_KILOBYTES: usize = 24 * 1024;
const MORE_DESCRIPTORS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_soak_uses_no_token_twice_and_loses_no_session_and_no_request() {
    let seconds = env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(30));
    let seed = env::var("SOAK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let provider = Arc::new(Provider::start());
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let (counts, is_over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (provider, api) = (provider.clone(), api(&session));
        let (counts, is_over) = (counts.clone(), is_over.clone());
        let random = fastrand::Rng::with_seed(seed ^ number as u64);
        clients.spawn(async move {
            client(&provider, &api, random, &counts, &is_over).await;
        });
    }

    let start = Instant::now();
    let (mut logouts, mut warm) = (0, None);
    while start.elapsed() < time {
        trouble(&provider, &session, &mut random, &mut logouts).await;
        if warm.is_none() && start.elapsed() > time / WARM_UP {
            warm = Some(Resources::now());
        }
    }
    let last = Resources::now();
    is_over.store(true, SeqCst);
    while let Some(client) = clients.join_next().await {
        client.expect("no client panics");
    }
    while session.waiters() > 0 || ended.load(SeqCst) < logouts {
        sleep(Duration::from_millis(10)).await;
    }

    let warm = warm.expect("the soak was long enough");
    let Counts { answered, rejected, failed, cancelled } = &*counts;
    let books = provider.say("books").await;
    println!(
        "{time:?}: {answered:?} answered, {rejected:?} rejected twice, {failed:?} failed in outages \
         and logouts, {cancelled:?} cancelled, {logouts} logouts, {} flights, {warm:?} to {last:?}\n{books}",
        session.state().flights_started()
    );
    assert!(books.contains("most 1\n"), "a refresh token was used twice: {books}");
    assert!(!books.contains("invalid"), "a login was lost: {books}");
    assert_eq!(ended.load(SeqCst), logouts, "only logouts end logins");
    assert!(session.credential().is_some(), "the last login goes on");
    let (answered, rejected) = (answered.load(SeqCst), rejected.load(SeqCst));
    assert!(answered > CLIENTS, "the clients were answered");
    assert!(rejected < answered / 20, "a second expiry is rare");
    assert!(last.kilobytes < warm.kilobytes + MORE_KILOBYTES, "{warm:?} to {last:?}");
    assert!(last.descriptors < warm.descriptors + MORE_DESCRIPTORS, "{warm:?} to {last:?}");
}

/// Asks the API again and again. Some of its requests are cancelled.
async fn client(
    provider: &Provider,
    api: &Api,
    mut random: fastrand::Rng,
    counts: &Counts,
    is_over: &AtomicBool,
) {
    while !is_over.load(SeqCst) {
        let request = provider.ask(api);
        if random.u8(..8) == 0 {
            let patience = Duration::from_micros(random.u64(..5000));
            if timeout(patience, request).await.is_err() {
                counts.cancelled.fetch_add(1, SeqCst);
            }
        } else {
            match timeout(STUCK, request).await.expect("the request is stuck") {
                Ok(StatusCode::OK) => counts.answered.fetch_add(1, SeqCst),
                Ok(StatusCode::UNAUTHORIZED) => counts.rejected.fetch_add(1, SeqCst),
                Ok(status) => panic!("{status} from an API that answers 200 or 401"),
                Err(error) => {
                    let error = error.downcast_ref::<Error>().expect("the API is always there");
                    let kind = error.kind();
                    let is_expected = matches!(
                        kind,
                        ErrorKind::RefreshFailed | ErrorKind::LoggedOut | ErrorKind::LoginChanged
                    );
                    assert!(is_expected, "{error:?}");
                    counts.failed.fetch_add(1, SeqCst)
                }
            };
        }
        sleep(Duration::from_millis(random.u64(1..200))).await;
    }
}

/// One event of the day: an expiry, an outage, slow answers, or a logout and the next login.
async fn trouble(
    provider: &Provider,
    session: &Session,
    random: &mut fastrand::Rng,
    logouts: &mut usize,
) {
    match random.u8(..8) {
        0 => {
            provider.say("stop").await;
            provider.say("expire").await;
            sleep(Duration::from_millis(random.u64(..500))).await;
            provider.say("start").await;
        }
        1 => {
            provider.say("slow").await;
            provider.say("expire").await;
            sleep(Duration::from_millis(500)).await;
            provider.say("fast").await;
        }
        2 => {
            session.logout().await;
            *logouts += 1;
            let refresh_token = provider.say("login").await;
            let token = Token::bearer("none-yet").expect("it is a token");
            session.login(token.with_refresh_token(refresh_token));
        }
        _ => drop(provider.say("expire").await),
    }
    sleep(Duration::from_millis(random.u64(100..400))).await;
}

// === impl Resources ===

impl Resources {
    /// By `/proc`: zeros where there is none.
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self { kilobytes: kilobytes.unwrap_or_default(), descriptors }
    }
}
