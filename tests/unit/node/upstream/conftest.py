from tests.unit.node.upstream.toy import bare_environment

__all__ = ["bare_environment"]
