"""Words for the sample package."""

GREETING = "built by three, served by one who did not build it"
