"""HTTP/1.1 on trio and the applications behind the node's one port."""
