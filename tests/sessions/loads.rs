use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tokio::time::Instant;
use tokio_test::{assert_pending, task};
use tower_refresh::{
    BoxError, Error, ErrorKind, Session, Token,
    session::{EndReason, Phase},
    sessions::Sessions,
};

use crate::{
    support::{root_cause, settle_tasks, token},
    users::{ManualLoads, bearer, builder, key, log_in, template},
};

fn kind(result: Result<Session, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test(start_paused = true)]
async fn a_login_is_loaded_once_however_many_callers_ask() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let callers: Vec<_> = (0..100).map(|_| tokio::spawn(sessions.get(&key("ann")))).collect();
    settle_tasks().await;
    assert_eq!(loads.started(), 1);
    assert!(sessions.peek(&key("ann")).is_none());
    assert!(!sessions.remove(&key("ann")), "a load is not forgotten");
    loads.find("ann");
    for caller in callers {
        assert_eq!(bearer(&caller.await.unwrap().unwrap()).as_deref(), Some("ann"));
    }
    drop(sessions.get(&key("ann")).await.unwrap());
    assert_eq!(loads.started(), 1);
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_is_under_way_when_get_returns_and_survives_its_callers() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    drop(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    settle_tasks().await;
    assert_eq!(bearer(&sessions.peek(&key("ann")).unwrap()).as_deref(), Some("ann"));
}

#[tokio::test(start_paused = true)]
async fn a_user_without_a_login_starts_logged_out() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let ann = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.answer("ann", Ok(None));
    let ann = ann.await.unwrap().unwrap();
    assert!(matches!(ann.state().phase(), Phase::LoggedOut(EndReason::NeverLoggedIn)));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_fails_all_its_callers_and_the_next_call_tries_again() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let callers: Vec<_> = (0..3).map(|_| tokio::spawn(sessions.get(&key("ann")))).collect();
    settle_tasks().await;
    loads.answer("ann", Err("the database is down".into()));
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFailed);
        assert_eq!(root_cause(&error).to_string(), "the database is down");
    }
    assert!(sessions.is_empty());
    let again = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    assert!(again.await.unwrap().is_ok());
    assert_eq!(loads.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_returns_another_key_fails_its_callers() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let caller = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.answer("ann", Ok(Some((key("bob"), token("bobs")))));
    assert_eq!(kind(caller.await.unwrap()), ErrorKind::StorageFailed);
    assert!(sessions.is_empty());
    assert!(ends.read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_ends_by_its_time_limit() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).load_timeout(Duration::from_secs(3)).build();
    let before = Instant::now();
    assert_eq!(kind(sessions.get(&key("ann")).await), ErrorKind::StorageFailed);
    assert_eq!(before.elapsed().as_secs(), 3);
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_fails_its_callers_alone() {
    let (template, _) = template();
    let attempts = Arc::new(AtomicUsize::new(0));
    for in_future in [false, true] {
        let attempts = attempts.clone();
        let sessions = builder(template.clone())
            .load(move |key: String| {
                let panics = attempts.fetch_add(1, SeqCst).is_multiple_of(2);
                assert!(in_future || !panics, "a panic of the test");
                async move {
                    assert!(!panics, "a panic of the test");
                    Ok(Some((key, token("at-1"))))
                }
            })
            .build();
        assert_eq!(kind(sessions.get(&key("ann")).await), ErrorKind::StorageFailed);
        assert!(sessions.get(&key("ann")).await.is_ok());
    }
}

#[test]
fn a_load_whose_runtime_ends_fails_its_callers() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    assert_eq!(
        kind(crate::support::poll_without_runtime(sessions.get(&key("ann")))),
        ErrorKind::NoRuntime
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let caller = {
        let _entered = runtime.enter();
        sessions.get(&key("ann"))
    };
    drop(runtime);
    assert_eq!(kind(crate::support::poll_without_runtime(caller)), ErrorKind::StorageFailed);
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_logout_during_the_load_ends_the_login_before_any_caller_gets_it() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let caller = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    let mut logout = task::spawn(sessions.logout(&key("ann")));
    assert_pending!(logout.poll());
    loads.find("ann");
    let session = caller.await.unwrap().unwrap();
    assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::Logout)));
    logout.await.unwrap();
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann logout"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_logout_takes_place() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    // The login is not in memory, so it is loaded to be revoked.
    drop(sessions.logout(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann logout"]);
}

#[tokio::test(start_paused = true)]
async fn a_logout_whose_load_fails_says_so() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let logout = tokio::spawn(sessions.logout(&key("ann")));
    settle_tasks().await;
    loads.answer("ann", Err("down".into()));
    assert_eq!(logout.await.unwrap().unwrap_err().kind(), ErrorKind::StorageFailed);
}

