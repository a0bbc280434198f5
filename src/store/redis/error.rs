//! Errors of Redis as errors of a store.
//!
//! Texts of the server are not passed on, since some of them repeat the arguments of the command,
//! and a record is one of them.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::error::StoreError;

pub(super) fn classify(error: RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => StoreError::timed_out(),
        ErrorKind::Io => StoreError::unavailable(error),
        ErrorKind::AuthenticationFailed => {
            StoreError::denied("redis refused the user name or the password")
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => not_a_record(),
        ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
            StoreError::misconfigured("the client cannot speak to this server as it is set up")
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            from_text(error.detail().unwrap_or_default())
        }
        ErrorKind::Server(_) | ErrorKind::Extension => from_code(error.code().unwrap_or_default()),
        _ => StoreError::unavailable(format!("redis: {}", error.category())),
    }
}

pub(super) fn not_a_record() -> StoreError {
    StoreError::corrupt("another program has written to its key")
}

/// An error with the code `ERR`. Servers before version 7 have the code of a command that failed in
/// a script in the text.
fn from_text(text: &str) -> StoreError {
    let nested = text.split_once("-").filter(|(head, _)| head.contains("script"));
    if let Some((_, error)) = nested {
        return from_code(error.split(' ').next().unwrap_or_default());
    }
    if text.starts_with("unknown command") {
        return StoreError::misconfigured("this redis server does not run scripts");
    }
    from_code("")
}

fn from_code(code: &str) -> StoreError {
    match code {
        "WRONGPASS" => StoreError::denied("redis refused the user name or the password"),
        "NOAUTH" => StoreError::denied("redis asks for a password"),
        "NOPERM" => StoreError::denied("the redis user lacks a permission"),
        "WRONGTYPE" => not_a_record(),
        "MOVED" | "ASK" | "CROSSSLOT" => StoreError::misconfigured(
            "the redis server is a node of a cluster, which needs a connection of a cluster client",
        ),
        "LOADING" => StoreError::unavailable("redis is loading its data"),
        "READONLY" => StoreError::unavailable("this redis server is a replica, and read-only"),
        "OOM" => StoreError::unavailable("redis has no memory left"),
        "MISCONF" => StoreError::unavailable("redis cannot write to its disk"),
        "NOREPLICAS" => StoreError::unavailable("redis has too few replicas in touch"),
        "BUSY" => StoreError::unavailable("redis is busy with a script"),
        "MASTERDOWN" => StoreError::unavailable("the redis replica has lost its primary"),
        "CLUSTERDOWN" | "TRYAGAIN" => StoreError::unavailable("the redis cluster is incomplete"),
        _ => StoreError::unavailable("redis answered with an error"),
    }
}
