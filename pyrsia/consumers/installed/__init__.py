"""What is installed on this machine, compared with what the log proves: `pyrsia verify --venv, --m2, ...`."""