/// A key whose hash runs a function of the test first.
#[derive(Clone)]
struct ProbedKey(Arc<dyn Fn() + Send + Sync>);

impl Hash for ProbedKey {
    fn hash<H: Hasher>(&self, _: &mut H) {
        (self.0)();
    }
}

impl PartialEq for ProbedKey {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ProbedKey {}

/// The load fails on another thread before the logout has joined it.
#[test]
fn a_logout_whose_load_fails_at_once_says_so() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.unwrap();
    let _entered = runtime.enter();
    let (template, _) = template();
    let sessions: Sessions<ProbedKey> =
        Sessions::builder(template).load(|_| async { Err("down".into()) }).build();
    let probe = {
        let (sessions, caller) = (sessions.clone(), thread::current().id());
        move || {
            while thread::current().id() == caller && !sessions.is_empty() {
                thread::yield_now();
            }
        }
    };
    let logout = sessions.logout(&ProbedKey(Arc::new(probe)));
    let error = runtime.block_on(logout).expect_err("the load has failed");
    assert_eq!(error.kind(), ErrorKind::StorageFailed);
}

#[tokio::test(start_paused = true)]
async fn a_login_during_the_load_comes_after_it() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let found: [Result<Option<(String, Token)>, BoxError>; 3] =
        [Ok(Some((key("ann"), token("old")))), Ok(None), Err("down".into())];
    for found in found {
        let caller = tokio::spawn(sessions.get(&key("ann")));
        let login = tokio::spawn(sessions.login(&key("ann"), token("new")));
        settle_tasks().await;
        let failed = found.is_err();
        loads.answer("ann", found);
        let session = login.await.unwrap().unwrap();
        assert_eq!(bearer(&session).as_deref(), Some("new"));
        match caller.await.unwrap() {
            Ok(same) => assert_eq!(bearer(&same).as_deref(), Some("new")),
            Err(error) => assert!(failed, "{error}"),
        }
        sessions.logout(&key("ann")).await.unwrap();
        drop(session);
        assert!(sessions.remove(&key("ann")));
    }
    assert_eq!(ends.read(), ["new logout"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_login_that_waits_for_a_load_begins_nothing() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let mut login = task::spawn(sessions.login(&key("ann"), token("new")));
    assert_pending!(login.poll());
    drop(login);
    settle_tasks().await;
    loads.answer("ann", Ok(None));
    settle_tasks().await;
    assert!(sessions.peek(&key("ann")).unwrap().credential().is_none());
}

#[tokio::test(start_paused = true)]
async fn retain_waits_for_loads_in_progress() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let caller = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    let mut retain = task::spawn(sessions.retain(|_, _| false));
    assert_pending!(retain.poll());
    loads.find("ann");
    assert_eq!(retain.await, 1);
    drop(caller.await.unwrap().unwrap());
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann logout"]);
}

#[tokio::test(start_paused = true)]
async fn retain_logs_out_a_user_at_once_while_others_are_being_loaded() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let ann = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    drop(ann.await.unwrap().unwrap());
    let users: Vec<_> = (0..40).map(|user| format!("user-{user}")).collect();
    let callers: Vec<_> = users.iter().map(|user| tokio::spawn(sessions.get(user))).collect();
    settle_tasks().await;
    let retain = tokio::spawn(sessions.retain(|_, _| false));
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann logout"]);
    for user in users.iter().rev() {
        loads.find(user);
    }
    assert_eq!(retain.await.unwrap(), 41);
    for caller in callers {
        drop(caller.await.unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_forgotten_is_loaded_again() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let first = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    let weak = first.await.unwrap().unwrap().downgrade();
    assert!(sessions.remove(&key("ann")));
    assert!(weak.upgrade().is_none());
    let second = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    assert!(second.await.unwrap().unwrap().credential().is_some());
    assert!(ends.read().is_empty(), "an eviction ends no login");
    let _: Sessions<String> = sessions;
    let _ = log_in;
}
