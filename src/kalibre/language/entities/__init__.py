"""Names in Turkish text: organisations, persons, places, money, percentages, times and tickers, without suffixes."""
