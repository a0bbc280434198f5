//! Every kind of `Location`, followed or not as the bare client does.

use http::{HeaderValue, Method};

use crate::{
    in_time,
    outcome::Outcome,
    server::Server,
    way::{GOOD, WAYS, Way},
};

/// `HOST` stands for the server itself.
const LOCATIONS: [&[u8]; 34] = [
    b"/echo",
    b"echo",
    b"./echo",
    b"../../echo",
    b"/echo?q=1",
    b"?q=1",
    b"#part",
    b"",
    b" ",
    b" /echo ",
    b"/e cho",
    b"/echo#part",
    b"/echo?q=1#part",
    b"/\xc3\xbc",
    b"/\xfc",
    b"//HOST/echo",
    b"\\\\HOST\\echo",
    b"http://HOST/echo",
    b"HTTP://HOST/echo",
    b"http:echo",
    b"http://user:secret@HOST/echo",
    b"http://user@HOST/echo",
    b"https://HOST/echo",
    b"http://",
    b"http:///",
    b"http://[::1",
    b"http://HOST:99999/",
    b"ftp://HOST/echo",
    b"ws://HOST/echo",
    b"file:///etc/passwd",
    b"javascript:alert(1)",
    b"data:text/plain,echo",
    b"mailto:ada@example.com",
    b"tower refresh",
];

const REQUESTS: [(u16, Method); 6] = [
    (302, Method::GET),
    (301, Method::POST),
    (307, Method::POST),
    (308, Method::DELETE),
    (303, Method::POST),
    (303, Method::HEAD),
];

async fn redirected(way: Way, code: u16, method: Method, location: &[u8]) -> Outcome {
    let server = Server::accepting(GOOD).await;
    let host = server.address.to_string();
    let location = match location.windows(4).position(|part| part == b"HOST") {
        Some(at) => [&location[..at], host.as_bytes(), &location[at + 4..]].concat(),
        None => location.to_owned(),
    };
    server.redirect("/a/b", code, HeaderValue::from_bytes(&location).unwrap());
    let sender = way.to(&server);
    let request = sender.http.request(method, server.url("/a/b")).body("a body");
    Outcome::of(sender.send(request).await, &[&server]).await
}

#[tokio::test]
async fn every_location_is_followed_as_the_bare_client_does() {
    in_time(async {
        for location in LOCATIONS {
            for (code, method) in REQUESTS {
                let expected = redirected(Way::Bare, code, method.clone(), location).await;
                for way in &WAYS[1..] {
                    let actual = redirected(*way, code, method.clone(), location).await;
                    let location = String::from_utf8_lossy(location);
                    assert_eq!(actual, expected, "{way:?}, {code}, {method}, {location}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_location_is_followed_up_to_the_limit_of_a_uri() {
    in_time(async {
        for length in [10_000, 60_000, 65_000, 66_000, 100_000] {
            let location = format!("/{}", "a".repeat(length));
            let expected = redirected(Way::Bare, 302, Method::GET, location.as_bytes()).await;
            for way in &WAYS[1..] {
                let actual = redirected(*way, 302, Method::GET, location.as_bytes()).await;
                assert_eq!(actual, expected, "{way:?}, {length}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn ten_redirects_are_followed_and_eleven_are_an_error() {
    in_time(async {
        for (hops, arrives) in [(10, true), (11, false)] {
            let mut expected = None;
            for way in WAYS {
                let server = Server::accepting(GOOD).await;
                for hop in 0..hops {
                    let next = HeaderValue::try_from(format!("/{}", hop + 1)).unwrap();
                    server.redirect(&format!("/{hop}"), 307, next);
                }
                let sender = way.to(&server);
                let result = sender.send(sender.http.post(server.url("/0")).body("a body")).await;
                let outcome = Outcome::of(result, &[&server]).await;
                assert_eq!(outcome.answer.is_ok(), arrives, "{way:?}");
                match &expected {
                    None => expected = Some(outcome),
                    Some(expected) => assert_eq!(&outcome, expected, "{way:?}"),
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_circle_of_two_origins_is_an_error() {
    in_time(async {
        for way in WAYS {
            let (one, other) = (Server::accepting("").await, Server::accepting("").await);
            one.redirect("/a", 302, HeaderValue::try_from(other.url("/b")).unwrap());
            other.redirect("/b", 302, HeaderValue::try_from(one.url("/a")).unwrap());
            let sender = way.with(&[], |builder| builder);
            let result = sender.send_unchanged(sender.http.get(one.url("/a"))).await;
            let outcome = Outcome::of(result, &[&one, &other]).await;
            assert_eq!(outcome.answer, Err("redirect"), "{way:?}");
            let accepted = outcome.accepted.iter().map(Vec::len);
            assert_eq!(accepted.collect::<Vec<_>>(), [6, 5], "{way:?}");
        }
    })
    .await;
}
