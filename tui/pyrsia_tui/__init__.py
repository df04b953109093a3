"""The dashboard: a process of its own that shows frozen snapshots of one node.

feed.py     asks the node for snapshots; survives its absence
view.py     snapshots -> rows and sentences; the same for the screen and for text
app.py      the Textual application
once.py     one picture as text
"""
