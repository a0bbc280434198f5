use serde_json::{Value, json};

use crate::browser::{Browser, demo};

#[tokio::test]
async fn the_status_page_shows_the_numbers_and_no_secret() {
    let demo = demo().await;
    let ann = Browser::logged_in(&demo, "ann").await;
    let bob = Browser::logged_in(&demo, "bob").await;
    ann.administer("expire", &[]).await;
    ann.answer("/api/user").await;
    bob.answer("/api/user").await;
    ann.administer("revoke", &[("user", "ann")]).await;
    ann.answer("/api/user").await;
    let id = bob.cookie("bff-session").unwrap();
    bob.log_out().await;

    let status = ann.status().await;
    let expected = json!({
        "sessions": 1,
        "waiters": 0,
        "logins": 2,
        "refreshes": { "started": 3, "succeeded": 2, "failed": 1 },
        "failures": { "terminal": 1 },
        "logins_ended": { "logout": 1, "refused": 1 },
    });
    assert_eq!(status, expected);

    let page = ann.get("/status").await.text().await.unwrap();
    for (id, value) in [
        ("sessions", &status["sessions"]),
        ("waiters", &status["waiters"]),
        ("logins", &status["logins"]),
        ("started", &status["refreshes"]["started"]),
        ("succeeded", &status["refreshes"]["succeeded"]),
        ("failed", &status["refreshes"]["failed"]),
    ] {
        assert!(page.contains(&format!(r#"id="{id}">{value}<"#)), "{id}");
    }
    for row in ["terminal</th><td>1", "logout</th><td>1", "refused</th><td>1"] {
        assert!(page.contains(row), "{row}");
    }
    assert!(!page.contains("{{"));
    for secret in [&*id, &ann.cookie("bff-session").unwrap(), "Ann", "Bob", "example.com"] {
        assert!(!page.contains(secret) && !status.to_string().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_status_page_before_the_first_login_has_zeros() {
    let demo = demo().await;
    let status = Browser::new(&demo).status().await;
    assert_eq!(status["sessions"], 0);
    assert_eq!(status["failures"], Value::Object(serde_json::Map::new()));
}
