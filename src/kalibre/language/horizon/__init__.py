"""How long a headline matters: within the session, for days, or for weeks; or nothing in it says so."""
