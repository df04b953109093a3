"""Measurements that are too long for every change; `make evidence` runs them and keeps what they print."""
