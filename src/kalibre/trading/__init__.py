"""Policy, risk, costs, the one trading engine, its live form on paper, and the kill switch."""
