//! How many instructions does the layer take for a request while its credential is good?
//!
//! Time is noisy, and this isn't: valgrind's callgrind executes this program instruction by
//! instruction, and counts. The subjects are the service alone, tower's `Retry` with a policy that
//! clones the request over `AddAuthorization`, and the layer, as in the bench `overhead`. Each is
//! run with two numbers of requests, so that what happens only once cancels out. What a subject
//! adds to the service alone is its share; making the request and dropping it is in both.
//!
//! Fails if the layer's share has grown: see [`ROWS`]. Without valgrind it says so, and counts
//! nothing.

mod support;

use std::{
    env,
    fmt::Debug,
    hint::black_box,
    io::ErrorKind,
    process::{Command, ExitCode},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::{
    page::Table,
    poll::run,
    race::Effort,
    request::{Head, full, token},
    stack::{refresh, retry},
    upstream::{Noop, Reply},
};
use tower::Service;

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

/// The requests, and how much the layer's share of each may be of that of `Retry` +
/// `AddAuthorization`.
///
/// A ratio, because both do the same kind of work, copying and allocating: a compiler, a libc or a
/// processor that makes one of them cheaper does so for the other. A bound is what was measured and
/// at most a tenth of it. Who has made the layer better, or worse for a good reason, writes the new
/// ones here.
const ROWS: [Row; 5] = [
    Row { request: Sent { headers: 0, body: 0 }, bound: 1.79 },
    Row { request: Sent { headers: 4, body: 0 }, bound: 0.625 },
    Row { request: Sent { headers: 12, body: 0 }, bound: 0.348 },
    Row { request: Sent { headers: 30, body: 0 }, bound: 0.215 },
    Row { request: Sent { headers: 4, body: 1024 }, bound: 0.731 },
];

/// What is counted is what many requests take, less what a few take: the program's start and
/// whatever grows once is in both.
const MANY: u64 = 600;
const FEW: u64 = 100;

/// Makes this program send requests and do nothing else. After it: the subject, headers, bytes of
/// the body, requests.
const SEND: &str = "--send";

struct Row {
    request: Sent,
    bound: f64,
}

#[derive(Clone, Copy)]
struct Sent {
    headers: usize,
    body: usize,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Bare,
    RetryAuthorized,
    Layer,
}

/// There is no valgrind on this machine.
struct Missing;

fn main() -> ExitCode {
    let mut args = env::args().skip_while(|arg| arg != SEND).skip(1);
    if let Some(subject) = args.next() {
        let mut number = || args.next().and_then(|arg| arg.parse().ok()).expect("three numbers");
        let request = Sent { headers: number(), body: number() };
        Subject::named(&subject).send(request, number() as u64);
        return ExitCode::SUCCESS;
    }
    match Effort::from_args() {
        Effort::Full => compare(),
        Effort::Once => {
            for row in &ROWS {
                Subject::ALL.into_iter().for_each(|subject| subject.send(row.request, 1));
            }
            ExitCode::SUCCESS
        }
        Effort::List => ExitCode::SUCCESS,
    }
}

// === The comparison ===

fn compare() -> ExitCode {
    println!(
        "Instructions of a request through the layer, and the ratio of the layer's share to that of Retry +"
    );
    println!("AddAuthorization (callgrind; {} requests of each)", MANY - FEW);
    println!();
    let columns = ["request", "bare", "`Retry` + it", "layer", "ratio", "bound"];
    let mut table = Table::new("instructions", &columns);
    let mut is_kept = true;
    for row in &ROWS {
        let Ok((cells, is_within)) = row.measure() else {
            println!("not counted: there is no valgrind on this machine");
            return ExitCode::SUCCESS;
        };
        table.row(cells);
        is_kept &= is_within;
    }
    table.publish(PAGE, is_kept);
    if is_kept {
        return ExitCode::SUCCESS;
    }
    eprintln!("the layer takes more instructions than its bounds, in {}, allow", file!());
    ExitCode::FAILURE
}

// === impl Row ===

impl Row {
    /// The row of the table, and whether its ratio keeps to the bound.
    fn measure(&self) -> Result<(Vec<String>, bool), Missing> {
        let Self { request, bound } = *self;
        let [bare, retry, layer] = Subject::ALL.map(|subject| subject.count(request));
        let (bare, retry, layer) = (bare?, retry?, layer?);
        let ratio = (layer - bare) / (retry - bare);
        let request = match request {
            Sent { headers, body: 0 } => format!("headers {headers}"),
            Sent { headers, body } => format!("headers {headers}, body {body} B"),
        };
        let counts = [bare, retry, layer].map(|count| format!("{count:.0}"));
        let ratios = [ratio, bound].map(|ratio| format!("{ratio:.3}"));
        Ok(([request].into_iter().chain(counts).chain(ratios).collect(), ratio <= bound))
    }
}

// === impl Subject ===

impl Subject {
    const ALL: [Self; 3] = [Self::Bare, Self::RetryAuthorized, Self::Layer];

    fn named(name: &str) -> Self {
        let is_named = |subject: &Self| format!("{subject:?}") == name;
        Self::ALL.into_iter().find(is_named).unwrap_or_else(|| panic!("one of {:?}", Self::ALL))
    }

    fn send(self, request: Sent, count: u64) {
        match self {
            Self::Bare => request.send(Noop, count),
            Self::RetryAuthorized => request.send(retry(Noop), count),
            Self::Layer => request.send(refresh(Noop, token()), count),
        }
    }

    /// Instructions per request.
    fn count(self, request: Sent) -> Result<f64, Missing> {
        let many = self.collect(request, MANY)?;
        let few = self.collect(request, FEW)?;
        Ok((many - few) as f64 / (MANY - FEW) as f64)
    }

    /// Instructions of a process that sends so many requests.
    fn collect(self, Sent { headers, body }: Sent, count: u64) -> Result<u64, Missing> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().expect("this program is a file"))
            .args([SEND, &format!("{self:?}")])
            .args([headers.to_string(), body.to_string(), count.to_string()])
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Missing),
            output => output.expect("valgrind can be started"),
        };
        let log = String::from_utf8_lossy(&output.stderr);
        // ==1234== Collected : 5678
        let collected =
            log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        match collected {
            Some(collected) if output.status.success() => Ok(collected),
            _ => panic!("valgrind says how many instructions it has seen, and not this: {log}"),
        }
    }
}

// === impl Sent ===

impl Sent {
    fn send<S>(self, mut service: S, count: u64)
    where
        S: Service<Request<Full<Bytes>>, Response = Reply, Error: Debug>,
    {
        for _ in 0..count {
            let request = Head::Own(self.headers).request(full(self.body));
            black_box(run(&mut service, request).expect("nothing fails here"));
        }
    }
}
