"""Simulated users and honest numbers: per structure, with spread, intervals over patients, and counts."""
