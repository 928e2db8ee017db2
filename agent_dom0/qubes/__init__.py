"""What Qubes OS says: of microphones, by its database; and of qubes, by its Admin API."""
