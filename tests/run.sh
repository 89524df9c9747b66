#!/usr/bin/env bash
# Every check that a change has to pass, on a fresh machine as well as on a warm one. Needs cargo and python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BUF_VERSION=1.75.0
readonly TOOLS=target/tools

step() {
    local name=$1 began=$SECONDS
    shift
    printf '\n==> %s\n' "$name"
    if "$@"; then
        printf '==> %s: passed in %d s\n' "$name" $((SECONDS - began))
    else
        local status=$?
        printf '==> %s: FAILED after %d s\n' "$name" $((SECONDS - began)) >&2
        exit "$status"
    fi
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

# Runs as a condition of `step`, where `set -e` is off: every command that may fail is checked.
install_buf() {
    local venv=$TOOLS/buf-$BUF_VERSION
    if "$venv/bin/buf" --version >/dev/null 2>&1; then
        return
    fi
    mkdir -p "$TOOLS" && rm -rf "$venv" || return
    if ! python3 -m venv "$venv" >/dev/null 2>&1; then
        # Debian ships venv's ensurepip in a package of its own.
        rm -rf "$venv"
        { as_root apt-get update -q && as_root apt-get install -qy python3-venv; } >/dev/null 2>&1 || true
    fi
    if [[ -x $venv/bin/pip ]] || python3 -m venv "$venv" >/dev/null 2>&1; then
        "$venv/bin/pip" install -q --disable-pip-version-check "buf-bin==$BUF_VERSION" || return
    else
        rm -rf "$venv"
        python3 -m pip install -q --disable-pip-version-check --target "$venv" "buf-bin==$BUF_VERSION" || return
    fi
    "$venv/bin/buf" --version
}

has_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null ||
        { command -v pg_config >/dev/null && [[ -x $(pg_config --bindir)/initdb ]]; }
}

# The tests start clusters of their own: the package needn't make one.
install_postgres() {
    if has_postgres; then
        return
    fi
    if command -v apt-get >/dev/null; then
        as_root mkdir -p /etc/postgresql-common || return
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null || return
        { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy postgresql; } ||
            return
    fi
    has_postgres || { echo 'install the Postgres server, version 13 or later' >&2 && return 1; }
}

# What the fault tests break the server with: system calls that fail, a clock that leaps. What instructions are counted with.
# A pooler before the books.
install_test_tools() {
    local missing=()
    command -v strace >/dev/null || missing+=(strace)
    command -v faketime >/dev/null || missing+=(faketime)
    command -v valgrind >/dev/null || missing+=(valgrind)
    [[ -x /usr/sbin/pgbouncer ]] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
    if ((${#missing[@]} == 0)); then
        return
    fi
    echo "installing ${missing[*]}"
    { as_root apt-get update -q && as_root apt-get install -qy "${missing[@]}"; } >/dev/null
}

step 'install buf' install_buf
step 'install Postgres' install_postgres
step 'install strace, faketime and valgrind' install_test_tools
step 'cargo fmt' cargo fmt --check
step 'cargo clippy' cargo clippy --all-targets --locked -- -D warnings
step 'buf lint' "$TOOLS/buf-$BUF_VERSION/bin/buf" lint
step 'cargo test' cargo test --locked
printf '\n==> all passed in %d s\n' "$SECONDS"
