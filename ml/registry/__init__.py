"""Models by content, who serves from when, by whose word: the rule, people, MLflow, the loader."""
