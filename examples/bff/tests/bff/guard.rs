use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::browser::{Browser, demo};

/// A request: method, path and headers.
type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)]);

#[tokio::test]
async fn a_call_that_no_page_of_the_back_end_has_sent_is_refused() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    let own = browser.app.clone();
    let cases: &[Case] = &[
        (Method::GET, "/api/user", &[]),
        (Method::GET, "/api/user", &[("sec-fetch-site", "same-origin")]),
        (Method::GET, "/api/user", &[("x-bff", "0")]),
        (Method::GET, "/api/user", &[("x-bff", "1"), ("sec-fetch-site", "cross-site")]),
        (Method::GET, "/api/user", &[("x-bff", "1"), ("sec-fetch-site", "same-site")]),
        (Method::GET, "/api/user", &[("x-bff", "1"), ("sec-fetch-site", "none")]),
        (Method::PUT, "/api/settings", &[("origin", &own)]),
        (Method::PUT, "/api/settings", &[("x-bff", "1"), ("origin", "https://evil.example")]),
        (Method::POST, "/logout", &[]),
        (Method::POST, "/logout", &[("origin", &own)]),
        (Method::POST, "/logout", &[("x-bff", "1"), ("origin", "null")]),
        (Method::POST, "/logout", &[("x-bff", "1"), ("origin", "https://evil.example")]),
        (Method::POST, "/logout", &[("x-bff", "1"), ("sec-fetch-site", "same-site")]),
        (Method::POST, "/login", &[("origin", "https://evil.example")]),
        (Method::POST, "/login", &[("sec-fetch-site", "cross-site")]),
    ];
    for (method, path, headers) in cases {
        let url = format!("{}{path}", browser.app);
        let request = browser.http.request(method.clone(), url);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let refused = request.json(&json!({ "theme": "dark" })).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {path} {headers:?}");
    }
    assert_eq!(browser.answer("/api/settings").await.1["theme"], "light");
    assert!(browser.cookie("bff-login").is_none());
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_the_auth_server() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    let login = browser.begin().await;
    let urls = ["expire", "revoke"].map(|path| format!("{}/admin/{path}", browser.auth));
    for url in urls.iter().chain([&login]) {
        let request = browser.http.post(url).header("origin", &browser.app);
        let fields = [("user", "ann"), ("name", "ann"), ("password", "tower")];
        assert_eq!(request.form(&fields).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let demo = demo().await;
    let browser = Browser::new(&demo);
    let form = browser.begin().await;
    let admin = format!("{}/admin", browser.auth);
    for url in
        ["/", "/login", "/callback", "/status", "/status.json", "/api/user", "/x", &form, &admin]
    {
        let response = browser.get(url).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        let policy = header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{url}: {policy}");
        assert!(
            !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(header(name), Some(value), "{url}: {name}");
        }
        assert_eq!(header("access-control-allow-origin"), None);
        let text = response.text().await.unwrap();
        assert!(
            !text.contains("<script>") && !text.contains("style=") && !text.contains("onclick")
        );
    }
}

#[tokio::test]
async fn a_name_that_an_attacker_points_to_loopback_is_refused() {
    let demo = demo().await;
    let browser = Browser::logged_in(&demo, "ann").await;
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    let (app_port, auth_port) = (port(&browser.app), port(&browser.auth));
    for (url, host) in [
        (format!("{}/status.json", browser.app), format!("evil.example:{app_port}")),
        (format!("{}/status.json", browser.app), format!("localhost:{app_port}")),
        (format!("{}/status.json", browser.app), "127.0.0.1".to_owned()),
        (format!("{}/admin", browser.auth), format!("evil.example:{auth_port}")),
    ] {
        let refused = browser.http.get(&url).header("host", &host).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    let expire = browser.http.post(format!("{}/admin/expire", browser.auth));
    let host = format!("evil.example:{auth_port}");
    let expire = expire.header("host", &host).header("origin", format!("http://{host}"));
    assert_eq!(expire.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
}
