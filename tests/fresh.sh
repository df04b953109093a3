#!/usr/bin/env bash
# The README's lines on fresh machines: minbase roots of two Debian releases, as root and as a user, with
# namespaces and with them refused, in a path with a space. Needs root, mmdebstrap and a Debian mirror.
#
#   tests/fresh.sh [SUITE...]          default: bookworm trixie
#
# Each run is `make demo`; that of a user with namespaces on the first suite goes on with OFFLINE=1, PACKAGE=... and
# `make test`.
#
# Prints one line per run and exits 1 if one of them failed; logs stay below $FRESH_DIR.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)
work=${FRESH_DIR:-$(mktemp -d /tmp/pyrsia-fresh-XXXX)}
mkdir -p "$work"
[ "$(id -u)" = 0 ] || { echo "fresh.sh: must be root, to make and enter roots" >&2; exit 2; }
command -v mmdebstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq mmdebstrap >/dev/null; }
mirror=${FRESH_MIRROR:-$({ grep -rhoE '^(deb|URIs:) .*' /etc/apt/sources.list* 2>/dev/null || true; } |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | tr -d ' ' | sed -n 1p)}

make_root() { # suite packages -> $work/$suite-$kind
    local suite=$1 kind=$2 packages=$3 root=$work/$1-$2
    [ -e "$root/.made" ] && return
    mmdebstrap --quiet --variant=minbase --include="$packages" \
        --customize-hook='cp -L /etc/resolv.conf /etc/hosts "$1/etc/" 2>/dev/null || true' \
        --customize-hook='mkdir -p "$1/etc/ssl/certs"; cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"' \
        --customize-hook='cp /etc/apt/apt.conf.d/* "$1/etc/apt/apt.conf.d/" 2>/dev/null || true' \
        "$suite" "$root" "$mirror"
    useradd --root "$root" --create-home tester 2>/dev/null || true
    touch "$root/.made"
}

# Runs "$@" as the init of a mount and process namespace whose root is $1. pivot_root, never chroot: a process
# in a chroot may make no user namespace, which would fake the refusal that another run wants to see.
enter() {
    local root=$1
    shift
    unshare --mount --pid --fork --kill-child --propagation private -- /bin/sh -c '
        set -e
        root=$1; shift
        mount --bind "$root" "$root"
        cd "$root"
        mkdir -p old dev proc tmp
        mount -t proc proc proc
        mount --rbind /dev dev
        pivot_root . old
        umount -l old
        exec "$@"
    ' sh "$root" "$@"
}

clone() { # root -> a fresh clone below a path with a space
    local root=$1 target="$1/home/tester/a clone"
    rm -rf "$target"
    git clone -q "$here" "$target"
    cp "$here/tests/e2e/refuse_namespaces.py" "$root/home/tester/refuse.py"
    chown -R --reference="$root/home/tester" "$root/home/tester"
}

all_lines=' && make demo OFFLINE=1 && make demo PACKAGE=requests==2.32.3 && make test'

failed=0
run() { # suite kind user refusal
    local suite=$1 kind=$2 user=$3 refusal=$4 root=$work/$1-$2
    local log=$work/$suite-$kind-$user-$refusal.log began=$SECONDS outcome=ok
    clone "$root"
    local inner='cd "/home/tester/a clone" && make demo REPORT=/tmp/report.json && cat /tmp/report.json'
    # Every other line of the README once, where a person would most likely type it.
    [ "$suite$user$refusal" = "${suites[0]}usergiven" ] && inner+="$all_lines"
    local before=()
    [ "$refusal" = refused ] && before=(python3 /home/tester/refuse.py --)
    local as=()
    [ "$user" = user ] && as=(setpriv --reuid tester --regid tester --init-groups --no-new-privs)
    [ "$user" = root ] && chown -R 0:0 "$root/home/tester/a clone"
    enter "$root" /usr/bin/env HOME="/$([ "$user" = root ] && echo root || echo home/tester)" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${as[@]}" "${before[@]}" /bin/sh -c "$inner" >"$log" 2>&1 || outcome=FAILED
    grep -q '"ok": true' "$log" || outcome=FAILED
    local isolation
    isolation=$(grep -oE '"isolation": "[a-z]+"' "$log" | tail -n 1 | cut -d'"' -f4)
    [ "$refusal" = refused ] && [ "$isolation" != confined ] && outcome=FAILED
    [ "$outcome" = ok ] || failed=1
    printf '%-9s %-5s %-8s %-10s %-7s %4ss  %s\n' "$suite" "$user" "$refusal" "${isolation:-none}" "$outcome" \
        "$((SECONDS - began))" "$log"
    grep -E '^[0-9]+ (passed|failed)' "$log" | sed 's/^/          make test: /' || true
}

printf 'suite     user  host     isolation  result  took\n'
for suite in "${suites[@]}"; do
    # As root the preflight installs what lacks; as a user everything is there, as the README asks.
    make_root "$suite" bare make,git,ca-certificates,python3
    make_root "$suite" full make,git,ca-certificates,python3,python3-venv,python3-dev,build-essential,bubblewrap
    run "$suite" full user given
    run "$suite" full user refused
    run "$suite" bare root given
    run "$suite" bare root refused
done
exit $failed
