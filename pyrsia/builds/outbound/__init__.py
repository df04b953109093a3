"""Every fetch from outside: which addresses are open, how a fetch goes, what is recorded of it.

addresses   where a fetch may go            settings    what the operator configured, whom a refusal blames
transport   certificates, proxies, netrc    web         redirects, repeats, credentials, bounds
proxy       the one way out of a planning run in the sandbox: configured remotes, each answer recorded
serving     HTTP with whatever runs inside  target      the one form of what it may ask for
keeping     files under their SHA-256
"""
