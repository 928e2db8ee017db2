"""Which guest may play and which may record.

Imports go downward only, and parts on one line do not import each other; the lint checks both.

cli                    the command xensnd-policy
edit                   changes to policy files and temporary grants
language | engine      policy files read into rules | the decision for one guest and direction
model                  rules, policies and decisions as plain data
matching | options     which guests a rule's pattern matches | the limits that a rule may set
text | owners | paths  YAML and values | who may own policy files | where policy files are
"""
