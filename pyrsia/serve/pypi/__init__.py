"""The simple repository API for pip, uv and their like, the files behind it, and uploads to this node's own shelf."""

from pyrsia.serve.pypi.app import PREFIX as PREFIX
from pyrsia.serve.pypi.app import PypiApp as PypiApp
from pyrsia.serve.pypi.names import normalise as normalise
from pyrsia.serve.pypi.negotiating import HTML as HTML
from pyrsia.serve.pypi.negotiating import JSON as JSON
from pyrsia.serve.pypi.negotiating import PLAIN_HTML as PLAIN_HTML
from pyrsia.serve.pypi.negotiating import negotiate as negotiate
