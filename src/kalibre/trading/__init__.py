"""Policy, risk, costs, the paper engine and the kill switch."""
