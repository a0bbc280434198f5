//! Many replicas over one server: tasks with a store each, and real processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use redis::Client;
use tokio::{runtime::Runtime, time};
use tower_refresh::{Token, store::Redis};

use crate::{
    fleet::{self, Fleet, Issuer},
    proxy::Proxy,
    server::Server,
    support::{Endpoint, replica},
};

const REPLICAS: usize = 16;
/// How long the token lasts that all replicas begin with.
const LIFETIME: Duration = Duration::from_secs(2);

/// From the save of a refresh to the moment when the last replica has the new token, and a bare
/// round trip over the same way.
struct Adoption {
    last: Duration,
    round_trip: Duration,
}

/// Lets one credential expire for all replicas at once.
async fn adoption(client: Client) -> Adoption {
    let endpoint = Endpoint::default();
    let make = || replica(&endpoint, Redis::new(client.clone()));
    let (program, driver) = make();
    let expires_at = SystemTime::now() + LIFETIME;
    let token = Token::bearer("at-1").unwrap().with_refresh_token("rt-1");
    driver.login(&program, token.with_expires_at(expires_at)).await.unwrap();
    let gate = endpoint.close();
    let acquisitions: Vec<_> = (0..REPLICAS)
        .map(|_| {
            let (session, driver) = make();
            tokio::spawn(async move {
                driver.open(&session).await.unwrap().unwrap();
                tokio::spawn(driver.follow(&session));
                let left = expires_at.duration_since(SystemTime::now());
                time::sleep(left.expect("the replicas start before the expiry")).await;
                let token = session.acquire().await.unwrap();
                assert_eq!(token.access_token(), "at-101");
                Instant::now()
            })
        })
        .collect();
    // One of them waits for the token endpoint, and the others for that one. They would not look by
    // themselves before half a second has passed.
    time::sleep(LIFETIME + Duration::from_millis(450)).await;
    gate.add_permits(1);
    let mut times = Vec::new();
    for acquisition in acquisitions {
        times.push(acquisition.await.unwrap());
    }
    times.sort();
    assert_eq!((endpoint.calls(), endpoint.reused()), (1, 0));
    let round_trip = round_trip(&client).await;
    // The first one is the replica that has saved.
    Adoption { last: times[REPLICAS - 1] - times[0], round_trip }
}

/// The median of a bare read.
async fn round_trip(client: &Client) -> Duration {
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..25 {
        let start = Instant::now();
        redis::cmd("GET").arg("nothing").query_async::<()>(&mut connection).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Over a line that takes 100 milliseconds, so that round trips count and not the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g16_sixteen_replicas_make_one_exchange_and_have_the_token_two_round_trips_after_its_save()
{
    let server = Server::start();
    // The server learns the scripts, which costs one round trip for each.
    let Adoption { last, round_trip } = adoption(server.client()).await;
    println!("on loopback after {last:?}, where a round trip takes {round_trip:?}");

    let proxy = Proxy::start(server.port).await;
    proxy.delay_answers(Duration::from_millis(100));
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let Adoption { last, round_trip } = adoption(proxy.client()).await;
        let ratio = last.as_secs_f64() / round_trip.as_secs_f64();
        println!("the last of {REPLICAS} replicas had it {ratio:.2} round trips after the save");
        ratios.push(ratio);
    }
    // A busy machine may stall in one of them.
    assert!(ratios.iter().any(|ratio| *ratio <= 2.0), "{ratios:?}");
}

/// Run by a [`Fleet`], in processes of its own.
#[test]
#[ignore = "a part of the other tests"]
fn worker() {
    fleet::work(async |url| Redis::new(Client::open(url).unwrap()));
}

/// The lease that a stopped server outlasts.
const LEASE: Duration = Duration::from_secs(1);

#[test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
fn g16_eight_processes_that_are_killed_at_random_reuse_no_token_while_redis_restarts_and_stops() {
    let seed = fleet::seed();
    let runtime = Runtime::new().unwrap();
    let (mut server, issuer) = (Server::start(), Issuer::start(&runtime));
    let fleet = Fleet {
        worker: "replicas::worker",
        place: server.url(),
        endpoint: issuer.address.clone(),
        lease: LEASE,
        lifetime: fleet::LIFETIME,
    };
    fleet.log_in(&runtime, server.store());

    let is_server_well = Arc::new(AtomicBool::new(false));
    let run = thread::spawn({
        let is_server_well = is_server_well.clone();
        move || {
            let mut killed = fleet.run(8, 400, 5, seed);
            // All of the server's troubles happen while a fleet runs. A fast one runs again.
            while !is_server_well.load(Ordering::SeqCst) {
                killed += fleet.run(8, 400, 5, seed.wrapping_add(killed.into()));
            }
            killed
        }
    });
    let pause = || thread::sleep(Duration::from_millis(1200));
    pause();
    server.restart();
    pause();
    server.signal("-STOP");
    thread::sleep(LEASE * 2);
    server.signal("-CONT");
    pause();
    server.restart();
    is_server_well.store(true, Ordering::SeqCst);

    let killed = run.join().unwrap();
    let seen = issuer.seen();
    println!("{seen:?}, {killed} processes were killed");
    assert_eq!(seen.reused, 0, "{seen:?}");
    // Beside those that died, one may have waited for the token endpoint without its lease.
    assert!(seen.in_grace <= killed + 1, "{seen:?}, and {killed} were killed");
    assert!(killed >= 10 && seen.exchanges >= 20, "{seen:?}, and {killed} were killed");
}
