use std::time::Duration;

use tokio::time::advance;
use tower_refresh::{
    session::{EndReason, Phase},
    sessions::Sessions,
};

use crate::{
    support::{settle_tasks, token},
    users::{ManualLoads, bearer, builder, key, log_in, template},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Lets time pass, and the tasks that are due in it.
async fn pass(time: Duration) {
    for _ in 0..10 {
        advance(time / 10).await;
        settle_tasks().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_login_ends_through_its_hook_and_is_forgotten() {
    let (template, ends) = template();
    let sessions = builder(template).idle_timeout(30 * MINUTE).build();
    let maintenance = tokio::spawn(sessions.maintain());
    drop(log_in(&sessions, "ann").await);
    pass(29 * MINUTE).await;
    assert!(ends.read().is_empty());
    pass(3 * MINUTE).await;
    assert_eq!(ends.read(), ["ann idle"]);
    pass(3 * MINUTE).await;
    assert!(sessions.is_empty());

    // The task does not keep the registry alive.
    drop(sessions);
    pass(2 * MINUTE).await;
    assert!(maintenance.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_idle_login_ends_before_its_session_is_handed_out_again() {
    let (template, ends) = template();
    let sessions = builder(template).idle_timeout(30 * MINUTE).build();
    drop(log_in(&sessions, "ann").await);
    advance(30 * MINUTE).await;
    let session = sessions.get(&key("ann")).await.unwrap();
    assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::Idle)));
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann idle"]);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_used_is_not_idle() {
    let (template, ends) = template();
    let sessions = builder(template).idle_timeout(30 * MINUTE).build();
    tokio::spawn(sessions.maintain());
    let held = log_in(&sessions, "holder").await;
    drop(log_in(&sessions, "caller").await);
    for _ in 0..10 {
        pass(20 * MINUTE).await;
        assert!(sessions.get(&key("caller")).await.unwrap().credential().is_some());
    }
    assert!(held.credential().is_some(), "a session that is held is in use");
    assert!(ends.read().is_empty());
    // The time counts from the last moment at which something held it.
    drop(held);
    pass(20 * MINUTE).await;
    assert!(sessions.peek(&key("holder")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_login_ends_after_its_lifetime_however_much_it_is_used() {
    let (template, ends) = template();
    let sessions = builder(template).lifetime(60 * MINUTE).build();
    tokio::spawn(sessions.maintain());
    let held = log_in(&sessions, "ann").await;
    for _ in 0..5 {
        pass(11 * MINUTE).await;
        drop(sessions.get(&key("ann")).await.unwrap());
    }
    assert!(held.credential().is_some());
    pass(10 * MINUTE).await;
    assert!(matches!(held.state().phase(), Phase::LoggedOut(EndReason::Lifetime)));
    assert_eq!(ends.read(), ["ann lifetime"]);

    // The next login of the session has a lifetime of its own, also if the session itself begins
    // it.
    held.login(token("again"));
    drop(sessions.get(&key("ann")).await.unwrap());
    pass(50 * MINUTE).await;
    assert_eq!(bearer(&held).as_deref(), Some("again"));
    pass(15 * MINUTE).await;
    assert_eq!(ends.read(), ["again lifetime", "ann lifetime"]);
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_ends_before_the_session_is_handed_out() {
    let (template, _) = template();
    let sessions = builder(template).lifetime(60 * MINUTE).build();
    let held = log_in(&sessions, "ann").await;
    advance(60 * MINUTE).await;
    assert!(sessions.peek(&key("ann")).unwrap().credential().is_none());
    assert!(held.credential().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_does_not_prolong_the_lifetime_of_a_login() {
    let (template, ends) = template();
    let sessions = builder(template).lifetime(60 * MINUTE).build();
    let session = log_in(&sessions, "ann").await;
    advance(40 * MINUTE).await;
    session.refresh().await.unwrap();
    drop(sessions.get(&key("ann")).await.unwrap());
    advance(20 * MINUTE).await;
    drop(sessions.get(&key("ann")).await.unwrap());
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann-fresh lifetime"]);
}

#[tokio::test(start_paused = true)]
async fn sessions_without_a_login_are_forgotten_after_a_minute() {
    let (template, _) = template();
    let sessions = builder(template).build();
    tokio::spawn(sessions.maintain());
    for number in 0..1000 {
        drop(sessions.get(&number.to_string()).await.unwrap());
    }
    let held = sessions.get(&key("7")).await.unwrap();
    drop(log_in(&sessions, "ann").await);
    assert_eq!(sessions.len(), 1001);
    pass(3 * MINUTE).await;
    assert_eq!(sessions.len(), 2);
    drop(held);
    pass(3 * MINUTE).await;
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn loads_in_progress_have_no_limits_but_their_own() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads
        .put_into(builder(template))
        .load_timeout(1000 * MINUTE)
        .idle_timeout(MINUTE)
        .lifetime(MINUTE)
        .build();
    tokio::spawn(sessions.maintain());
    let caller = tokio::spawn(sessions.get(&key("ann")));
    pass(100 * MINUTE).await;
    loads.find("ann");
    assert!(caller.await.unwrap().unwrap().credential().is_some());
}

#[tokio::test(start_paused = true)]
async fn extreme_limits_are_clamped() {
    let (template, _) = template();
    let sessions = builder(template.clone())
        .idle_timeout(Duration::MAX)
        .lifetime(Duration::MAX)
        .load_timeout(Duration::MAX)
        .capacity(usize::MAX)
        .build();
    tokio::spawn(sessions.maintain());
    drop(log_in(&sessions, "ann").await);
    pass(1000 * MINUTE).await;
    assert!(sessions.peek(&key("ann")).unwrap().credential().is_some());

    let sessions: Sessions<String> =
        builder(template).idle_timeout(Duration::ZERO).lifetime(Duration::ZERO).build();
    drop(log_in(&sessions, "ann").await);
    advance(Duration::from_millis(1)).await;
    assert!(sessions.peek(&key("ann")).unwrap().credential().is_none());
}
