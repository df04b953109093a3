"""The pip plug-in: pure-Python packages from an index's source archive to a wheel."""
