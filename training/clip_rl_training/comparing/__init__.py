"""Comparing networks that are trained alike: plan, training, measuring, statistics, report."""
