"""History: checks and quarantine, gap healing, resampling, calendars, corporate actions."""
