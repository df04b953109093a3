"""HTTP/1.1 on trio: sockets, TLS, requests out of bytes, answers into them. Knows no address."""
