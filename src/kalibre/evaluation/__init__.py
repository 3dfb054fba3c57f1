"""Calibration, walk-forward, backtest, significance, gates, verification, reports."""
