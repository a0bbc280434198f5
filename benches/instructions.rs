//! How many instructions does the layer take for a request while its credential is good?
//!
//! Instruction counts have little noise, unlike times. valgrind's callgrind runs this program and
//! counts its instructions. The subjects are the service alone, tower's `Retry` with a policy that
//! clones the request over `AddAuthorization`, and the layer, as in the bench `overhead`, without
//! and with an observer, and for requests that bring their session. Each runs with two numbers of
//! requests, so that one-time work cancels out. The share of a subject is its count less that of
//! the service alone. All counts include making and dropping the request.
//!
//! The bench fails if the layer's share exceeds its bound in [`ROWS`], if an observer of the
//! session changes the count, or if a request that brings its session takes more than
//! [`OWN_SESSION`] allows. Without valgrind it prints a note and counts nothing.

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
    stack::{observed, per_request, refresh, retry, session},
    upstream::{Noop, Reply},
};
use tower::{Service, ServiceExt};

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

/// The requests, and the bound on the layer's share relative to that of `Retry` +
/// `AddAuthorization`.
///
/// The bound is a ratio because both stacks copy and allocate. A compiler, a libc or a processor
/// that makes one of them cheaper does the same for the other. A bound exceeds the measured ratio
/// by at most a tenth. A change that improves a ratio, or worsens it for a good reason, updates it
/// here.
const ROWS: [Row; 5] = [
    Row { request: RequestShape { headers: 0, body: 0 }, bound: 1.79 },
    Row { request: RequestShape { headers: 4, body: 0 }, bound: 0.625 },
    Row { request: RequestShape { headers: 12, body: 0 }, bound: 0.348 },
    Row { request: RequestShape { headers: 30, body: 0 }, bound: 0.215 },
    Row { request: RequestShape { headers: 4, body: 1024 }, bound: 0.731 },
];

/// The numbers of requests of the two runs, whose counts are subtracted. The start of the program
/// and buffers that grow once are in both counts.
const MANY: u64 = 600;
const FEW: u64 = 100;

/// The share of a count that depends on the address of the stack. With an observer, the layer takes
/// the same number of instructions but for this.
const NOISE: f64 = 0.01;

/// The bound on the layer's share for a request that brings its session, relative to the share for
/// one of a fixed session. The share leaves out what `http` takes to put the session into the
/// request's extensions and to drop it there.
const OWN_SESSION: f64 = 1.3;

/// The option that makes this program only send requests. Its arguments are the subject, the number
/// of headers, the bytes of the body, and the number of requests.
const SEND: &str = "--send";

struct Row {
    request: RequestShape,
    bound: f64,
}

#[derive(Clone, Copy)]
struct RequestShape {
    headers: usize,
    body: usize,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Bare,
    RetryAuthorized,
    Layer,
    /// The layer, with an observer of its session.
    Observed,
    /// The service alone, with requests that bring a session.
    BareWithSession,
    /// The layer, for requests that bring their session.
    PerRequest,
}

/// valgrind is not installed.
struct ValgrindMissing;

