//! Compile errors of the commonest mistakes. Each case in `compile_fail/` is a program of a
//! generated crate, and its error contains the phrases that help the user.
//!
//! The tests check phrases and no whole messages, because those differ between versions of rustc.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const MANIFEST: &str = r#"
[package]
name = "cases"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
bytes = "1"
http = "1"
http-body-util = "0.1"
tower = { version = "0.5", features = ["util"] }
"#;

const CASES: [&str; 8] = [
    "correct",
    "detect_is_a_closure",
    "inner_service_is_not_clone",
    "inner_service_takes_the_plain_body",
    "method_call_on_a_client",
    "refresher_is_a_closure",
    "request_through_a_service_of_the_plain_body",
    "request_through_a_service_that_is_not_clone",
];

/// Without an error in a case, the generated crate compiles.
#[test]
fn a_correct_program_compiles() {
    if let Err(error) = check("correct") {
        panic!("{error}");
    }
}

#[test]
fn an_inner_service_that_takes_the_plain_body_is_named_with_the_missing_implementation() {
    let phrases = ["`PlainService: Service<", "ReplayBody<", "is not satisfied"];
    assert_error("inner_service_takes_the_plain_body", &phrases);
}

#[test]
fn an_inner_service_that_is_not_clone_is_named_as_not_clone() {
    let phrases = ["the trait `Clone` is not implemented for `UniqueService`"];
    assert_error("inner_service_is_not_clone", &phrases);
}

#[test]
fn a_request_names_the_bound_that_the_inner_service_does_not_satisfy() {
    let phrases = ["`PlainService: Service<", "ReplayBody<", "is not satisfied"];
    assert_error("request_through_a_service_of_the_plain_body", &phrases);
    let phrases = ["the trait `Clone` is not implemented for `UniqueService`"];
    assert_error("request_through_a_service_that_is_not_clone", &phrases);
}

/// The docs of `Refresh` quote this message and say how to get a better one.
#[test]
fn a_method_call_on_a_client_names_neither_mistake() {
    let phrases = ["`oneshot` exists", "its trait bounds were not satisfied"];
    assert_error("method_call_on_a_client", &phrases);
}

#[test]
fn a_closure_as_refresher_is_pointed_to_refresher_fn() {
    let phrases = [
        "cannot refresh a credential of type `Token`",
        "not a `Refresher<Token>`",
        "wrap an async closure with `tower_refresh::refresher_fn`",
        "or implement `tower_refresh::Refresher`",
    ];
    assert_error("refresher_is_a_closure", &phrases);
}

#[test]
fn a_closure_as_detect_is_pointed_to_detect_fn() {
    let phrases = [
        "cannot detect rejected credentials",
        "not a `Detect`",
        "wrap a closure with `tower_refresh::detect::detect_fn`",
        "or implement `tower_refresh::detect::Detect`",
    ];
    assert_error("detect_is_a_closure", &phrases);
}

#[track_caller]
fn assert_error(case: &str, phrases: &[&str]) {
    let Err(error) = check(case) else { panic!("{case} compiles") };
    for phrase in phrases {
        assert!(error.contains(phrase), "the error of {case} has no {phrase:?}:\n{error}");
    }
}

/// Checks a program of the generated crate. Returns the output of cargo if the program has an
/// error.
fn check(case: &str) -> Result<(), String> {
    let package = package();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--quiet", "--offline", "--color", "never", "--bin", case])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .output()
        .expect("cargo can be started");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Generates a crate that has each case as a program, once for all tests.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();

    PACKAGE.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail");
        let mut manifest = format!("{MANIFEST}tower-refresh = {{ path = {root:?} }}\n");
        for case in CASES {
            let path = root.join("tests/compile_fail").join(case).with_extension("rs");
            manifest.push_str(&format!("\n[[bin]]\nname = {case:?}\npath = {path:?}\n"));
        }
        fs::create_dir_all(&package).expect("a directory for the generated crate");
        fs::write(package.join("Cargo.toml"), manifest).expect("the manifest can be written");
        // The same versions of dependencies, which are there without a network.
        let _ = fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"));
        package
    })
}
