"""The knowledge: pure functions on tables and frames, without orchestration or storage."""
