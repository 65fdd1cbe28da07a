# shellcheck shell=bash
# What setup, test and demo share. Sourced. Every function can be called again and again: when
# all is there it costs a look. Whoever sources this gets an EXIT trap that ends what was started.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
STATE="$ROOT/.testbed"
LOGS="$STATE/log"
mkdir -p "$LOGS"
export PYTHONPATH="$ROOT/scripts${PYTHONPATH:+:$PYTHONPATH}"
export PATH="$STATE/node/node_modules/.bin:$PATH:/usr/sbin:/sbin"

ALLOW_INSTALL="${REPO2DOCKERSPAWNER_INSTALL:-no}"
HUB6="jupyterhub>=6.1,<6.2"
HUB5="jupyterhub>=5.5,<6"
PROXY_PACKAGE="configurable-http-proxy@4"
AXE_PACKAGE="axe-core@4"
CHILD=""
STARTED="$(date +%s)"

say() { printf '%s\n' "$*"; }

# die CODE SENTENCE: 3 where something is missing that we may not or can't install.
die() {
    printf '%s\n' "$2" >&2
    exit "$1"
}

# step LOG TEXT COMMAND…: run it with its output in a log; the tail is shown when it fails.
step() {
    local log="$LOGS/$1.log" text="$2" started=$SECONDS said=$SECONDS
    shift 2
    say "$text"
    "$@" >"$log" 2>&1 </dev/null &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - said >= 10)); then
            said=$SECONDS
            say "  … $((SECONDS - started)) s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-90)"
        fi
    done
    local code=0
    wait "$CHILD" || code=$?
    CHILD=""
    if ((code != 0)); then
        tail -n 15 "$log" | cut -c 1-300 | sed 's/^/  | /' >&2
        die 1 "This failed: $text (the whole log: $log)"
    fi
}

# --- the system -------------------------------------------------------------------------------

is_root_debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && grep -qsE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release
}

# Whether nobody's engine is at stake: then installing is what these scripts are for.
is_bare() { is_root_debian && [ "$ENGINE_FOUND" = no ]; }

# Whether packages may be installed here.
may_install() { is_bare || { is_root_debian && [ "$ALLOW_INSTALL" = yes ]; }; }

