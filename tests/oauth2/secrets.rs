//! No secret in any printed text.

use tower_refresh::oauth2::{
    ClientAuth, ClientCredentialsGrant, EndpointUrl, RefreshTokenGrant, Revocation, Secret,
};

use crate::hand::*;

#[test]
fn debug_shows_no_secret() {
    let endpoint = answering(200, GOOD).param("api_key", "hush-param");
    let revocation =
        Revocation::new(http(|| answer(200, "")).0, EndpointUrl::new(URL).unwrap(), me());
    for text in [
        format!("{:#?}", Secret::from("hush")),
        format!("{:#?}", me()),
        format!("{:#?}", ClientAuth::post("me", String::from("hush"))),
        format!("{:#?}", ClientAuth::assertion("me", || Ok("hush".to_owned()))),
        format!("{:#?}", EndpointUrl::new("https://a.example/t?key=hush").unwrap()),
        format!("{:#?}", RefreshTokenGrant::new(endpoint.clone())),
        format!("{:#?}", ClientCredentialsGrant::new(endpoint.clone())),
        format!("{endpoint:#?} {revocation:#?}"),
    ] {
        assert!(!text.contains("hush"), "{text}");
    }
    assert_eq!(
        format!("{:?}", ClientAuth::basic("me", "hush")),
        r#"ClientAuth { id: "me", method: "basic" }"#
    );
}

#[test]
fn a_request_shows_no_secret() {
    let (client, log) = http(|| answer(200, GOOD));
    refresh(at(client)).unwrap();
    let seen = log.only();
    let text = format!("{:?}", seen.head);
    // base64 of `me:hush-client`
    assert!(!text.contains("hush") && !text.contains("bWU6aHVzaC1jbGllbnQ"), "{text}");
}
