#!/bin/sh
# What is too long for every change: many seeds, fresh machines, every bench. Results go to docs/evidence/, each
# under the commit that it speaks of.      tools/evidence.sh [seeds] [bench] [fresh] [interop] [fuzz] [crash] [wheels]      default: these
# More that need what this machine may lack: builders, clients, conan, maven; delta needs pip's index and a Maven repository.
set -eu
BIN=${BIN:-.venv/bin}
[ $# -gt 0 ] || set -- seeds bench fresh interop fuzz crash wheels
mkdir -p docs/evidence

head_of() { # title
    printf '%s\n\ncommit %s, %s, %s cores, Linux %s, %s\n\n' "$1" "$(git rev-parse --short=12 HEAD)" \
        "$(date -u +%Y-%m-%d)" "$(nproc)" "$(uname -r | cut -d- -f1)" "$("$BIN/python" -V)"
}

for what in "$@"; do
    out=docs/evidence/$what.txt
    case $what in
    seeds)
        {
            head_of "Simulated networks, each seed with faults of its own"
            # Four validators with one liar, where faults meet most often; then others, with as many liars as they bear.
            PYTHONPATH=. "$BIN/python" -m tests.sim --seeds "${SEEDS:-16000}" --first 1 --nodes 4..4 --byzantine f --all
            echo
            PYTHONPATH=. "$BIN/python" -m tests.sim --seeds "$((${SEEDS:-16000} / 4))" --first 100001 --nodes 5..10 --byzantine any --all
        } >"$out.new"
        ;;
    bench)
        json=$(mktemp)
        "$BIN/pytest" -q -o faulthandler_timeout=1800 bench --bench=all --bench-json="$json" >&2
        { head_of "Benches; the ratio to the baseline in the same run counts"; "$BIN/python" -m bench.harness "$json"; } >"$out.new"
        rm -f "$json"
        ;;
    fresh)
        { head_of "The README's lines on fresh machines"; bash tests/fresh.sh | sed 's# [^ ]*/# #'; } >"$out.new"
        ;;
    interop)
        { head_of "Other people's programs read what we write and write what we read"; PYTHONPATH=. "$BIN/python" tools/interop/run.py; echo; "$BIN/python" -m tests.interop.run; } >"$out.new"
        ;;
    fuzz)
        "$BIN/python" -m pip install -q --disable-pip-version-check --group fuzz >&2
        { head_of "Every parser of strangers' bytes under a fuzzer"; "$BIN/python" -m tests.fuzz.many "${FUZZ_S:-60}"; } >"$out.new"
        ;;
    maven)
        # Needs an environment with a JDK and Maven: `pyrsia build environment`, and the folder that it is kept in.
        {
            head_of "Releases of the public Maven repository, built twice and compared with what it serves"
            PYTHONPATH=. "$BIN/python" -m tests.e2e.maven_evidence "${ENVIRONMENTS:?the folder of a node's environments}"
        } >"$out.new"
        ;;
    conan)
        # Needs an environment with Conan, cmake and gcc, and zlib's source archive: `apt-get source zlib` brings one.
        {
            head_of "zlib by a Conan recipe, Release and Debug, static and shared, built as two machines would"
            PYTHONPATH=. "$BIN/python" -m tests.e2e.conan_evidence "${ENVIRONMENTS:?the folder of a node's environments}" "${ARCHIVE:?zlib's source archive}"
        } >"$out.new"
        ;;
    builders)
        # OTHER: another CPython than $BIN's. A quarter of an hour; it needs apt-get, pip's index and a Maven repository.
        # KEEP: a folder where the other virtual environment is kept.
        {
            head_of "Builders under two Pythons and other conditions agree bit for bit, in four ecosystems"
            PYTHONPATH=. "$BIN/python" -m tests.evidence.mixed --other "${OTHER:-python3.13}" ${KEEP:+--home "$KEEP"}
        } >"$out.new"
        ;;
    clients)
        # As root; every client that this machine has, and each cell of its row must have a sentence.
        PYTHONPATH=. "$BIN/python" -m tests.evidence.clients docs/evidence/clients.json
        echo docs/evidence/clients.json
        continue
        ;;
    mesh)
        # An hour: networks of 10 to 1,000 nodes, and 1,000 of them parted and healed.
        { head_of "Simulated meshes: who knows of whom, and what it costs"; PYTHONPATH=. "$BIN/python" -m tests.sim.mesh; } >"$out.new"
        ;;
    delta)
        { head_of "How much of a new version is in the one before"; PYTHONPATH=. "$BIN/python" -m tests.evidence.families; } >"$out.new"
        ;;
    crash)
        { head_of "Appends to the log with a fault at every system call that changes a file"; "$BIN/python" -m tests.e2e.crash.sweep; } >"$out.new"
        ;;
    wheels)
        # ROOTS: a folder of build environments (<data>/environments of a node).
        {
            head_of "Popular wheels built from their source archives"
            PYTHONPATH=. "$BIN/python" -m tests.evidence.wheels ${ROOTS:+--roots "$ROOTS"}
        } >"$out.new"
        ;;
    *)
        echo "evidence: there is no '$what'" >&2
        exit 2
        ;;
    esac
    mv "$out.new" "$out"
    echo "$out"
done
