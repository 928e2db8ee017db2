"""Which guest may play and which may record.

Each line may import from the lines below it, never from those above; the lint checks this:

cli       the command xensnd-policy
edit      changes to policy files and temporary grants
language  policy files on disk, read into rules (a sibling of engine: neither imports the other)
engine    the decision for one guest and direction
model     rules, policies and decisions as plain data
matching  the guest pattern of a rule, and which guests it matches
options   the limits that a rule may set
text      YAML with its locations, and values as people write them
owners    which users may own policy files
"""
