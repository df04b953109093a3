"""Why builders disagree: which members differ, by what, and the likely cause in words.

causes    what two different contents look like (pure, also inside)
worker    reads two results in the sandbox and lists what differs
report    who said what, and the causes in sentences (pure)
"""
