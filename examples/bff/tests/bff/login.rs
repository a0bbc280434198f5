use bff::{Demo, DemoOptions};
use reqwest::StatusCode;

use crate::browser::{Browser, demo, location, set_cookies};

#[tokio::test]
async fn a_login_gives_the_browser_an_opaque_cookie() {
    let demo = demo().await;
    let browser = Browser::new(&demo);
    let callback = browser.authorize("ann").await;
    let begun = browser.cookie("bff-login").unwrap();
    let done = browser.get(&callback).await;
    let lines = set_cookies(&done);
    let id = browser.cookie("bff-session").unwrap();
    assert_eq!(id.len(), 43);
    assert!(
        lines.contains(&format!("bff-session={id}; Path=/; HttpOnly; SameSite=Lax")),
        "{lines:?}"
    );
    assert!(lines.contains(&"bff-login=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0".to_owned()));
    assert_eq!(lines.len(), 2);
    assert!(browser.cookie("bff-login").is_none() && !begun.is_empty());
    assert_eq!(browser.answer("/api/user").await.1["name"], "Ann Archer");
}

#[tokio::test]
async fn no_token_reaches_the_browser() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    browser.administer("expire", &[]).await;
    let paths =
        ["/", "/login", "/api/user", "/api/settings", "/status", "/status.json", "/dashboard.js"];
    for path in paths {
        let response = browser.call(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let head = format!("{:?}", response.headers());
        let text = response.text().await.unwrap();
        assert!(!has_token(&head) && !has_token(&text), "{path}: {head} {text}");
    }
    assert!(!has_token(&browser.cookies()));
    assert_eq!(browser.counter("refreshes").await, 1);
}

/// Whether a text has the form of a token of the auth server: two secrets with a dot in between.
fn has_token(text: &str) -> bool {
    let is_secret = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    let words = text.split(|char| !is_secret(char) && char != '.');
    let mut halves = words.filter_map(|word| word.split_once('.'));
    halves.any(|(one, other)| one.len() >= 43 && other.len() >= 43)
}

#[test]
fn a_token_is_found_in_a_text() {
    let secret = "x".repeat(43);
    assert!(has_token(&format!("{{\"token\":\"{secret}.{secret}\"}}")));
    assert!(!has_token(&format!("{secret} http://127.0.0.1:8080")));
}

#[tokio::test]
async fn a_login_is_refused_unless_this_browser_has_begun_it() {
    let demo = demo().await;
    for (case, expected) in [
        ("no cookie", StatusCode::BAD_REQUEST),
        ("another browser", StatusCode::BAD_REQUEST),
        ("wrong state", StatusCode::BAD_REQUEST),
        ("no state", StatusCode::BAD_REQUEST),
        ("wrong verifier", StatusCode::FORBIDDEN),
        ("wrong code", StatusCode::FORBIDDEN),
        ("no code", StatusCode::FORBIDDEN),
    ] {
        let attacker = Browser::new(&demo);
        let mut callback = attacker.authorize("bob").await;
        let browser = Browser::new(&demo);
        browser.begin().await;
        let begun = attacker.cookie("bff-login").unwrap();
        let (state, verifier) = begun.split_once('.').unwrap();
        match case {
            "no cookie" => browser.set_cookie("bff-login", ""),
            "another browser" => {}
            "wrong verifier" => {
                browser.set_cookie("bff-login", &format!("{state}.{}", "x".repeat(43)));
            }
            _ => browser.set_cookie("bff-login", &format!("{state}.{verifier}")),
        }
        match case {
            "wrong state" => callback = callback.replace(state, &"x".repeat(43)),
            "no state" => callback = callback.replace("&state=", "&other="),
            "wrong code" => callback = callback.replace("code=", "code=x"),
            "no code" => callback = callback.replace("code=", "error=access_denied&other="),
            _ => {}
        }
        let refused = browser.get(&callback).await;
        assert_eq!((refused.status(), location(&refused)), (expected, ""), "{case}");
        assert!(refused.text().await.unwrap().contains("please try again"), "{case}");
        assert!(browser.cookie("bff-session").is_none(), "{case}");
        let is_begun = browser.cookie("bff-login").is_some_and(|value| !value.is_empty());
        assert_eq!(is_begun, expected == StatusCode::BAD_REQUEST && case != "no cookie", "{case}");
        browser.log_in("ann").await;
    }
}

