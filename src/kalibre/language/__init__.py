"""The Turkish wing: from raw text to sentiment, entities, answers and scored headlines, each with how sure it is."""
