"""Fuzzing of every parser that reads strangers' bytes.

    targets/<name>.py     one parser: `check(data)`, `seeds()`, `MAX_BYTES`
    corpus/<name>/        inputs that are kept: `seed-*` from our own vectors, `grown-*` that reach further code,
                          `found-*` that once broke something
    test_corpora.py       replays them all in the ordinary suite; needs no fuzzer
    seeds.py              writes the seeds anew
    run.py, many.py       one target, or each in turn, under atheris (dependency group `fuzz`)

`check` raises when a law is broken and says whether the bytes were accepted. The laws: nothing but our own
error families escapes; what is accepted encodes to the same bytes; a second implementation, where there is
one, gives the same answer.
"""