#[tokio::test]
async fn a_link_of_another_page_does_not_end_a_login_that_has_begun() {
    let demo = demo().await;
    let browser = Browser::new(&demo);
    let callback = browser.authorize("ann").await;
    let foreign = browser.get("/callback?error=access_denied&state=x").await;
    assert_eq!((foreign.status(), set_cookies(&foreign).len()), (StatusCode::BAD_REQUEST, 0));
    assert_eq!(browser.get(&callback).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn behind_tls_the_cookies_are_bound_to_their_host() {
    let public_url = Some("https://dashboard.example".parse().unwrap());
    let demo = Demo::start(&DemoOptions { public_url, ..DemoOptions::default() }).await.unwrap();
    let browser = Browser::new(&demo);
    // The proxy ends TLS, and sends its own host.
    let begin = || browser.http.post(format!("{}/login", browser.app));
    let refused = begin().header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let begun = begin().header("origin", "https://dashboard.example").send().await.unwrap();
    let redirect_uri = "redirect_uri=https%3A%2F%2Fdashboard.example%2Fcallback";
    assert!(location(&begun).contains(redirect_uri));
    let lines = set_cookies(&begun);
    assert!(lines[0].starts_with("__Host-bff-login="), "{lines:?}");
    assert!(lines[0].ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"));
}

#[tokio::test]
async fn a_callback_works_once() {
    let demo = demo().await;
    let browser = Browser::new(&demo);
    let callback = browser.authorize("ann").await;
    let begun = browser.cookie("bff-login").unwrap();
    assert_eq!(browser.get(&callback).await.status(), StatusCode::SEE_OTHER);
    browser.set_cookie("bff-login", &begun);
    assert_eq!(browser.get(&callback).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_planted_session_id_is_not_used() {
    let demo = demo().await;
    let planted = "p".repeat(43);
    let browser = Browser::new(&demo);
    browser.set_cookie("bff-session", &planted);
    browser.log_in("ann").await;
    assert_ne!(browser.cookie("bff-session").unwrap(), planted);
    let attacker = Browser::new(&demo);
    attacker.set_cookie("bff-session", &planted);
    assert_eq!(attacker.answer("/api/user").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_second_login_ends_the_first_one_of_its_browser() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    let first = browser.cookie("bff-session").unwrap();
    browser.log_in("bob").await;
    assert_eq!(browser.answer("/api/user").await.1["name"], "Bob Baker");
    let other = Browser::new(&demo);
    other.set_cookie("bff-session", &first);
    assert_eq!(other.answer("/api/user").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.counter("grants").await, 1);
}

#[tokio::test]
async fn a_login_beyond_the_capacity_is_refused_and_ends_no_other() {
    let demo =
        Demo::start(&DemoOptions { max_sessions: 1, ..DemoOptions::default() }).await.unwrap();
    let ann = Browser::logged_in(&demo, "ann").await;
    let bob = Browser::new(&demo);
    let callback = bob.authorize("bob").await;
    assert_eq!(bob.get(&callback).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(bob.cookie("bff-session").is_none());
    assert_eq!(bob.counter("grants").await, 1, "the grant of the refused login is revoked");
    assert_eq!(ann.answer("/api/user").await.0, StatusCode::OK);
    ann.log_out().await;
    bob.log_in("bob").await;
}

#[tokio::test]
async fn a_wrong_password_gives_no_code() {
    let demo = demo().await;
    let browser = Browser::new(&demo);
    let form = browser.begin().await;
    for (user, password) in [("ann", "wrong"), ("ann", ""), ("eve", "tower")] {
        let refused = browser.send_password(&form, user, password).await;
        assert_eq!((refused.status(), location(&refused)), (StatusCode::FORBIDDEN, ""));
    }
}

#[tokio::test]
async fn the_auth_server_sends_codes_to_the_registered_address_only() {
    let demo = demo().await;
    let browser = Browser::new(&demo);
    let form = browser.begin().await;
    for (part, wrong) in [
        ("redirect_uri=http", "redirect_uri=https"),
        ("callback", "callback%2F..%2Fother"),
        ("127.0.0.1", "127.0.0.1.evil.example"),
        ("client_id=bff", "client_id=other"),
        ("code_challenge_method=S256", "code_challenge_method=plain"),
        ("code_challenge=", "other="),
        ("response_type=code", "response_type=token"),
        ("&state=", "&other="),
    ] {
        let (base, query) = form.split_once('?').unwrap();
        assert!(query.contains(part), "{query}");
        let url = format!("{base}?{}", query.replacen(part, wrong, 1));
        assert_eq!(browser.get(&url).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
        let refused = browser.send_password(&url, "ann", "tower").await;
        assert_eq!(
            (refused.status(), location(&refused)),
            (StatusCode::BAD_REQUEST, ""),
            "{wrong}"
        );
    }
}
