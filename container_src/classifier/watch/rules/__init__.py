"""Findings: what is seen of a run, judged while it goes on; with what to do about it. All of them: `every.ALL`."""
