"""The demo: a whole network on this machine, in processes of its own, from source to `pip install`.

prepare.py  what this machine gives, and what will be built
story.py    the five steps, in order, each an error when it fails
network.py  founding, ports, processes: start, kill, stop, watch
install.py  an unchanged pip in fresh environments
lies.py     what `pyrsia verify` must refuse
report.py   the JSON report, written once by rename
villain.py  the test-only plug-in that alters one output; loadable only through node.py here
node.py     the demo's own node entry point
"""
