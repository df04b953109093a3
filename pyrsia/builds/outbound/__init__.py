"""Every fetch from outside: which addresses are open, how a fetch goes, what is recorded of it.

addresses   where a fetch may go            transport   certificates, proxies, netrc
web         redirects, repeats, bounds
"""
