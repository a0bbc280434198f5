use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::browser::{Browser, demo};

const PATHS: [&str; 3] = ["/api/user", "/api/notifications", "/api/settings"];

/// Sends ten calls at once.
async fn ten_calls(browser: &Arc<Browser>) -> Vec<(StatusCode, Value)> {
    let calls: Vec<_> = (0..10)
        .map(|index| {
            let browser = browser.clone();
            tokio::spawn(async move { browser.answer(PATHS[index % PATHS.len()]).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn ten_calls_with_an_expired_token_cause_one_refresh() {
    let demo = demo().await;
    let browser = Arc::new(Browser::logged_in(&demo, "ann").await);
    for round in 1..=3 {
        browser.administer("expire", &[]).await;
        let answers = ten_calls(&browser).await;
        assert!(answers.iter().all(|(status, _)| status.is_success()), "{answers:?}");
        assert_eq!(browser.counter("refreshes").await, round);
    }
    assert_eq!(browser.counter("reused").await, 0);
}

#[tokio::test]
async fn a_change_with_an_expired_token_is_sent_again_with_its_body() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    browser.administer("expire", &[]).await;
    let change = browser.http.put(format!("{}/api/settings", browser.app)).header("x-bff", "1");
    let changed = change.header("origin", &browser.app).json(&json!({ "theme": "dark" }));
    assert_eq!(changed.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(browser.answer("/api/settings").await.1["theme"], "dark");
    assert_eq!(browser.counter("refreshes").await, 1);
}

#[tokio::test]
async fn two_browsers_see_the_data_of_their_own_users() {
    let demo = demo().await;
    let ann = Arc::new(Browser::logged_in(&demo, "ann").await);
    let bob = Arc::new(Browser::logged_in(&demo, "bob").await);
    for _ in 0..3 {
        ann.administer("expire", &[]).await;
        let (of_ann, of_bob) = tokio::join!(ten_calls(&ann), ten_calls(&bob));
        for (answers, name, email) in
            [(of_ann, "Ann Archer", "ann@example.com"), (of_bob, "Bob Baker", "bob@example.com")]
        {
            assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
            assert_eq!(answers[0].1, json!({ "name": name, "email": email }));
            assert_eq!(answers[9].1, json!({ "name": name, "email": email }));
        }
    }
    assert_eq!(ann.counter("refreshes").await, 6);
}

#[tokio::test]
async fn a_revoked_login_fails_with_its_reason_and_a_new_login_works() {
    let demo = demo().await;
    let browser = Arc::new(Browser::logged_in(&demo, "ann").await);
    let bob = Browser::logged_in(&demo, "bob").await;
    browser.administer("revoke", &[("user", "ann")]).await;
    for _ in 0..2 {
        for answer in ten_calls(&browser).await {
            let expected = json!({ "reason": "session_expired" });
            assert_eq!(answer, (StatusCode::UNAUTHORIZED, expected));
        }
    }
    assert_eq!(browser.counter("refreshes").await, 1, "the end of the login is remembered");
    assert_eq!(bob.answer("/api/user").await.0, StatusCode::OK);
    browser.log_in("ann").await;
    assert_eq!(browser.answer("/api/user").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_logout_revokes_the_grant_and_reaches_other_tabs() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    let id = browser.cookie("bff-session").unwrap();
    assert_eq!(browser.counter("grants").await, 1);
    assert_eq!(browser.log_out().await.status(), StatusCode::NO_CONTENT);
    assert_eq!(browser.counter("grants").await, 0);
    assert_eq!(browser.counter("revoked").await, 1);
    assert_eq!(browser.status().await["sessions"], 0);
    // Another tab has the same cookies, and so none.
    assert!(browser.cookie("bff-session").is_none());
    let expected = (StatusCode::UNAUTHORIZED, json!({ "reason": "logged_out" }));
    assert_eq!(browser.answer("/api/user").await, expected);
    // A copy of the cookie is worth nothing.
    browser.set_cookie("bff-session", &id);
    assert_eq!(browser.answer("/api/user").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.log_out().await.status(), StatusCode::NO_CONTENT);
    assert_eq!(browser.counter("revoked").await, 1);
}

/// A session allows five refreshes in 30 seconds. The back-end passes the sixth 401 of the upstream
/// on as another status.
#[tokio::test]
async fn an_upstream_that_goes_on_rejecting_does_not_log_the_user_out() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    for _ in 0..5 {
        browser.administer("expire", &[]).await;
        assert_eq!(browser.answer("/api/user").await.0, StatusCode::OK);
    }
    browser.administer("expire", &[]).await;
    let expected = (StatusCode::BAD_GATEWAY, json!({ "reason": "upstream_rejected" }));
    assert_eq!(browser.answer("/api/user").await, expected);
    assert_eq!(browser.status().await["logins_ended"], json!({}));
}

#[tokio::test]
async fn invented_cookies_take_no_memory() {
    let demo = demo().await;
    let ann = Browser::logged_in(&demo, "ann").await;
    let attacker = Browser::new(&demo);
    for number in 0..1000 {
        attacker.set_cookie("bff-session", &format!("{number:043}"));
        let expected = (StatusCode::UNAUTHORIZED, json!({ "reason": "session_expired" }));
        assert_eq!(attacker.answer("/api/user").await, expected);
        if number % 100 == 0 {
            assert_eq!(attacker.log_out().await.status(), StatusCode::NO_CONTENT);
        }
    }
    for value in ["", "short", "{}", &"x".repeat(4000)] {
        attacker.set_cookie("bff-session", value);
        let expected = (StatusCode::UNAUTHORIZED, json!({ "reason": "logged_out" }));
        assert_eq!(attacker.answer("/api/user").await, expected, "{value}");
    }
    assert_eq!(ann.status().await["sessions"], 1);
    assert_eq!(ann.answer("/api/user").await.0, StatusCode::OK);
}