fn main() -> ExitCode {
    let mut args = env::args().skip_while(|arg| arg != SEND).skip(1);
    if let Some(subject) = args.next() {
        let mut number = || args.next().and_then(|arg| arg.parse().ok()).expect("three numbers");
        let request = RequestShape { headers: number(), body: number() };
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
    let columns =
        ["request", "bare", "`Retry` + it", "layer", "observed", "ratio", "bound", "own session"];
    let mut table = Table::new("instructions", &columns);
    let mut is_kept = true;
    for row in &ROWS {
        let Ok((cells, is_within)) = row.measure() else {
            println!("not counted: valgrind is not installed");
            return ExitCode::SUCCESS;
        };
        table.row(cells);
        is_kept &= is_within;
    }
    table.publish(PAGE, is_kept);
    if is_kept {
        return ExitCode::SUCCESS;
    }
    eprintln!("the layer exceeds its bounds in {}", file!());
    ExitCode::FAILURE
}

// === impl Row ===

impl Row {
    /// The row of the table, and whether its ratio keeps to the bound.
    fn measure(&self) -> Result<(Vec<String>, bool), ValgrindMissing> {
        let Self { request, bound } = *self;
        let counts = Subject::ALL.map(|subject| subject.count(request));
        let [bare, retry, layer, observed, bare_with_session, per_request] = counts;
        let (bare, retry, layer, observed) = (bare?, retry?, layer?, observed?);
        let ratio = (layer - bare) / (retry - bare);
        let own_session = (per_request? - bare_with_session?) / (layer - bare);
        let request = match request {
            RequestShape { headers, body: 0 } => format!("headers {headers}"),
            RequestShape { headers, body } => format!("headers {headers}, body {body} B"),
        };
        let is_kept = ratio <= bound
            && (observed - layer).abs() <= layer * NOISE
            && own_session <= OWN_SESSION;
        let counts = [bare, retry, layer, observed].map(|count| format!("{count:.0}"));
        let ratios = [ratio, bound, own_session].map(|ratio| format!("{ratio:.3}"));
        Ok(([request].into_iter().chain(counts).chain(ratios).collect(), is_kept))
    }
}

// === impl Subject ===

impl Subject {
    const ALL: [Self; 6] = [
        Self::Bare,
        Self::RetryAuthorized,
        Self::Layer,
        Self::Observed,
        Self::BareWithSession,
        Self::PerRequest,
    ];

    fn named(name: &str) -> Self {
        let is_named = |subject: &Self| format!("{subject:?}") == name;
        Self::ALL.into_iter().find(is_named).unwrap_or_else(|| panic!("one of {:?}", Self::ALL))
    }

    fn send(self, request: RequestShape, count: u64) {
        match self {
            Self::Bare => request.send(Noop, count),
            Self::RetryAuthorized => request.send(retry(Noop), count),
            Self::Layer => request.send(refresh(Noop, token()), count),
            Self::Observed => request.send(observed(Noop, token()), count),
            Self::BareWithSession => request.send(Noop.map_request(with_session()), count),
            Self::PerRequest => {
                request.send(per_request(Noop).map_request(with_session()), count);
            }
        }
    }

    /// The number of instructions per request.
    fn count(self, request: RequestShape) -> Result<f64, ValgrindMissing> {
        let many = self.collect(request, MANY)?;
        let few = self.collect(request, FEW)?;
        Ok((many - few) as f64 / (MANY - FEW) as f64)
    }

    /// The number of instructions of a process that sends this many requests.
    fn collect(
        self,
        RequestShape { headers, body }: RequestShape,
        count: u64,
    ) -> Result<u64, ValgrindMissing> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().expect("the path of this program is known"))
            .args([SEND, &format!("{self:?}")])
            .args([headers.to_string(), body.to_string(), count.to_string()])
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(ValgrindMissing),
            output => output.expect("valgrind can be started"),
        };
        let log = String::from_utf8_lossy(&output.stderr);
        // ==1234== Collected : 5678
        let collected =
            log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        match collected {
            Some(collected) if output.status.success() => Ok(collected),
            _ => panic!("no count of instructions in the output of valgrind: {log}"),
        }
    }
}

/// Puts a session into the extensions of each request.
fn with_session<B>() -> impl FnMut(Request<B>) -> Request<B> + Clone {
    let session = session(token()).build();
    move |mut request| {
        request.extensions_mut().insert(session.clone());
        request
    }
}

// === impl RequestShape ===

impl RequestShape {
    fn send<S>(self, mut service: S, count: u64)
    where
        S: Service<Request<Full<Bytes>>, Response = Reply, Error: Debug>,
    {
        for _ in 0..count {
            let request = Head::Own(self.headers).request(full(self.body));
            black_box(run(&mut service, request).expect("the service is infallible"));
        }
    }
}
