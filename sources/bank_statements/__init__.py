"""Bank statements as banks send them, ISO 20022 and SWIFT, read into one shape."""
