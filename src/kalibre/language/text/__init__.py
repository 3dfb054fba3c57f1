"""Turkish-correct text: casing, cleaning, words, sentences, amounts, tickers and what language a text is in."""
