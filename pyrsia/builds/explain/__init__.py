"""Why builders disagree: which members differ, by what, and the likely cause in words.

causes    what two different contents look like (pure, also inside)
worker    reads two results in the sandbox and lists what differs
stable    takes the packing away from two files, by the normaliser of their kind (inside)
comparing has two files of this machine compared so
report    who said what, and the causes in sentences (pure)
"""
