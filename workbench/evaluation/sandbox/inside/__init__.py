"""Scripts that run inside the sandbox. They use the standard library only and never import this package."""
