"""Headlines: scored for the assets they name, cached, recorded as events, and joined to bars as two features."""
