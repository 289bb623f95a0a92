"""Judge solutions: compare what they compute, inside the sandbox, with what the tests expect."""
