"""The Conan 2 REST API of a node: what the log publishes, what was pushed here, and upstream's in the mode `proxy`."""

from pyrsia.serve.conan.app import PREFIX as PREFIX
from pyrsia.serve.conan.app import ConanApp as ConanApp
from pyrsia.serve.conan.words import send_refusal as send_refusal
