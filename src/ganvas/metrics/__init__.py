"""How good generated pictures are: features of pictures, scores of features, and what makes them comparable."""
