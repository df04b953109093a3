"""The mesh without its sockets: who is known, who is there, what all are told, what one writes to another. Pure.

discovery     table, discovery, outbound, reach, scopes, circles
membership    swim, probing, beliefs, hearsay, dissemination, comparing, health; liveness has the states,
              membership the effects
broadcast     broadcast, seen, recent, gaps, pulling, choosing
mail          mail, outbox
scores        what each peer has earned, by all of these

Nothing here says who is a member, votes or stores: that is the log's.

Source: docs/mesh.md.
"""
