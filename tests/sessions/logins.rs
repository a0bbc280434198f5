use tower_refresh::{
    ErrorKind, Session,
    session::{EndReason, Phase},
    sessions::Sessions,
};

use crate::{
    support::{settle_tasks, token},
    users::{bearer, builder, key, log_in, template},
};

#[tokio::test(start_paused = true)]
async fn g20_all_callers_get_the_same_session_of_a_key() {
    let (template, _) = template();
    let sessions = builder(template).build();
    let first = sessions.get(&key("ann")).await.unwrap();
    first.login(token("anns"));
    let second = sessions.clone().get(&key("ann")).await.unwrap();
    assert_eq!(bearer(&second).as_deref(), Some("anns"));
    assert_eq!(sessions.len(), 1);
    let bobs = sessions.get(&key("bob")).await.unwrap();
    assert!(bobs.credential().is_none());
    assert_eq!(bobs.name(), Some("bob"));
    assert_eq!(sessions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn g20_a_session_that_anything_holds_is_not_forgotten() {
    let (template, _) = template();
    let sessions = builder(template).build();
    let held = sessions.get(&key("ann")).await.unwrap();
    assert!(!sessions.remove(&key("ann")));
    held.login(token("anns"));
    drop(held);
    // It is logged in, and the login would be lost.
    assert!(!sessions.remove(&key("ann")));
    sessions.logout(&key("ann")).await.unwrap();
    assert!(sessions.remove(&key("ann")));
    assert!(sessions.remove(&key("ann")), "the registry is without the key");
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn g20_a_session_with_a_flight_is_not_forgotten() {
    let (refresher, mut flights) = crate::support::manual_refresher();
    let template = Session::builder(refresher).template();
    let sessions: Sessions<String> = Sessions::new(template);
    let session = log_in(&sessions, "ann").await;
    drop(session.refresh());
    let flight = flights.next().await;
    drop(session.logout());
    drop(session);
    assert!(!sessions.remove(&key("ann")), "the flight still runs");
    flight.succeed("late");
    settle_tasks().await;
    assert!(sessions.remove(&key("ann")));
}

#[tokio::test(start_paused = true)]
async fn a_login_begins_when_the_call_returns() {
    let (template, _) = template();
    let sessions = builder(template).build();
    let login = sessions.login(&key("ann"), token("anns"));
    assert_eq!(bearer(&sessions.peek(&key("ann")).unwrap()).as_deref(), Some("anns"));
    assert_eq!(bearer(&login.await.unwrap()).as_deref(), Some("anns"));
}

#[tokio::test(start_paused = true)]
async fn a_logout_runs_the_hook_once_and_leaves_other_users_alone() {
    let (template, ends) = template();
    let sessions = builder(template).build();
    let ann = log_in(&sessions, "ann").await;
    let bob = log_in(&sessions, "bob").await;
    let logout = sessions.logout(&key("ann"));
    assert!(matches!(ann.state().phase(), Phase::LoggedOut(EndReason::Logout)));
    logout.await.unwrap();
    sessions.logout(&key("ann")).await.unwrap();
    sessions.logout(&key("unknown")).await.unwrap();
    assert_eq!(ends.read(), ["ann logout"]);
    assert!(bob.credential().is_some());
    assert_eq!(sessions.len(), 2, "a logout makes no session");
}

#[tokio::test(start_paused = true)]
async fn a_user_who_logs_in_again_gets_the_same_session() {
    let (template, ends) = template();
    let sessions = builder(template).build();
    let first = log_in(&sessions, "ann").await;
    sessions.logout(&key("ann")).await.unwrap();
    let second = log_in(&sessions, "ann").await;
    assert_eq!(bearer(&first), bearer(&second));
    assert_eq!(ends.read(), ["ann logout"]);
}

#[tokio::test(start_paused = true)]
async fn retain_logs_out_the_users_that_the_predicate_names() {
    let (template, ends) = template();
    let sessions: Sessions<(String, u32)> = Sessions::new(template);
    for browser in 0..150 {
        for user in ["ann", "bob"] {
            drop(sessions.login(&(key(user), browser), token(user)).await.unwrap());
        }
    }
    drop(sessions.get(&(key("ann"), 999)).await.unwrap());
    let mut seen = 0;
    let ended = sessions
        .retain(|(user, _), session| {
            seen += 1;
            assert!(session.credential().is_some(), "the predicate sees logins");
            user != "ann"
        })
        .await;
    assert_eq!((seen, ended), (300, 150));
    settle_tasks().await;
    assert_eq!(ends.read(), vec!["ann logout"; 150]);
    let anns = sessions.peek(&(key("ann"), 7)).unwrap();
    assert!(matches!(anns.state().phase(), Phase::LoggedOut(EndReason::Logout)));
    assert!(sessions.peek(&(key("bob"), 7)).unwrap().credential().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_predicate_may_call_the_registry() {
    let (template, _) = template();
    let sessions = builder(template).build();
    log_in(&sessions, "ann").await;
    let inner = sessions.clone();
    let ended = sessions
        .retain(move |key, _| {
            assert!(inner.peek(key).is_some());
            drop(inner.logout(key));
            false
        })
        .await;
    assert_eq!(ended, 1);
}

#[tokio::test(start_paused = true)]
async fn sessions_acquire_on_demand_if_the_template_says_so() {
    let refresher =
        tower_refresh::refresher_fn(|context: tower_refresh::RefreshContext| async move {
            Ok(token(context.session_name().unwrap()))
        });
    let template = Session::builder(refresher).acquire_on_demand(true).template();
    let sessions = builder(template).build();
    let ann = sessions.get(&key("ann")).await.unwrap();
    assert_eq!(ann.acquire().await.unwrap().access_token(), "ann");
}

#[tokio::test(start_paused = true)]
async fn empty_and_huge_keys_are_keys() {
    let (template, _) = template();
    let sessions = builder(template).build();
    for name in [String::new(), "x".repeat(1 << 20)] {
        let session = sessions.get(&name).await.unwrap();
        session.login(token("at-1"));
        assert_eq!(session.name(), Some(&*name));
        assert!(sessions.peek(&name).unwrap().credential().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn g21_one_user_at_max_waiters_leaves_the_others_alone() {
    let (refresher, mut flights) = crate::support::manual_refresher();
    let template = Session::builder(refresher).acquire_on_demand(true).max_waiters(0).template();
    let sessions = builder(template).build();
    let client = tower_refresh::RefreshLayer::per_request(tower_refresh::Origins::any());
    let (upstream, arrivals) = tower_test::mock::pair();
    let mut upstream_side = crate::support::Arrivals(arrivals);
    let client: tower_refresh::RefreshPerRequest<crate::support::Mock> =
        tower::Layer::layer(&client, upstream);
    let request = |session: &Session| {
        let mut request = crate::support::get("https://api.example.com/");
        request.extensions_mut().insert(session.clone());
        request
    };
    let ann = sessions.get(&key("ann")).await.unwrap();
    let answer = crate::support::ask(&client, request(&ann)).await.unwrap();
    assert_eq!(crate::support::kind(answer), ErrorKind::Overloaded);
    let _slow = flights.next().await;
    let bob = log_in(&sessions, "bob").await;
    let answer = crate::support::ask(&client, request(&bob));
    upstream_side.next().await.accept();
    assert_eq!(crate::support::status(answer).await, 200);
}

#[test]
fn the_registry_is_send_sync_and_shows_no_key() {
    fn assert_send_sync<T: Send + Sync>(_: &T) {}
    let (template, _) = template();
    let builder = builder(template);
    let shown = format!("{builder:?}");
    let sessions = builder.build();
    assert_send_sync(&sessions);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log_in(&sessions, "the-secret-key"));
    let shown = format!("{shown} {sessions:?}");
    assert!(!shown.contains("the-secret-key"), "{shown}");
}
