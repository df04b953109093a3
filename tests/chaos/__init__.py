"""Bad networks for tests: a TCP proxy with weather (`proxy`), and real namespaces where root allows (`namespaces`)."""
