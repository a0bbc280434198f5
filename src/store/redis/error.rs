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
    let refusals = ["The user executing the script", "ACL failure in script"];
    if refusals.iter().any(|refusal| text.contains(refusal)) {
        return from_code("NOPERM");
    }
    if text.contains("script") {
        let words = text.split(": ").filter_map(|part| part.split(' ').next());
        let mut codes = words.map(|word| word.trim_start_matches('-'));
        let is_code = |word: &&str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase());
        return from_code(codes.find(is_code).unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use std::{error::Error, io};

    use redis::Value;

    use super::*;
    use crate::store::error::StoreErrorKind::{
        self, Corrupt, Denied, Misconfigured, TimedOut, Unavailable,
    };

    fn answer(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        answer.and_then(Value::extract_error).unwrap_err()
    }

    fn shown(error: RedisError) -> (StoreErrorKind, String) {
        let error = classify(error);
        (error.kind(), error.source().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn an_error_of_the_server_has_a_kind_and_a_text_without_its_arguments() {
        let cases = [
            ("WRONGPASS invalid username-password pair", Denied, "the password"),
            ("NOAUTH Authentication required.", Denied, "asks for a password"),
            ("NOPERM this user has no permissions to run 'eval'", Denied, "permission"),
            ("LOADING Redis is loading the dataset in memory", Unavailable, "is loading"),
            ("READONLY You can't write against a read only replica.", Unavailable, "read-only"),
            ("OOM command not allowed when used memory > 'maxmemory'.", Unavailable, "memory"),
            ("MISCONF Redis is configured to save RDB snapshots", Unavailable, "disk"),
            ("NOREPLICAS Not enough good replicas to write.", Unavailable, "replicas"),
            ("BUSY Redis is busy running a script.", Unavailable, "busy"),
            ("MASTERDOWN Link with MASTER is down", Unavailable, "primary"),
            ("CLUSTERDOWN The cluster is down", Unavailable, "incomplete"),
            ("TRYAGAIN Multiple keys request during rehashing", Unavailable, "incomplete"),
            ("MOVED 3999 127.0.0.1:6381", Misconfigured, "cluster client"),
            ("ASK 3999 127.0.0.1:6381", Misconfigured, "cluster client"),
            ("CROSSSLOT Keys in request don't hash to the same slot", Misconfigured, "cluster"),
            ("WRONGTYPE Operation against a key", Corrupt, "another program"),
            ("ERR max number of clients reached", Unavailable, "answered with an error"),
            ("ERR unknown command 'EVALSHA', with args: secret", Misconfigured, "scripts"),
            ("ERR The user executing the script can't run this command", Denied, "permission"),
            ("ERR ACL failure in script: User secret has no permissions", Denied, "permission"),
            (
                "ERR Error running script (call to f_0ab): @user_script: 29: The user executing \
                 the script can't run this command or subcommand",
                Denied,
                "permission",
            ),
            (
                "ERR Error running script (call to f_0ab): @user_script:26: -READONLY You can't",
                Unavailable,
                "read-only",
            ),
            (
                "ERR Error running script (call to f_0ab): @user_script:26: -OOM command not",
                Unavailable,
                "memory",
            ),
            (
                "ERR Error running script (call to f_0ab): @user_script:9: WRONGTYPE Operation",
                Corrupt,
                "another program",
            ),
            ("ERR wrong secret-argument in script", Unavailable, "answered with an error"),
            ("SECRET of a proxy", Unavailable, "answered with an error"),
        ];
        for (line, kind, text) in cases {
            let shown = shown(answer(line));
            assert_eq!(shown.0, kind, "{line}");
            assert!(shown.1.contains(text), "{line}: {}", shown.1);
            assert!(!shown.1.to_lowercase().contains("secret"), "{line}: {}", shown.1);
        }
    }

    #[test]
    fn an_error_of_the_client_has_a_kind_and_shows_no_answer() {
        let io = |kind: io::ErrorKind| shown(io::Error::from(kind).into()).0;
        assert_eq!(io(io::ErrorKind::ConnectionRefused), Unavailable);
        assert_eq!(io(io::ErrorKind::TimedOut), TimedOut);
        let no_number = redis::from_redis_value::<u64>(Value::BulkString(b"secret".to_vec()));
        let (kind, text) = shown(no_number.unwrap_err().into());
        assert_eq!(kind, Corrupt);
        assert!(!text.contains("secret"), "{text}");
        let url = redis::Client::open("redis://:secret@").unwrap_err();
        let (kind, text) = shown(url);
        assert_eq!(kind, Misconfigured);
        assert!(!text.contains("secret"), "{text}");
    }
}
