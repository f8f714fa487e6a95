"""How good what the steps made is: against the real modality, as a whole, and by what a search finds with it."""
