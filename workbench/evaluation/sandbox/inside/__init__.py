"""What runs inside the sandbox: the standard library alone, no import of this package."""
