"""Who may play and record: policy as it stands, the question to a person, each stream's access."""
