"""How like a reconstruction is to what was seen."""
