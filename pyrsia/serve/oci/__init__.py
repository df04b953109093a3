"""`/v2/`: the OCI distribution API over the log's images, those that were pushed here, and upstream's."""

from pyrsia.serve.oci.app import PREFIX as PREFIX
from pyrsia.serve.oci.app import OciApp as OciApp
from pyrsia.serve.oci.errors import send_refusal as send_refusal
