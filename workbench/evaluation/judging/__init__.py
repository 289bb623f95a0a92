"""Judge code: run it in the sandbox and compare what it computes with what its tests expect.

`judge_samples` (`suites`) judges HumanEval and MBPP by EvalPlus's rules, `judge` (`assertions`) runs code
followed by its own assertions.
"""