# need PART…: install the system's packages that these parts lack, or say which they are.
need() {
    local lacking=() part
    command -v git >/dev/null || lacking+=(git)
    python3 -c 'import ensurepip, venv' 2>/dev/null || lacking+=(python3 python3-venv ca-certificates)
    for part in "$@"; do
        case "$part" in
        engine)
            if [ "$ENGINE_FOUND" = no ]; then
                may_start_engine
                command -v dockerd >/dev/null || lacking+=(docker.io)
                command -v iptables >/dev/null || lacking+=(iptables)
                # Without a registry the images are made from packages.
                command -v debootstrap >/dev/null || lacking+=(debootstrap)
                [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || lacking+=(debian-archive-keyring)
            fi
            ;;
        node)
            command -v node >/dev/null || lacking+=(nodejs)
            command -v npm >/dev/null || lacking+=(npm)
            ;;
        rootless)
            # Some tests start engines of their own; where nothing may be installed they say what they lack.
            if may_install; then
                command -v rootlesskit >/dev/null || lacking+=(rootlesskit)
                command -v newuidmap >/dev/null || lacking+=(uidmap)
                command -v setpriv >/dev/null || lacking+=(util-linux)
                command -v ip >/dev/null || lacking+=(iproute2)
            fi
            ;;
        chromium) find_chromium >/dev/null || lacking+=(chromium fonts-dejavu-core) ;;
        # Its tests are skipped where it is missing, so nobody is asked to install it.
        registry)
            if may_install; then command -v docker-registry >/dev/null || lacking+=(docker-registry); fi
            ;;
        esac
    done
    ((${#lacking[@]} == 0)) && return
    if ! is_root_debian; then
        die 3 "Missing here: ${lacking[*]} (Debian's names); install them and run this again."
    fi
    if ! may_install; then
        die 3 "Missing here: ${lacking[*]}. Allow 'apt-get install --no-install-recommends ${lacking[*]}' with --install or REPO2DOCKERSPAWNER_INSTALL=yes, or install them yourself."
    fi
    export DEBIAN_FRONTEND=noninteractive
    step apt-update "packages: reading the lists of apt" apt-get update
    step apt-install "packages: installing ${lacking[*]}" apt-get install --yes --no-install-recommends "${lacking[@]}"
}

find_chromium() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

# --- the engine -------------------------------------------------------------------------------

engine_answers() {
    if command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1; then
        return 0
    fi
    # The docker CLI may be missing or too new for the engine; the socket says the truth.
    [ -z "${DOCKER_HOST:-}" ] && [ -S /var/run/docker.sock ] && python3 - 2>/dev/null <<'PYTHON'
import socket

with socket.socket(socket.AF_UNIX) as engine:
    engine.settimeout(10)
    engine.connect("/var/run/docker.sock")
    engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
    raise SystemExit(b" 200 " not in engine.recv(64))
PYTHON
}

# Where the docker CLI is set to another engine by a context, Python has to be told.
follow_context() {
    if [ -z "${DOCKER_HOST:-}" ] && [ ! -S /var/run/docker.sock ] && command -v docker >/dev/null; then
        local host
        host="$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || true)"
        case "$host" in unix://*) [ -S "${host#unix://}" ] && export DOCKER_HOST="$host" ;; esac
    fi
    return 0
}

ENGINE_FOUND=no
find_engine() {
    [ "$(uname -s)" = Linux ] || die 3 "The test bed needs Linux: its hub and the containers meet on Docker's bridge, which other systems hide in a virtual machine."
    follow_context
    # Held shared for as long as a run uses the engine: the last one out stops what we started.
    exec 8>"$STATE/engine.lock"
    flock --shared 8
    # One that our scripts started is nobody else's: the machine is as bare as it was.
    if ! is_ours && engine_answers; then ENGINE_FOUND=yes; fi
}

# Said before anything is installed: where we can't start an engine, somebody else has to.
may_start_engine() {
    [ -z "${DOCKER_HOST:-}" ] || die 3 "No Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset the variable."
    if ! command -v dockerd >/dev/null && ! is_root_debian; then
        die 3 "No Docker engine here: install one (https://docs.docker.com/engine/install/), or run this as root on Debian or Ubuntu, where it installs what it needs."
    fi
    [ "$(id -u)" = 0 ] || die 3 "No Docker engine answers: start it (sudo systemctl start docker) and be allowed to use it (group docker), then run this again."
}

ensure_engine() {
    if [ "$ENGINE_FOUND" = yes ] || engine_answers; then return; fi
    start_engine "$PATH" && return
    if grep -qi iptables "$LOGS/dockerd.log" && command -v iptables-legacy >/dev/null; then
        say "engine: this kernel refuses the new iptables, once more with the old one"
        mkdir -p "$STATE/legacy"
        ln -sf "$(command -v iptables-legacy)" "$STATE/legacy/iptables"
        ln -sf "$(command -v ip6tables-legacy)" "$STATE/legacy/ip6tables"
        start_engine "$STATE/legacy:$PATH" && return
    fi
    tail -n 15 "$LOGS/dockerd.log" | cut -c 1-300 | sed 's/^/  | /' >&2
    die 1 "The Docker engine does not start: see $LOGS/dockerd.log."
}

# Whether the engine that runs is one that these scripts started.
is_ours() {
    [ -f "$STATE/dockerd.pid" ] && [ "$(cat "/proc/$(cat "$STATE/dockerd.pid")/comm" 2>/dev/null)" = dockerd ]
}

# start_engine PATH
start_engine() {
    say "engine: starting dockerd (log: $LOGS/dockerd.log)"
    # Its own session: Ctrl-C must reach us first, who end its containers and then it.
    PATH="$1" setsid dockerd >"$LOGS/dockerd.log" 2>&1 </dev/null 8>&- 9>&- &
    local pid=$! deadline=$((SECONDS + 60))
    echo "$pid" >"$STATE/dockerd.pid"
    while ((SECONDS < deadline)) && kill -0 "$pid" 2>/dev/null; do
        if engine_answers; then return 0; fi
        sleep 0.3
    done
    stop_engine
    return 1
}

# Stops the engine that one of our scripts started, never another.
stop_engine() {
    [ -f "$STATE/dockerd.pid" ] || return 0
    local pid ours=no deadline=$((SECONDS + 30))
    pid="$(cat "$STATE/dockerd.pid")"
    if is_ours; then ours=yes; fi
    rm -f "$STATE/dockerd.pid"
    [ "$ours" = yes ] || return 0
    say "engine: stopping dockerd"
    kill -TERM "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS > deadline)); then
            kill -KILL "$pid" 2>/dev/null || true
            break
        fi
        sleep 0.2
    done
    wait "$pid" 2>/dev/null || true
}

# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    local code=$?
    trap '' INT TERM
    if [ -n "$CHILD" ]; then
        kill -TERM "$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
    fi
    if [ -e /proc/self/fd/8 ] && flock --exclusive --nonblock 8; then
        if [ -x "$ROOT/.venv/bin/python" ] && engine_answers; then
            # On an engine of somebody else, only what came while we ran can be ours.
            local since=$STARTED
            if is_ours; then since=0; fi
            "$ROOT/.venv/bin/python" -m testbed.engine --since "$since" || true
        fi
        stop_engine
    fi
    exit "$code"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- inside the clone -------------------------------------------------------------------------

# ensure_venv NAME EXTRAS CONSTRAINT: done again only when what it is made from has changed.
ensure_venv() {
    local venv="$ROOT/$1" python="${PYTHON:-python3}" stamp
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die 3 "Python 3.10 or newer is needed, $python is older: say which one to use with PYTHON=…"
    stamp="$(cat "$ROOT/setup.cfg" "$ROOT/setup.py" - <<<"$2 $3 $("$python" --version)" | sha256sum)"
    if [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$venv/bin/python" ]; then return; fi
    "$venv/bin/python" -c '' 2>/dev/null || step "venv$1" "python: making $1" "$python" -m venv --clear "$venv"
    step "pip$1" "python: installing into $1 ($3)" \
        "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --editable "${ROOT}[$2]" "$3"
    echo "$stamp" >"$venv/.stamp"
}

ensure_proxy() {
    [ "$(cat "$STATE/node/.stamp" 2>/dev/null)" = "$PROXY_PACKAGE" ] && return
    mkdir -p "$STATE/node"
    step npm "proxy: installing $PROXY_PACKAGE" \
        npm install --prefix "$STATE/node" --no-save --no-package-lock --no-audit --no-fund "$PROXY_PACKAGE"
    echo "$PROXY_PACKAGE" >"$STATE/node/.stamp"
}

# For the browser tests; apart from the proxy, because npm removes what it wasn't asked for.
ensure_axe() {
    [ "$(cat "$STATE/axe/.stamp" 2>/dev/null)" = "$AXE_PACKAGE" ] && return
    mkdir -p "$STATE/axe"
    step npm-axe "browser: installing $AXE_PACKAGE" \
        npm install --prefix "$STATE/axe" --no-save --no-package-lock --no-audit --no-fund "$AXE_PACKAGE"
    echo "$AXE_PACKAGE" >"$STATE/axe/.stamp"
}

ensure_images() {
    # In the foreground: it says by itself what it does.
    "$ROOT/.venv/bin/python" -m testbed.images --log "$LOGS/images.log"
}

# ensure PART…: unit | docker | hub | browser | demo, each with what it stands on.
ensure() {
    local part packages=() engine=no proxy=no hub5=no axe=no
    for part in "$@"; do
        case "$part" in
        unit | lint) ;;
        docker) engine=yes packages+=(registry rootless) ;;
        demo | hub6) engine=yes proxy=yes ;;
        hub | hub5) engine=yes proxy=yes hub5=yes ;;
        browser) engine=yes proxy=yes axe=yes packages+=(chromium) ;;
        *) die 2 "There is no part '$part': unit, lint, docker, hub, hub5, browser or demo." ;;
        esac
    done
    [ "$engine" = no ] || packages+=(engine)
    [ "$proxy" = no ] || packages+=(node)
    find_engine
    # Two runs in one clone must not make the same thing at once.
    exec 9>"$STATE/setup.lock"
    flock --nonblock 9 || { say "another run is setting up here, waiting for it" && flock 9; }
    need ${packages[@]+"${packages[@]}"}
    ensure_venv .venv test,dev "$HUB6"
    [ "$hub5" = no ] || ensure_venv .venv-hub5 test "$HUB5"
    [ "$proxy" = no ] || ensure_proxy
    [ "$axe" = no ] || ensure_axe
    if [ "$engine" = yes ]; then
        ensure_engine
        ensure_images
    fi
    exec 9>&-
}
