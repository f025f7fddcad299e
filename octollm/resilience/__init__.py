"""What keeps the system going when parts of it fail."""
