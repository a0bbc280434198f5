//! TLS, as the application's own features of the crate `redis` provide it.

use std::{fs, process::Command};

use redis::{Client, TlsCertificates};
use tower_refresh::store::{Redis, Store, StoreErrorKind, testing};

use crate::{
    server::{Server, free_port},
    support::temporary,
};

#[tokio::test]
async fn a_store_over_tls_keeps_the_contract_and_refuses_an_unknown_certificate() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let directory = temporary("tls");
    fs::create_dir_all(&directory).unwrap();
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");

    let port = free_port();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let _server = Server::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        certificate,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}");
    let root_cert = Some(fs::read(certificate).unwrap());
    let certificates = TlsCertificates { client_tls: None, root_cert };
    let client = Client::build_with_tls(&*url, certificates).unwrap();
    testing::conforms(async || Redis::new(client.clone())).await;

    let error = Redis::new(Client::open(url).unwrap()).load("ann").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    fs::remove_dir_all(directory).unwrap();
}
