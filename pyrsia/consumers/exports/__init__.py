"""Files by which stock clients enforce what the log says and policy allows. Pure: from facts to text.

choosing.py    which version is meant, and which of its files are allowed
pip.py         name==version with hashes, for `pip install --require-hashes`
maven.py       trusted checksums, for Maven 3.9 and later
conan.py       a lockfile that pins recipe revisions
oci.py         image references with digests, also in the files that name images

What they say is what the asked node says: whoever trusts no node but their own asks that one.
"""
