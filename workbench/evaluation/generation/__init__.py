"""Generate answers: build prompts, decode, and cache the texts.

`generate` (`answers`) takes a loaded model, `AnswerGenerator` loads one by name.
"""
