"""Nodes that surround the perception node: player, recorder, evaluator, camera, latency recorder."""
