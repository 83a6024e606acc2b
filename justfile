# List the verbs
default:
    @just --list

# Build the binary
build:
    cargo build

# Run all tests
test:
    cargo test

# Run all tests, with those that need programs which not every machine has (Prometheus, sshd, libfaketime; as root)
test-extended:
    cargo test --features extended-tests

# Run the tests beside a real MLflow and onnxruntime and in a browser (TRIMTAB_TEST_MLFLOW, TRIMTAB_TEST_ONNX: Pythons with the requirements in tests/extended)
test-peers:
    cargo test --features peer-tests --test extended

# Serve for ten minutes while releases are bad and processes are killed, and report (TRIMTAB_SOAK_SECONDS, TRIMTAB_SOAK_SEED, TRIMTAB_SOAK_ROUTER)
soak:
    cargo test --test soak

# Check format, lints and licences
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo clippy --test soak -- -D warnings
    cargo deny check

# Measure every budget beside its limit (about half an hour)
bench:
    cargo bench

# Measure the router beside nginx: the same backends and load, one run (nginx and wrk)
bench-router:
    cargo bench --bench router

# Measure the tracking server beside a real `mlflow server` (TRIMTAB_TEST_MLFLOW: a Python with mlflow)
bench-tracking:
    cargo bench --bench tracking

# Measure a served ONNX model beside FastAPI with onnxruntime (TRIMTAB_BENCH_ONNX: a Python with benches/serve/requirements.txt; needs wrk)
bench-serve:
    cargo build --release
    benches/serve/run "${CARGO_TARGET_DIR:-target}/release/trimtab"

# Show the whole story on a real dataset
demo:
    cargo run --release -- demo

# Open the terminal UI of the daemon in state/
tui:
    cargo run --release -- tui
