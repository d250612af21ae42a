"""The record of a run: the contract between those who run and those who report."""
