//! The span of a flight, and the request that waits for it.

use super::{capture::Record, told};

fn field<'a>(record: &'a Record, name: &str) -> &'a str {
    record.fields.get(name).map_or("-", String::as_str)
}

#[test]
fn each_flight_has_one_closed_span_that_is_no_child_and_follows_from_its_request() {
    let (_, capture) = told();
    let spans = capture.spans();
    let flights: Vec<_> = spans.iter().filter(|span| span.message == "refresh").collect();
    let settled = capture.events().into_iter().filter(|event| event.message == "refresh settled");
    assert_eq!(flights.len(), settled.count());
    for flight in &flights {
        assert_eq!((&*flight.target, &*flight.level), ("tower_refresh::flight", "INFO"));
        assert!(flight.parent.is_none() && flight.is_closed, "{flight:?}");
        assert_ne!(field(flight, "outcome"), "-", "{flight:?}");
    }
    let herd = flights.iter().find(|span| field(span, "session.name") == "herd").unwrap();
    let named = ["flight", "login", "generation", "cause", "awaited", "outcome", "error.type"];
    let values = named.map(|name| field(herd, name));
    assert_eq!(values, ["1", "1", "1", "rejected", "true", "renewed", "-"]);
    let [request] = herd.follows[..] else { panic!("{herd:?}") };
    assert!(spans.iter().any(|span| span.id == request && span.message == "request"));
}

#[test]
fn the_refresher_runs_inside_the_span_of_its_flight() {
    let (_, capture) = told();
    let spans = capture.spans();
    let asked: Vec<_> = capture
        .events()
        .into_iter()
        .filter(|event| event.message == "the auth server is asked")
        .collect();
    assert!(asked.len() > 10);
    for event in asked {
        let parent = event.parent.expect("it is in a span");
        assert!(spans.iter().any(|span| span.id == parent && span.message == "refresh"));
    }
}

#[test]
fn a_waiting_request_has_its_wait_in_its_own_span() {
    let (_, capture) = told();
    let spans = capture.spans();
    let waited: Vec<_> = capture
        .events()
        .into_iter()
        .filter(|event| event.message == "waited for a refresh")
        .collect();
    assert!(waited.len() >= 100, "the herd");
    for event in waited {
        let parent = event.parent.expect("it is in a span");
        assert!(spans.iter().any(|span| span.id == parent && span.message == "request"));
        assert!(field(&event, "wait").parse::<f64>().unwrap() >= 0.0);
    }
    let recorded = spans.iter().filter(|span| field(span, "tower_refresh.wait") != "-").count();
    assert!(recorded >= 100, "{recorded} spans");
}

#[test]
fn the_first_failure_of_a_row_warns_and_a_further_one_does_not() {
    let (_, capture) = told();
    let levels = |session: &str, message: &str| -> Vec<String> {
        let events = capture.events().into_iter();
        let events = events
            .filter(|event| event.message == message && field(event, "session.name") == session);
        events.map(|event| event.level).collect()
    };
    assert_eq!(levels("outage", "refresh settled"), ["WARN", "DEBUG", "DEBUG"]);
    assert_eq!(levels("herd", "refresh settled"), ["DEBUG"]);
    assert_eq!(levels("logins", "refresh settled"), ["WARN"]);
    assert_eq!(levels("logins", "login ended"), ["DEBUG", "DEBUG", "WARN"]);
    assert_eq!(levels("trouble", "save failed"), ["ERROR"]);
    let errors = capture.events().into_iter().filter(|event| event.message == "refresh settled");
    let errors: Vec<_> = errors.map(|event| field(&event, "error").to_owned()).collect();
    assert!(errors.contains(&"the refresh failed: 503 from the auth server".to_owned()));
}
