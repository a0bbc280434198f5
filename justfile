# The tasks of this repository. `cargo install just`, or `.ci/tool just` in its place.

# Lists the tasks.
default:
    @just --list

# Compiles everything, quickly.
check:
    cargo check --all-targets --all-features

# Runs the tests of the core, as `cargo test` does.
test *args:
    cargo test {{args}}

# Runs the tests of all features.
test-all *args:
    cargo test --all-features {{args}}

# Runs the tests against Redis, Chromium, and servers and clients in Python and Node.js.
interop:
    for script in tests/interop/*.sh; do bash "$script" || exit 1; done

# Tests the names of metrics, spans and events against a real exporter and a real subscriber.
metrics:
    cargo test --manifest-path examples/metrics/Cargo.toml --target-dir target/metrics

# Tests the recipes for clients of other crates.
recipes:
    cargo test --manifest-path examples/recipes/Cargo.toml --target-dir target/recipes

# Tests the back-end for browsers over HTTP. `just interop` tests its page in Chromium.
bff:
    cargo test --manifest-path examples/bff/Cargo.toml --target-dir target/recipes

# Runs 500 clients against oidc-provider with outages: `just soak 600` for ten minutes.
soak seconds="30":
    SOAK_SECONDS={{seconds}} bash tests/interop/oidc.sh soak

# Changes the code in small ways, and expects the tests to fail: `just mutants --file src/session/hook.rs`.
mutants *args:
    .ci/mutants {{args}}

# Formats code, and groups imports (nightly).
fmt:
    cargo +nightly fmt -- --config group_imports=StdExternalCrate,imports_granularity=Crate
    for package in $(git ls-files '*/Cargo.toml'); do cargo +nightly fmt --manifest-path "$package" -- --config group_imports=StdExternalCrate,imports_granularity=Crate; done

# Runs clippy, the spell checker, and the rules for prose and imports.
lint:
    cargo clippy --all-targets --all-features --locked -- -D warnings
    .ci/prose
    .ci/rooms
    .ci/tool typos

# Opens the documentation.
doc:
    cargo doc --no-deps --all-features --open

# Runs one bench: `just bench overhead`.
bench name *args:
    cargo bench --bench {{name}} {{args}}

# Measures all benches, and writes their tables into the pages.
figures:
    BENCH_WRITE=1 cargo bench --bench overhead --bench herd --bench contention --bench end_to_end --bench instructions --bench load
    BENCH_WRITE=1 cargo bench --bench store --features sealed,redis
    BENCH_WRITE=1 cargo bench --bench sessions --features sessions,store
    BENCH_WRITE=1 cargo run --release --manifest-path benches/peers/Cargo.toml

# Draws the picture of the README again.
picture:
    cargo run --example dashboard -- --svg docs/herd.svg

# Runs the scenarios of the session under many schedules, and under known bugs: `just schedules --deep`.
schedules *args:
    .ci/schedules {{args}}

# Fuzzes everything that reads what a server has written (nightly): `FUZZ_SECONDS=600 just fuzz cookies`.
fuzz *targets:
    .ci/fuzz {{targets}}

# Checks the licences and sources of dependencies.
deny:
    .ci/tool cargo-deny --locked check licenses bans sources

# Compares the public API with the list in .ci/public-api.txt (nightly): `just api --write` accepts a change.
api *args:
    .ci/public-api {{args}}

# Checks the declared Rust version and the lowest versions of dependencies.
msrv:
    .ci/msrv
    .ci/minimal-versions

# Runs everything that has to pass before a change lands.
ci:
    .ci/run
