"""What may be configured: every key, its type and range; how a mistake is reported."""
